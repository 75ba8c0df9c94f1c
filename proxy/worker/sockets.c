/* sockets: see the header. */
#include "worker/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "ground/log.h"
#include "worker/value.h"

enum { BACKLOG = 4096 };

static int refuse(const char *option, struct str address, int err)
{
	switch (err) {
	case EADDRINUSE:
		log_error(NULL, "%s %.*s: the address is in use. Is another proxy (Squid, cntlm, "
			  "or retrywith itself) running there? `ss -ltnp` tells", option,
			  STR_FMT(address));
		return EX_UNAVAILABLE;
	case EACCES:
	case EPERM:
		log_error(NULL, "%s %.*s: permission denied. Ports below 1024 need a "
			  "systemd socket unit or CAP_NET_BIND_SERVICE", option, STR_FMT(address));
		return EX_NOPERM;
	default:
		log_error(NULL, "%s %.*s: %s", option, STR_FMT(address), strerror(err));
		return EX_UNAVAILABLE;
	}
}

static void set_options(int fd, int family)
{
	int on = 1;

	if (family == AF_UNIX)
		return;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);	/* accepted ones inherit it */
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
}

static int open_one(const struct sockaddr_storage *sa, socklen_t len)
{
	int fd = socket(sa->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	set_options(fd, sa->ss_family);
	if (sa->ss_family == AF_UNIX)
		unlink(((const struct sockaddr_un *)sa)->sun_path);
	if (bind(fd, (const struct sockaddr *)sa, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	int err = errno;

	close(fd);
	errno = err;
	return -1;
}

/* Another process with SO_REUSEPORT and our uid would silently share the port
 * with us: the first socket is bound once without it, so that it is refused. */
static bool is_free(const struct sockaddr_storage *sa, socklen_t len)
{
	int fd, on = 1;
	bool free_now;

	if (sa->ss_family == AF_UNIX)
		return true;
	fd = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return true;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (sa->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	free_now = bind(fd, (const struct sockaddr *)sa, len) == 0 || errno != EADDRINUSE;
	close(fd);
	return free_now;
}

static int open_listener(struct sockets *s, struct str address, bool tls)
{
	struct listening *l = &s->at[s->n * s->workers];
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof sa;

	if (!value_address(address, &sa, &len))
		return refuse("listen", address, EINVAL);
	if (!is_free(&sa, len))
		return refuse("listen", address, EADDRINUSE);
	for (unsigned i = 0; i < s->workers; i++) {
		int fd = i && sa.ss_family == AF_UNIX ? dup(l[0].fd) : open_one(&sa, len);

		if (fd < 0)
			return refuse("listen", address, errno);
		if (i == 0)		/* port 0: the others want the one we got */
			getsockname(fd, (struct sockaddr *)&sa, &len);
		l[i] = (struct listening){ .fd = fd, .tls = tls, .addr = sa, .len = len };
	}
	s->n++;
	return 0;
}

/* No IPv6 in this kernel or container: not a reason not to start, as long as
 * the default list is in use and the other family works. */
static bool may_skip(const struct config *c, struct str address, int err)
{
	return (err == EADDRNOTAVAIL || err == EAFNOSUPPORT) && c->listen.n > 1 &&
	       str_starts(address, STR("[::1]"));
}

#ifdef HAVE_SYSTEMD
static bool is_admin(const char *name)
{
	return !strcmp(name, "admin");
}

static int take_passed(struct sockets *s)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	for (int i = 0; i < n; i++) {
		int fd = SD_LISTEN_FDS_START + i;
		struct sockaddr_storage sa = { 0 };
		socklen_t len = sizeof sa;
		struct listening *l = &s->at[s->n * s->workers];

		/* systemd passes them so that accept() waits: of several workers that
		 * hear of one client, all but one would wait, and for ever. */
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		getsockname(fd, (struct sockaddr *)&sa, &len);
		if (is_admin(names[i]))
			s->admin = (struct listening){ .fd = fd, .addr = sa, .len = len };
		if (is_admin(names[i]) || s->n == LISTENERS_MOST)
			continue;
		for (unsigned w = 0; w < s->workers; w++)
			l[w] = (struct listening){ .fd = fd, .tls = !strcmp(names[i], "tls"),
						   .passed = true, .addr = sa, .len = len };
		s->n++;
	}
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	s->passed = s->n > 0;
	return 0;
}
#else
static int take_passed(struct sockets *s)
{
	return 0;
}
#endif

/* A unix socket is for us and our group: who may connect reads what we see. */
static int open_admin(struct sockets *s, struct str address)
{
	struct listening *l = &s->admin;
	const char *path = ((const struct sockaddr_un *)&l->addr)->sun_path;

	if (l->fd >= 0 || !address.len)
		return 0;
	if (!value_address(address, &l->addr, &l->len))
		return refuse("admin", address, EINVAL);
	if (!is_free(&l->addr, l->len))
		return refuse("admin", address, EADDRINUSE);
	l->fd = open_one(&l->addr, l->len);
	if (l->fd < 0 || (l->addr.ss_family == AF_UNIX && chmod(path, 0660) != 0))
		return refuse("admin", address, errno);
	getsockname(l->fd, (struct sockaddr *)&l->addr, &l->len);
	return 0;
}

static int open_listeners(struct sockets *s, const struct config *c)
{
	for (unsigned i = 0; i < c->listen.n && s->n < LISTENERS_MOST; i++) {
		struct str address = c->listen.at[i];
		int status;

		if (may_skip(c, address, EADDRNOTAVAIL)) {
			struct sockaddr_storage sa;
			socklen_t len;
			int fd = value_address(address, &sa, &len) ? open_one(&sa, len) : -1;

			if (fd < 0 && may_skip(c, address, errno))
				continue;
			if (fd >= 0)
				close(fd);
		}
		status = open_listener(s, address, false);
		if (status)
			return status;
	}
	for (unsigned i = 0; i < c->listen_tls.n && s->n < LISTENERS_MOST; i++) {
		int status = open_listener(s, c->listen_tls.at[i], true);

		if (status)
			return status;
	}
	return 0;
}

int sockets_open(struct sockets *s, const struct config *c, unsigned workers)
{
	int status;

	*s = (struct sockets){ .workers = workers, .admin.fd = -1 };
	s->at = calloc((size_t)LISTENERS_MOST * workers, sizeof *s->at);
	if (!s->at)
		return EX_OSERR;
	take_passed(s);
	status = s->passed ? 0 : open_listeners(s, c);
	return status ? status : open_admin(s, c->admin);
}

unsigned sockets_of(const struct sockets *s, unsigned worker, struct listening *out)
{
	for (unsigned i = 0; i < s->n; i++)
		out[i] = s->at[i * s->workers + worker];
	return s->n;
}

static void say(const char *what, const char *scheme, const struct listening *l)
{
	char ip[INET6_ADDRSTRLEN];
	const struct sockaddr_in *in4 = (const void *)&l->addr;
	const struct sockaddr_in6 *in6 = (const void *)&l->addr;
	const char *tls = l->tls ? " (TLS)" : "";

	switch (l->addr.ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &in4->sin_addr, ip, sizeof ip);
		fprintf(stderr, "retrywith: %s on %s%s:%u%s\n", what, scheme, ip,
			ntohs(in4->sin_port), tls);
		return;
	case AF_INET6:
		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
		fprintf(stderr, "retrywith: %s on %s[%s]:%u%s\n", what, scheme, ip,
			ntohs(in6->sin6_port), tls);
		return;
	case AF_UNIX:
		fprintf(stderr, "retrywith: %s on unix:%s\n", what,
			((const struct sockaddr_un *)&l->addr)->sun_path);
		return;
	}
}

void sockets_say(const struct sockets *s)
{
	for (unsigned i = 0; i < s->n; i++)
		say("listening", "", &s->at[i * s->workers]);
	if (s->admin.fd >= 0)
		say("admin", "http://", &s->admin);
	fflush(stderr);
}

void sockets_close(struct sockets *s)
{
	for (unsigned i = 0; i < s->n; i++)
		for (unsigned w = 0; w < (s->passed ? 1 : s->workers); w++)
			close(s->at[i * s->workers + w].fd);
	if (s->admin.fd >= 0)
		close(s->admin.fd);
	free(s->at);
	s->at = NULL;
}
