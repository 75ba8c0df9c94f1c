/* signer: both ends of the set-up, and the loop of the signing process, which has
 * nothing else to do and so may wait. The parent's half never reads key_file. */
#include "net/signer.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "net/authority.h"

enum { CONTROL = 3, SETUP_MOST = 65536, WORDS_MOST = 256, RSA_BITS = 2048 };

/* The first message: lengths, then the octets; with it, the workers' sockets. */
struct setup {
	uint32_t cert_file, key_file, passphrase, key[SIGNER_KEYS];
};

struct signer {
	_Atomic unsigned refs;
	pid_t pid;
	int control;
	unsigned workers;
	int fd[SIGNER_WORKERS_MOST];
	EVP_PKEY *key[SIGNER_KEYS];
	STACK_OF(X509) *chain;
};

/* -- the signing process ---------------------------------------------------------- */

struct desk {
	struct authority *authority;
	EVP_PKEY *key[SIGNER_KEYS];	/* public halves */
	struct pollfd at[1 + SIGNER_WORKERS_MOST];
	unsigned n;
};

/* Once the key is read nothing else is: as root we would only be a danger. With
 * a user id of its own not even the workers' can look into this process. */
static void become_nobody(void)
{
	enum { NOBODY = 65534 };

	if (geteuid() != 0)
		return;
	if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) != 0)
		errno = 0;		/* no such user in this namespace: as we are */
}

static void harden(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_NAME, "signer");
	signal(SIGPIPE, SIG_IGN);
}

static void take_sockets(struct desk *d, struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	unsigned n;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return;
	n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	for (unsigned i = 0; i < n && i < SIGNER_WORKERS_MOST; i++) {
		memcpy(&d->at[d->n].fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		d->at[d->n++].events = POLLIN;
	}
}

/* The next `len` octets as a string of their own: paths and a passphrase. */
static char *cut(const char **at, size_t *left, uint32_t len)
{
	char *s = len <= *left ? malloc(len + 1) : NULL;

	if (!s)
		return NULL;
	memcpy(s, *at, len);
	s[len] = '\0';
	*at += len;
	*left -= len;
	return s;
}

static bool open_desk(struct desk *d, const struct setup *u, const char *at, size_t left,
		      char words[WORDS_MOST])
{
	char *cert = cut(&at, &left, u->cert_file), *key = cut(&at, &left, u->key_file);
	char *pass = cut(&at, &left, u->passphrase);

	if (cert && key && pass)
		d->authority = authority_open(cert, key, (struct str){ pass, u->passphrase },
					      words, WORDS_MOST);
	if (pass)
		explicit_bzero(pass, u->passphrase);
	free(pass);
	free(key);
	free(cert);
	for (unsigned i = 0; i < SIGNER_KEYS && d->authority; i++) {
		const unsigned char *der = (const unsigned char *)at;

		d->key[i] = u->key[i] <= left ? d2i_PUBKEY(NULL, &der, u->key[i]) : NULL;
		if (!d->key[i])
			return false;
		at += u->key[i];
		left -= u->key[i];
	}
	return d->authority != NULL;
}

static bool take_setup(struct desk *d)
{
	static char room[SETUP_MOST];
	char words[WORDS_MOST] = "the signing process cannot start";
	union { char octets[CMSG_SPACE(SIGNER_WORKERS_MOST * sizeof(int))]; struct cmsghdr a; } c;
	struct iovec v = { room, sizeof(room) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c,
			    .msg_controllen = sizeof(c) };
	ssize_t n = recvmsg(CONTROL, &m, MSG_CMSG_CLOEXEC);
	struct setup u;
	bool ready = false;

	d->at[d->n++] = (struct pollfd){ .fd = CONTROL, .events = POLLIN };
	if (n >= (ssize_t)sizeof(u)) {
		memcpy(&u, room, sizeof(u));
		take_sockets(d, &m);
		ready = open_desk(d, &u, room + sizeof(u), (size_t)n - sizeof(u), words);
	}
	explicit_bzero(room, sizeof(room));
	if (ready)
		words[0] = '\0';
	return send(CONTROL, words, strlen(words) + 1, MSG_NOSIGNAL) > 0 && ready;
}

static size_t sign(struct desk *d, struct str host, struct signer_reply *r)
{
	size_t used = 0;

	for (unsigned i = 0; i < SIGNER_KEYS; i++) {
		X509 *leaf = authority_sign(d->authority, host, d->key[i]);
		unsigned char *to = r->der + used;
		int len = leaf ? i2d_X509(leaf, NULL) : 0;

		r->len[i] = 0;
		if (len > 0 && used + (size_t)len <= sizeof(r->der))
			r->len[i] = (uint32_t)i2d_X509(leaf, &to);
		used += r->len[i];
		X509_free(leaf);
	}
	return offsetof(struct signer_reply, der) + used;
}

/* False: that worker is gone. A worker asks for no more at a time than its socket
 * can hold of replies, so sending never waits. */
static bool serve(struct desk *d, int fd)
{
	static struct signer_reply reply;
	struct signer_request q;
	ssize_t n = recv(fd, &q, sizeof(q), 0);
	size_t len;

	if (n <= 0)
		return n < 0 && errno == EINTR;
	if ((size_t)n < offsetof(struct signer_request, host) || q.len > sizeof(q.host) ||
	    (size_t)n < offsetof(struct signer_request, host) + q.len)
		return false;
	reply.id = q.id;
	len = sign(d, (struct str){ q.host, q.len }, &reply);
	return send(fd, &reply, len, MSG_NOSIGNAL) == (ssize_t)len;
}

int signer_main(void)
{
	static struct desk d;

	harden();
	if (!take_setup(&d))
		return EXIT_FAILURE;
	become_nobody();
	prctl(PR_SET_DUMPABLE, 0);	/* a new user id may have set it again */
	while (poll(d.at, d.n, -1) >= 0 || errno == EINTR) {
		if (d.at[0].revents)	/* nothing more is said there: the end */
			break;
		for (unsigned i = 1; i < d.n; i++)
			if (d.at[i].revents && !serve(&d, d.at[i].fd)) {
				close(d.at[i].fd);
				d.at[i].fd = -1;
			}
	}
	authority_close(d.authority);
	for (unsigned i = 0; i < SIGNER_KEYS; i++)
		EVP_PKEY_free(d.key[i]);
	return EXIT_SUCCESS;
}

/* -- the parent --------------------------------------------------------------------- */

static bool fault(char *why, size_t size, const char *what, const char *words)
{
	snprintf(why, size, "%s: %s", what, words);
	ERR_clear_error();
	return false;
}

static bool make_keys(struct signer *s)
{
	s->key[0] = EVP_EC_gen("P-256");
	s->key[1] = EVP_RSA_gen(RSA_BITS);
	return s->key[0] && s->key[1];
}

/* A root is in the clients' stores; what is between it and the leaves is not. */
static bool read_chain(struct signer *s, const char *path)
{
	BIO *in = BIO_new_file(path, "r");
	X509 *cert;

	s->chain = sk_X509_new_null();
	while (in && s->chain && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL)))
		if (X509_self_signed(cert, 0) == 1 || sk_X509_push(s->chain, cert) <= 0)
			X509_free(cert);
	BIO_free(in);
	ERR_clear_error();
	return s->chain != NULL;
}

static bool spawn(struct signer *s, int theirs)
{
	char *const argv[] = { "retrywith", "ca", "signer", NULL };
	posix_spawn_file_actions_t actions;
	int err;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, theirs, CONTROL);
	err = posix_spawn(&s->pid, "/proc/self/exe", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (err)
		s->pid = 0;
	errno = err;
	return err == 0;
}

static size_t add(char *room, size_t at, const void *octets, size_t len)
{
	if (at + len > SETUP_MOST)
		return SETUP_MOST + 1;
	if (len)
		memcpy(room + at, octets, len);
	return at + len;
}

static size_t compose(const struct signer *s, const struct signer_options *o, char *room)
{
	unsigned char *der[SIGNER_KEYS] = { NULL };
	struct setup u = { (uint32_t)strlen(o->cert_file), (uint32_t)strlen(o->key_file),
			   (uint32_t)o->passphrase.len, { 0 } };
	size_t at = sizeof(u);

	at = add(room, at, o->cert_file, u.cert_file);
	at = add(room, at, o->key_file, u.key_file);
	at = add(room, at, o->passphrase.at, u.passphrase);
	for (unsigned i = 0; i < SIGNER_KEYS; i++) {
		int len = i2d_PUBKEY(s->key[i], &der[i]);

		u.key[i] = len > 0 ? (uint32_t)len : 0;
		at = add(room, at, der[i], u.key[i]);
		OPENSSL_free(der[i]);
	}
	memcpy(room, &u, sizeof(u));
	return at;
}

static bool send_setup(struct signer *s, const struct signer_options *o, int theirs[])
{
	char *room = malloc(SETUP_MOST);
	size_t fds = s->workers * sizeof(int), len = room ? compose(s, o, room) : SETUP_MOST + 1;
	union { char octets[CMSG_SPACE(SIGNER_WORKERS_MOST * sizeof(int))]; struct cmsghdr a; } c;
	struct iovec v = { room, len };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c,
			    .msg_controllen = CMSG_SPACE(fds) };
	bool sent = false;

	memset(&c, 0, sizeof(c));
	c.a.cmsg_level = SOL_SOCKET;
	c.a.cmsg_type = SCM_RIGHTS;
	c.a.cmsg_len = CMSG_LEN(fds);
	memcpy(CMSG_DATA(&c.a), theirs, fds);
	if (len <= SETUP_MOST)
		sent = sendmsg(s->control, &m, MSG_NOSIGNAL) == (ssize_t)len;
	if (room)
		explicit_bzero(room, SETUP_MOST);
	free(room);
	return sent;
}

static bool hear_ready(struct signer *s, char *why, size_t size)
{
	char words[WORDS_MOST] = "";
	ssize_t n = recv(s->control, words, sizeof(words) - 1, 0);

	if (n <= 0)
		return fault(why, size, "the signing process", "it ended at once");
	if (words[0])
		snprintf(why, size, "%s", words);
	return !words[0];
}

static bool open_sockets(struct signer *s, int theirs[])
{
	for (unsigned i = 0; i < s->workers; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
			return false;
		s->fd[i] = pair[0];
		theirs[i] = pair[1];
	}
	return true;
}

static bool start(struct signer *s, const struct signer_options *o, int control, int theirs[],
		  char *why, size_t size)
{
	if (!make_keys(s) || !read_chain(s, o->cert_file))
		return fault(why, size, "keys for the leaves", "cannot be made");
	if (!open_sockets(s, theirs) || !spawn(s, control) || !send_setup(s, o, theirs))
		return fault(why, size, "the signing process", strerror(errno));
	return true;
}

static void close_all(int fd[], unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

struct signer *signer_start(const struct signer_options *o, char *why, size_t why_size)
{
	struct signer *s = calloc(1, sizeof(*s));
	int control[2] = { -1, -1 }, theirs[SIGNER_WORKERS_MOST];
	bool started;

	assert(o->workers > 0 && o->workers <= SIGNER_WORKERS_MOST);
	if (!s || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0) {
		fault(why, why_size, "the signing process", strerror(errno));
		free(s);
		return NULL;
	}
	s->refs = 1;
	s->control = control[0];
	s->workers = o->workers;
	memset(s->fd, -1, sizeof(s->fd));
	memset(theirs, -1, sizeof(theirs));
	started = start(s, o, control[1], theirs, why, why_size);
	close(control[1]);
	close_all(theirs, s->workers);
	if (started && hear_ready(s, why, why_size))
		return s;
	signer_stop(s);
	return NULL;
}

int signer_fd(const struct signer *s, unsigned worker)
{
	assert(worker < s->workers);
	return s->fd[worker];
}

EVP_PKEY *signer_key(const struct signer *s, unsigned i)
{
	return s->key[i];
}

STACK_OF(X509) *signer_chain(const struct signer *s)
{
	return s->chain;
}

bool signer_has_ended(struct signer *s)
{
	if (s->pid && waitpid(s->pid, NULL, WNOHANG) == s->pid)
		s->pid = 0;
	return !s->pid;
}

struct signer *signer_hold(struct signer *s)
{
	s->refs++;
	return s;
}

void signer_stop(struct signer *s)
{
	if (!s || --s->refs)
		return;
	close(s->control);
	close_all(s->fd, s->workers);
	while (s->pid && waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	for (unsigned i = 0; i < SIGNER_KEYS; i++)
		EVP_PKEY_free(s->key[i]);
	sk_X509_pop_free(s->chain, X509_free);
	free(s);
}
