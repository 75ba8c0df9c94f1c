/* admin: see the header. One thread and one loop: libmicrohttpd's epoll, a moment
 * for the history every second, and an eventfd to end it. A page is written into
 * memory and handed over; none is large. */
#include "worker/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <microhttpd.h>
#include <openssl/evp.h>

#include "ground/log.h"
#include "worker/admin_page.h"

enum {
	CONNECTIONS = 64, IDLE_S = 30, MEMORY = 32 * 1024,
	SECOND_MS = 1000,
};

struct admin {
	struct admin_facts facts;	/* the thread's, but for `draining` */
	struct MHD_Daemon *daemon;
	int epoll_fd, stop_fd;
	pthread_t thread;
	_Atomic bool stopping;
	uint64_t noted_ms;		/* the last moment of the history */
	char csp[512];
	pthread_mutex_t lock;		/* of what follows */
	struct config *config;
	double reloaded;
	bool reload_ok;
};

static uint64_t now_ms(void)
{
	return clock_us() / 1000;
}

static double wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* -- who may ask, and for what -------------------------------------------------------------- */

static const struct sockaddr *client_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	return info ? info->client_addr : NULL;
}

static bool is_loopback(const struct sockaddr *sa)
{
	const struct sockaddr_in *in4 = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	if (sa->sa_family == AF_INET)
		return ntohl(in4->sin_addr.s_addr) >> 24 == 127;
	return sa->sa_family == AF_INET6 &&
	       (IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
		(IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == 127));
}

/* An address, or localhost. */
static bool names_this_host(struct str host)
{
	struct in_addr in4;
	struct in6_addr in6;
	struct str name = host, rest;
	char text[INET6_ADDRSTRLEN] = "";

	if (host.len && host.at[0] == '[')
		str_cut(str_from(host, 1), ']', &name, &rest);
	else
		str_cut(host, ':', &name, &rest);
	if (name.len < sizeof text)
		memcpy(text, name.at, name.len);
	return str_eq_nocase(name, STR("localhost")) ||
	       str_ends_nocase(name, STR(".localhost")) ||
	       inet_pton(AF_INET, text, &in4) == 1 || inet_pton(AF_INET6, text, &in6) == 1;
}

/* A page of the web whose name was made to point at 127.0.0.1 would have the
 * browser ask us on its behalf, and could read the answer. It cannot choose Host. */
static bool is_rebound(struct MHD_Connection *c, const struct sockaddr *client)
{
	const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host");

	return is_loopback(client) && host && !names_this_host(str_of(host));
}

/* What is said to one who may not ask, or NULL. */
static const char *refusal(const struct config *config, struct MHD_Connection *c,
			   unsigned *status)
{
	const struct sockaddr *client = client_of(c);

	*status = 403;
	if (!client || access_client(&config->access, client) != WHY_DONE)
		return "this client may not look (see `allow`)";
	*status = 421;
	if (is_rebound(c, client))
		return "on this machine, ask by address or as localhost";
	return NULL;
}

/* -- answering ------------------------------------------------------------------------------ */

static void add(struct MHD_Response *p, const char *name, const char *value)
{
	if (value)
		MHD_add_response_header(p, name, value);
}

static enum MHD_Result send_page(const struct admin *a, const struct admin_answer *r,
				 struct MHD_Connection *c, char *text, size_t size)
{
	struct MHD_Response *p =
		MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result;

	if (!p) {
		free(text);
		return MHD_NO;
	}
	add(p, "Content-Type", r->type);
	add(p, "Content-Disposition", r->status == 200 ? r->disposition : NULL);
	add(p, "Vary", r->vary);
	add(p, "Allow", r->status == 405 ? "GET, HEAD" : NULL);
	add(p, "Cache-Control", "no-store");
	add(p, "Content-Security-Policy", a->csp);
	add(p, "Cross-Origin-Resource-Policy", "same-origin");
	add(p, "Referrer-Policy", "no-referrer");
	add(p, "X-Content-Type-Options", "nosniff");
	result = MHD_queue_response(c, r->status, p);
	MHD_destroy_response(p);
	return result;
}

static void find_here(struct MHD_Connection *c, struct sockaddr_storage *here)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	socklen_t len = sizeof *here;

	if (!info || getsockname(info->connect_fd, (struct sockaddr *)here, &len) != 0)
		here->ss_family = AF_UNSPEC;
}

static void hold_config(struct admin *a, struct admin_answer *r)
{
	pthread_mutex_lock(&a->lock);
	r->config = config_hold(a->config);
	r->reloaded = a->reloaded;
	r->reload_ok = a->reload_ok;
	pthread_mutex_unlock(&a->lock);
}

static void write_page(struct admin *a, struct admin_answer *r, struct MHD_Connection *c,
		       const char *url, const char *method)
{
	unsigned status;
	const char *refused;

	hold_config(a, r);
	find_here(c, &r->here);
	refused = refusal(r->config, c, &status);
	if (refused)
		admin_page_refuse(r, status, refused);
	else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		admin_page_refuse(r, 405, "only GET and HEAD");
	else
		admin_page_write(r, url);
	config_release(r->config);
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *c, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_size, void **seen)
{
	struct admin *a = arg;
	struct admin_answer r = { .facts = &a->facts };
	char *text = NULL;
	size_t size = 0;

	if (!*seen) {			/* the head is there; a body, if any, is to come */
		*seen = a;
		return MHD_YES;
	}
	if (*upload_size) {		/* nothing that we want */
		*upload_size = 0;
		return MHD_YES;
	}
	r.out = open_memstream(&text, &size);
	if (!r.out)
		return MHD_NO;
	r.accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept");
	write_page(a, &r, c, url, method);
	if (fclose(r.out) == 0)
		return send_page(a, &r, c, text, size);
	free(text);
	return MHD_NO;
}

/* -- the thread ------------------------------------------------------------------------------ */

static void note_moment(struct admin *a)
{
	uint64_t seconds = (now_ms() - a->noted_ms) / SECOND_MS;

	if (!seconds && a->facts.history.begun)
		return;
	a->noted_ms += seconds * SECOND_MS;
	census_count(&a->facts.census->sum, a->facts.o.workers, a->facts.o.workers_n);
	history_note(&a->facts.history, &a->facts.census->sum, (unsigned)seconds);
}

static int wait_ms(struct admin *a)
{
	uint64_t until = a->noted_ms + SECOND_MS, now = now_ms();
	MHD_UNSIGNED_LONG_LONG daemons;
	uint64_t ms = until > now ? until - now : 0;

	if (MHD_get_timeout(a->daemon, &daemons) == MHD_YES && daemons < ms)
		ms = daemons;
	return (int)ms;
}

static void *thread_main(void *arg)
{
	struct admin *a = arg;
	struct pollfd p[] = { { .fd = a->epoll_fd, .events = POLLIN },
			      { .fd = a->stop_fd, .events = POLLIN } };

	pthread_setname_np(pthread_self(), "admin");
	while (!atomic_load(&a->stopping)) {
		note_moment(a);
		if (poll(p, 2, wait_ms(a)) < 0 && errno != EINTR)
			break;
		MHD_run(a->daemon);
	}
	return NULL;
}

/* -- life ------------------------------------------------------------------------------------ */

static void complain(void *arg, const char *fmt, va_list ap)
{
	char line[256];

	vsnprintf(line, sizeof line, fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_info(NULL, "admin: %s", line);
}

/* The hash of what stands between the tags: so no other script or style runs. */
static void hash_of(const char *open_tag, const char *close_tag, char out[64])
{
	const char *page = (const char *)admin_page;
	const char *from = memmem(page, admin_page_size, open_tag, strlen(open_tag)), *to = NULL;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (from) {
		from += strlen(open_tag);
		to = memmem(from, admin_page_size - (size_t)(from - page), close_tag,
			    strlen(close_tag));
	}
	out[0] = '\0';
	if (to && EVP_Digest(from, (size_t)(to - from), digest, &n, EVP_sha256(), NULL) == 1)
		EVP_EncodeBlock((unsigned char *)out, digest, (int)n);
}

static void make_csp(struct admin *a)
{
	char script[64], style[64];

	hash_of("<script>", "</script>", script);
	hash_of("<style>", "</style>", style);
	snprintf(a->csp, sizeof a->csp,
		 "default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; "
		 "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
		 "frame-ancestors 'none'", script, style);
}

static bool start_daemon(struct admin *a)
{
	int fd = fcntl(a->facts.o.fd, F_DUPFD_CLOEXEC, 3);	/* it closes what it is given */
	const union MHD_DaemonInfo *info;

	if (fd < 0)
		return false;
	a->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, answer, a,
		MHD_OPTION_EXTERNAL_LOGGER, complain, NULL,
		MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY,
		MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_END);
	if (!a->daemon) {
		close(fd);
		return false;
	}
	info = MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	a->epoll_fd = info ? info->epoll_fd : -1;
	return a->epoll_fd >= 0;
}

static void admin_free(struct admin *a)
{
	if (a->daemon)
		MHD_stop_daemon(a->daemon);
	if (a->stop_fd >= 0)
		close(a->stop_fd);
	config_release(a->config);
	pthread_mutex_destroy(&a->lock);
	free(a->facts.census);
	free(a);
}

struct admin *admin_start(const struct admin_options *o, const char **why)
{
	struct admin *a = calloc(1, sizeof *a);

	*why = "out of memory or descriptors";
	if (!a)
		return NULL;
	a->facts.o = *o;
	a->facts.started = a->reloaded = wall();
	a->reload_ok = true;
	a->noted_ms = now_ms();
	a->config = config_hold(o->config);
	pthread_mutex_init(&a->lock, NULL);
	make_csp(a);
	a->facts.census = calloc(1, sizeof *a->facts.census);
	a->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (a->facts.census && a->stop_fd >= 0 && start_daemon(a) &&
	    pthread_create(&a->thread, NULL, thread_main, a) == 0)
		return a;
	admin_free(a);
	return NULL;
}

void admin_reloaded(struct admin *a, struct config *c)
{
	struct config *old = NULL;

	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->reload_ok = c != NULL;
	if (c) {
		old = a->config;
		a->config = config_hold(c);
		a->reloaded = wall();
	}
	pthread_mutex_unlock(&a->lock);
	if (old)
		config_release(old);
}

void admin_draining(struct admin *a)
{
	if (a)
		atomic_store(&a->facts.draining, true);
}

void admin_stop(struct admin *a)
{
	uint64_t one = 1;

	if (!a)
		return;
	atomic_store(&a->stopping, true);
	if (write(a->stop_fd, &one, sizeof one) < 0)
		log_error(NULL, "admin: %s", strerror(errno));
	pthread_join(a->thread, NULL);
	admin_free(a);
}
