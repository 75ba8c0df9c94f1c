/* Two ends of a TLS connection for tests, ours against bare OpenSSL, and the
 * certificates that they show. To be included once, by the test's .c file. */
#ifndef TESTS_NET_PAIR_H
#define TESTS_NET_PAIR_H

#include <sys/socket.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "ground/buf.h"
#include "net/tls.h"

enum { DAY = 86400 };

struct identity {
	EVP_PKEY *key;
	X509 *cert;
};

struct spec {
	const char *cn, *san, *eku;
	long from, to;			/* seconds from now; both 0: valid */
	bool ca, rsa1024, sha1;
};

static char dir[] = "/tmp/test-tls-XXXXXX";
static struct identity root, stranger, good;
static char root_file[64];
static long serial = 1;

static inline const char *path(char room[64], const char *name)
{
	snprintf(room, 64, "%s/%s", dir, name);
	return room;
}

static inline void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	if (!value)
		return;
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

/* A DNS name with a NUL in it, which no configuration string can hold. */
static inline void extend_nul(X509 *x)
{
	static const char octets[] = "good.test\0.evil.test";
	GENERAL_NAMES *all = GENERAL_NAMES_new();
	GENERAL_NAME *g = GENERAL_NAME_new();
	ASN1_IA5STRING *s = ASN1_IA5STRING_new();

	ASN1_STRING_set(s, octets, sizeof(octets) - 1);
	GENERAL_NAME_set0_value(g, GEN_DNS, s);
	sk_GENERAL_NAME_push(all, g);
	assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, all, 0, 0), 1);
	GENERAL_NAMES_free(all);
}

/* by NULL: signs itself. */
static inline struct identity make(const struct spec *s, const struct identity *by)
{
	struct identity me = { s->rsa1024 ? EVP_RSA_gen(1024) : EVP_EC_gen("P-256"), X509_new() };
	const struct identity *signer = by ? by : &me;
	X509_NAME *name = X509_get_subject_name(me.cert);

	assert_non_null(me.key);
	X509_set_version(me.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(me.cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(me.cert), s->from || s->to ? s->from : -DAY);
	X509_gmtime_adj(X509_getm_notAfter(me.cert), s->from || s->to ? s->to : DAY);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)s->cn,
				   -1, -1, 0);
	X509_set_issuer_name(me.cert, X509_get_subject_name(signer->cert));
	X509_set_pubkey(me.cert, me.key);
	extend(me.cert, signer->cert, NID_basic_constraints,
	       s->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	extend(me.cert, signer->cert, NID_subject_key_identifier, "hash");
	extend(me.cert, signer->cert, NID_ext_key_usage, s->eku);
	if (s->san && strcmp(s->san, "NUL") == 0)
		extend_nul(me.cert);
	else
		extend(me.cert, signer->cert, NID_subject_alt_name, s->san);
	assert_true(X509_sign(me.cert, signer->key, s->sha1 ? EVP_sha1() : EVP_sha256()) > 0);
	return me;
}

static inline void unmake(struct identity *i)
{
	EVP_PKEY_free(i->key);
	X509_free(i->cert);
}

static inline void save(const struct identity *i, const char *cert_file, const char *key_file)
{
	FILE *f = fopen(cert_file, "w");

	assert_non_null(f);
	PEM_write_X509(f, i->cert);
	fclose(f);
	if (!key_file)
		return;
	f = fopen(key_file, "w");
	assert_non_null(f);
	PEM_write_PrivateKey(f, i->key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
}

static inline struct tls_ctx *context(const struct tls_options *o)
{
	char why[256] = "";
	struct tls_ctx *c = tls_ctx_new(o, why, sizeof(why));

	if (!c)
		fail_msg("%s", why);
	return c;
}

static inline struct tls_ctx *client_context(void)
{
	struct tls_options o = { .role = TLS_CLIENT, .ca_file = root_file, .alpn = "http/1.1" };

	return context(&o);
}

/* Two ends: ours is a client, theirs bare OpenSSL with no scruples. */
struct pair {
	int fd[2];
	struct tls *ours;
	SSL_CTX *their_ctx;
	SSL *theirs;
};

static inline void connect_fds(int fd[2], int room)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	for (int i = 0; i < 2 && room > 0; i++)
		setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

static inline SSL_CTX *their_context(const struct identity *who)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());

	SSL_CTX_set_security_level(c, 0);
	SSL_CTX_set_min_proto_version(c, TLS1_VERSION);
	SSL_CTX_set_session_id_context(c, (const unsigned char *)"t", 1);
	assert_int_equal(SSL_CTX_use_certificate(c, who->cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(c, who->key), 1);
	return c;
}

static inline void pair_open(struct pair *p, struct tls_ctx *ours, SSL_CTX *theirs,
			     const char *name, int room)
{
	connect_fds(p->fd, room);
	SSL_CTX_up_ref(theirs);
	p->their_ctx = theirs;
	p->theirs = SSL_new(theirs);
	SSL_set_fd(p->theirs, p->fd[1]);
	SSL_set_accept_state(p->theirs);
	p->ours = tls_new(ours, p->fd[0], str_of(name));
	assert_non_null(p->ours);
}

static inline void pair_close(struct pair *p)
{
	tls_free(p->ours);
	SSL_free(p->theirs);
	SSL_CTX_free(p->their_ctx);
	close(p->fd[0]);
	close(p->fd[1]);
	ERR_clear_error();
}

static inline bool waits(enum io io)
{
	return io == IO_WANT_READ || io == IO_WANT_WRITE;
}

static inline enum io shake(struct pair *p)
{
	enum io io = IO_WANT_READ;

	for (int i = 0; i < 100 && waits(io); i++) {
		io = tls_handshake(p->ours);
		ERR_clear_error();
		SSL_do_handshake(p->theirs);
	}
	return io;
}

static inline void shake_well(struct pair *p)
{
	if (shake(p) != IO_DONE)
		fail_msg("handshake: %s", tls_detail(p->ours));
}

static inline void check_refusal(const struct pair *p, enum why why, const char *words)
{
	if (!strstr(tls_detail(p->ours), words))
		fail_msg("\"%s\" lacks \"%s\"", tls_detail(p->ours), words);
	assert_string_equal(why_name(tls_why(p->ours)), why_name(why));
}

static inline size_t hear(struct pair *p, char *room, size_t size)
{
	size_t n = 0;

	ERR_clear_error();
	return SSL_read_ex(p->theirs, room, size, &n) == 1 ? n : 0;
}

static inline void say(struct pair *p, const void *at, size_t len)
{
	size_t n = 0;

	ERR_clear_error();
	assert_int_equal(SSL_write_ex(p->theirs, at, len, &n), 1);
	assert_int_equal(n, len);
}

static inline enum io listen_to(struct pair *p, char *room, size_t size, size_t *got)
{
	return tls_read(p->ours, (struct iovec){ room, size }, got);
}

static inline int set_up(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	signal(SIGPIPE, SIG_IGN);
	root = make(&(struct spec){ .cn = "root", .ca = true }, NULL);
	stranger = make(&(struct spec){ .cn = "stranger", .ca = true }, NULL);
	good = make(&(struct spec){ .cn = "x", .san = "DNS:good.test" }, &root);
	save(&root, path(root_file, "root.pem"), NULL);
	return 0;
}

static inline int tear_down(void **state)
{
	unmake(&root);
	unmake(&stranger);
	unmake(&good);
	unlink(root_file);
	block_sweep();
	return rmdir(dir);
}

#endif
