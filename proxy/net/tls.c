/* tls: see tls.h. One file knows OpenSSL's rules, so it is longer than a room
 * should be:
 *
 * - A record that did not go out whole must be offered again before anything
 *   else. Records are therefore made here, one SSL_write each, and the one on
 *   its way is kept as a copy (OpenSSL may not have encrypted it yet, when a key
 *   update goes first). What the caller offers next may be cut differently:
 *   `ahead` keeps the two apart.
 * - SSL_get_error() looks at this thread's error queue: it is emptied first.
 * - After a fatal error nothing may be written, not even close_notify.
 * - Verification is set up before the handshake and never relaxed in it. */
#include "net/tls.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "ground/buf.h"
#include "net/ticket.h"
#include "net/way.h"

enum { RECORD = SSL3_RT_MAX_PLAIN_LENGTH, SESSIONS = 64, SECURITY_LEVEL = 2,
       SESSION_SECONDS = 3600 };

_Static_assert((size_t)RECORD <= (size_t)BUF_BLOCK, "a record fits in a block");

/* A session that may be resumed, and whom it belongs to. */
struct memory {
	char *name;
	uint16_t port;
	SSL_SESSION *session;
};

struct tls_ctx {
	SSL_CTX *ssl;
	unsigned refs;
	enum tls_role role;
	unsigned char alpn[256];	/* length octet, name */
	unsigned alpn_len;
	bool pinned;
	unsigned char pin[32];
	struct memory memory[SESSIONS];	/* by hash; the newer one stays */
};

struct tls {
	struct tls_ctx *ctx;
	SSL *ssl;
	struct tls *outer;		/* the connection that this one is inside of, or NULL */
	BIO *way;			/* NULL: the socket itself */
	int fd;
	char *pending;			/* the record on its way: a block, or NULL */
	size_t pending_len;
	size_t ahead;			/* octets sent that the caller was not told of */
	enum io read_end;		/* what ended reading, or IO_DONE */
	bool broken;			/* fatal: neither write nor shut down */
	bool up;			/* handshake done */
	bool starved;			/* reading needs the socket */
	enum why why;
	uint16_t port;
	char detail[160];
	char name[];			/* NUL-terminated, without the root's dot */
};

/* A person's words. */

static const struct { int reason; const char *words; } told[] = {
	{ SSL_R_UNEXPECTED_EOF_WHILE_READING,
	  "the peer closed the connection without ending its stream" },
	{ SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS on this port" },
	{ SSL_R_PACKET_LENGTH_TOO_LONG, "the peer does not speak TLS on this port" },
	{ SSL_R_HTTP_REQUEST, "plain HTTP on a TLS port" },
	{ SSL_R_UNSUPPORTED_PROTOCOL, "the peer's TLS version is too old" },
	{ SSL_R_DH_KEY_TOO_SMALL, "the peer's Diffie-Hellman key is too small" },
};

static const char *reason_words(unsigned long e)
{
	const char *words;

	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
		if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == told[i].reason)
			return told[i].words;
	words = ERR_reason_error_string(e);
	return words ? words : "unknown error";
}

/* The first fault wins: what follows it is its consequence. */
static void set_fault(struct tls *t, enum why why, const char *words)
{
	if (t->detail[0] != '\0')
		return;
	t->why = why;
	snprintf(t->detail, sizeof(t->detail), "%s", words);
}

static void note_fault(struct tls *t, int error, int saved_errno)
{
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_REASON(e);

	t->broken = true;
	if (e == 0 && error == SSL_ERROR_SYSCALL)
		set_fault(t, WHY_TLS_FAILED, saved_errno ? strerror(saved_errno)
							 : "connection closed");
	else if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET)
		set_fault(t, WHY_TLS_ALERT,
			  SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
	else
		set_fault(t, WHY_TLS_FAILED, reason_words(e));
}

/* What an SSL_* call that did not succeed means. */
static enum io outcome(struct tls *t, int ret)
{
	int saved_errno = errno;
	int error = SSL_get_error(t->ssl, ret);

	switch (error) {
	case SSL_ERROR_WANT_READ:
		return IO_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return IO_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return IO_EOF;
	default:
		note_fault(t, error, saved_errno);
		return IO_FAILED;
	}
}

/* Verification. */

static void append(char *room, size_t size, const char *at, size_t len)
{
	size_t used = strlen(room);

	for (size_t i = 0; i < len && used + 1 < size; i++)
		room[used++] = at[i] > 0x20 && at[i] < 0x7f ? at[i] : '?';
	room[used] = '\0';
}

/* "hostname mismatch: the certificate is for a.example b.example". */
static void tell_names(struct tls *t, X509 *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char words[sizeof(t->detail)] = "hostname mismatch: the certificate is for";
	int told_of = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && told_of < 3; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type != GEN_DNS)
			continue;
		snprintf(words + strlen(words), sizeof(words) - strlen(words), " ");
		append(words, sizeof(words), (const char *)ASN1_STRING_get0_data(g->d.dNSName),
		       (size_t)ASN1_STRING_length(g->d.dNSName));
		told_of++;
	}
	GENERAL_NAMES_free(names);
	set_fault(t, WHY_TLS_CERTIFICATE,
		  told_of ? words : "hostname mismatch: the certificate names no host");
}

static struct tls *tls_of(X509_STORE_CTX *x)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());

	return SSL_get_app_data(ssl);
}

/* Listens only: what OpenSSL refuses stays refused. */
static int on_verify(int ok, X509_STORE_CTX *x)
{
	int error = X509_STORE_CTX_get_error(x);
	struct tls *t = tls_of(x);

	if (ok)
		return 1;
	if (error == X509_V_ERR_HOSTNAME_MISMATCH && X509_STORE_CTX_get0_cert(x))
		tell_names(t, X509_STORE_CTX_get0_cert(x));
	set_fault(t, WHY_TLS_CERTIFICATE, X509_verify_cert_error_string(error));
	return 0;
}

/* Instead of chain, name and dates: this very certificate. */
static int on_verify_pinned(X509_STORE_CTX *x, void *arg)
{
	const struct tls_ctx *c = arg;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	X509 *cert = X509_STORE_CTX_get0_cert(x);

	if (cert && X509_digest(cert, EVP_sha256(), digest, &len) &&
	    len == sizeof(c->pin) && CRYPTO_memcmp(digest, c->pin, len) == 0) {
		X509_STORE_CTX_set_error(x, X509_V_OK);
		return 1;
	}
	X509_STORE_CTX_set_error(x, X509_V_ERR_CERT_REJECTED);
	set_fault(tls_of(x), WHY_TLS_CERTIFICATE, "the certificate is not the pinned one");
	return 0;
}

/* Sessions. */

static struct memory *memory_of(struct tls *t)
{
	struct str name = str_of(t->name);

	return &t->ctx->memory[str_hash_nocase(name, STR_HASH_SEED ^ t->port) % SESSIONS];
}

static void memory_clear(struct memory *m)
{
	free(m->name);
	SSL_SESSION_free(m->session);
	*m = (struct memory){ NULL, 0, NULL };
}

/* A ticket came. Only a verified peer gets that far. 1: the session is ours. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *t = SSL_get_app_data(ssl);
	struct memory *m = memory_of(t);
	char *name;

	if (SSL_get_verify_result(ssl) != X509_V_OK || !SSL_SESSION_is_resumable(session))
		return 0;
	name = strdup(t->name);
	if (!name)
		return 0;
	memory_clear(m);
	*m = (struct memory){ name, t->port, session };
	return 1;
}

/* A session keeps the verify result it was made with, so it is offered to the
 * name it was made for only. TLS 1.3 tickets are used once (RFC 8446 C.4). */
static void resume(struct tls *t)
{
	struct memory *m = memory_of(t);

	if (!m->session || m->port != t->port || strcasecmp(m->name, t->name) != 0)
		return;
	if (time(NULL) - SSL_SESSION_get_time(m->session) < SESSION_SECONDS)
		SSL_set_session(t->ssl, m->session);
	else
		memory_clear(m);
	if (m->session && SSL_SESSION_get_protocol_version(m->session) >= TLS1_3_VERSION)
		memory_clear(m);
}

/* Contexts. */

/* An encrypted key: we have no terminal to ask on. */
static int no_password(char *room, int size, int writing, void *arg)
{
	return 0;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		   const unsigned char *in, unsigned in_len, void *arg)
{
	const struct tls_ctx *c = arg;

	for (unsigned i = 0; i < in_len && i + in[i] < in_len; i += 1u + in[i]) {
		if (in[i] + 1u != c->alpn_len || memcmp(in + i, c->alpn, c->alpn_len) != 0)
			continue;
		*out = in + i + 1;
		*out_len = in[i];
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool fault(char *why, size_t size, const char *what)
{
	unsigned long e = ERR_peek_error();
	const char *reason = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) :
						   ERR_reason_error_string(e);

	snprintf(why, size, "%s: %s", what, reason ? reason : "cannot be used");
	ERR_clear_error();
	return false;
}

static bool use_identity(struct tls_ctx *c, const struct tls_options *o, char *why, size_t size)
{
	const char *key = o->key_file ? o->key_file : o->cert_file;

	if (!o->cert_file)
		return c->role == TLS_CLIENT || o->shown ? true : fault(why, size, "no certificate");
	if (SSL_CTX_use_certificate_chain_file(c->ssl, o->cert_file) != 1)
		return fault(why, size, o->cert_file);
	if (SSL_CTX_use_PrivateKey_file(c->ssl, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(c->ssl) != 1)
		return fault(why, size, key);
	return true;
}

static bool use_alpn(struct tls_ctx *c, const char *alpn, char *why, size_t size)
{
	size_t len = alpn ? strlen(alpn) : 0;

	if (len == 0)
		return true;
	if (len > 255)
		return fault(why, size, "alpn");
	c->alpn[0] = (unsigned char)len;
	memcpy(c->alpn + 1, alpn, len);
	c->alpn_len = (unsigned)len + 1;
	if (c->role == TLS_SERVER)
		SSL_CTX_set_alpn_select_cb(c->ssl, on_alpn, c);
	else if (SSL_CTX_set_alpn_protos(c->ssl, c->alpn, c->alpn_len) != 0)
		return fault(why, size, "alpn");
	return true;
}

static bool use_revocation(struct tls_ctx *c, const char *file, char *why, size_t size)
{
	X509_STORE *store = SSL_CTX_get_cert_store(c->ssl);
	X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());

	if (!lookup || X509_load_crl_file(lookup, file, X509_FILETYPE_PEM) < 1)
		return fault(why, size, file);
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	return true;
}

static bool use_pin(struct tls_ctx *c, const char *hex, char *why, size_t size)
{
	size_t len = 0;

	if (!OPENSSL_hexstr2buf_ex(c->pin, sizeof(c->pin), &len, hex, ':') ||
	    len != sizeof(c->pin))
		return fault(why, size, "pinned SHA-256 digest");
	SSL_CTX_set_cert_verify_callback(c->ssl, on_verify_pinned, c);
	return true;
}

static bool use_trust(struct tls_ctx *c, const struct tls_options *o, char *why, size_t size)
{
	if (c->role == TLS_SERVER)
		return ticket_use(c->ssl) || fault(why, size, "session tickets");
	SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, on_verify);
	SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_CLIENT |
					       SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c->ssl, on_session);
	if (o->pinned_sha256)
		return use_pin(c, o->pinned_sha256, why, size);
	if (o->ca_file && SSL_CTX_load_verify_file(c->ssl, o->ca_file) != 1)
		return fault(why, size, o->ca_file);
	if (!o->ca_file && SSL_CTX_set_default_verify_paths(c->ssl) != 1)
		return fault(why, size, "the system's certificates");
	return !o->crl_file || use_revocation(c, o->crl_file, why, size);
}

/* Versions before 1.2 need what the security level forbids (SHA-1 in handshakes).
 * Certificates of peers are held to the level all the same. */
static bool set_strictness(SSL_CTX *ssl, int least)
{
	if (least && least < TLS1_2_VERSION)
		SSL_CTX_set_security_level(ssl, 0);
	else if (SSL_CTX_get_security_level(ssl) < SECURITY_LEVEL)
		SSL_CTX_set_security_level(ssl, SECURITY_LEVEL);
	X509_VERIFY_PARAM_set_auth_level(SSL_CTX_get0_param(ssl), SECURITY_LEVEL);
	return SSL_CTX_set_min_proto_version(ssl, least ? least : TLS1_2_VERSION) == 1;
}

static void set_manners(SSL_CTX *ssl)
{
	SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_clear_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
	SSL_CTX_set_mode(ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ssl, 1);
	SSL_CTX_set_max_early_data(ssl, 0);
	SSL_CTX_set_default_passwd_cb(ssl, no_password);
}

struct tls_ctx *tls_ctx_new(const struct tls_options *o, char *why, size_t why_size)
{
	struct tls_ctx *c = calloc(1, sizeof(*c));

	ERR_clear_error();
	if (c)
		c->ssl = SSL_CTX_new(o->role == TLS_CLIENT ? TLS_client_method()
							   : TLS_server_method());
	if (!c || !c->ssl) {
		fault(why, why_size, "TLS");
		free(c);
		return NULL;
	}
	c->role = o->role;
	c->refs = 1;
	set_manners(c->ssl);
	if (set_strictness(c->ssl, o->min_version) &&
	    use_identity(c, o, why, why_size) && use_trust(c, o, why, why_size) &&
	    use_alpn(c, o->alpn, why, why_size))
		return c;
	tls_ctx_free(c);
	return NULL;
}

void tls_ctx_free(struct tls_ctx *c)
{
	if (!c || --c->refs)
		return;
	for (int i = 0; i < SESSIONS; i++)
		memory_clear(&c->memory[i]);
	SSL_CTX_free(c->ssl);
	free(c);
}

/* Connections. */

static bool is_address(const char *name)
{
	unsigned char room[16];

	return inet_pton(AF_INET, name, room) == 1 || inet_pton(AF_INET6, name, room) == 1;
}

/* Whom the handshake must meet: set before it begins. */
static bool expect_peer(struct tls *t)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);

	SSL_set_connect_state(t->ssl);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
					       X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (t->name[0] == '\0')
		return false;
	if (is_address(t->name))
		return X509_VERIFY_PARAM_set1_ip_asc(param, t->name) == 1;
	return SSL_set1_host(t->ssl, t->name) == 1 &&
	       SSL_set_tlsext_host_name(t->ssl, t->name) == 1;
}

static uint16_t peer_port(int fd)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
		struct sockaddr_storage any;
	} to;
	socklen_t len = sizeof(to);

	if (getpeername(fd, &to.sa, &len) != 0)
		return 0;
	if (to.sa.sa_family == AF_INET)
		return ntohs(to.in4.sin_port);
	return to.sa.sa_family == AF_INET6 ? ntohs(to.in6.sin6_port) : 0;
}

static bool use_way(struct tls *t, int fd, struct tls *outer)
{
	t->way = way_new(fd, outer);
	if (t->way)
		SSL_set_bio(t->ssl, t->way, t->way);
	return t->way != NULL;
}

static struct tls *make(struct tls_ctx *c, int fd, struct tls *outer, struct str server_name)
{
	struct tls *t;

	if (server_name.len > 0 && server_name.at[server_name.len - 1] == '.')
		server_name.len--;
	t = calloc(1, sizeof(*t) + server_name.len + 1);
	if (!t)
		return NULL;
	if (server_name.len)
		memcpy(t->name, server_name.at, server_name.len);
	t->ctx = c;
	c->refs++;
	t->fd = fd;
	t->why = WHY_TLS_FAILED;
	t->ssl = SSL_new(c->ssl);
	if (!t->ssl || SSL_set_app_data(t->ssl, t) != 1 ||
	    !(outer ? use_way(t, fd, outer) : SSL_set_fd(t->ssl, fd) == 1))
		goto fail;
	if (c->role == TLS_SERVER) {
		SSL_set_accept_state(t->ssl);
		return t;
	}
	if (strlen(t->name) != server_name.len || !expect_peer(t))
		goto fail;
	t->port = peer_port(fd);
	resume(t);
	return t;
fail:
	ERR_clear_error();
	tls_free(t);
	return NULL;
}

struct tls *tls_new(struct tls_ctx *c, int fd, struct str server_name)
{
	return make(c, fd, NULL, server_name);
}

struct tls *tls_new_inside(struct tls_ctx *c, struct tls *outer, struct str server_name)
{
	struct tls *t = make(c, outer->fd, outer, server_name);

	if (t)
		t->outer = outer;
	return t;
}

bool tls_unread(struct tls *t, struct str octets)
{
	if (!t->way && !use_way(t, t->fd, NULL))
		return false;
	return way_unread(t->way, octets);
}

/* Which of the two is shown is OpenSSL's choice, by what the client offers. The
 * scope keeps a session that was made as one host from being resumed as another. */
bool tls_show(struct tls *t, const struct tls_identity *identity)
{
	bool shown = identity->cert[0] != NULL;

	ERR_clear_error();
	for (int i = 0; i < TLS_CERTS && identity->cert[i] && shown; i++)
		shown = SSL_use_cert_and_key(t->ssl, identity->cert[i], identity->key[i],
					     identity->chain, 1) == 1;
	shown = shown && SSL_set_session_id_context(t->ssl,
			(const unsigned char *)identity->scope, sizeof(identity->scope)) == 1;
	ERR_clear_error();
	return shown;
}

void tls_identity_release(struct tls_identity *i)
{
	if (!i || --i->refs)
		return;
	for (int k = 0; k < TLS_CERTS; k++) {
		X509_free(i->cert[k]);
		EVP_PKEY_free(i->key[k]);
	}
	sk_X509_pop_free(i->chain, X509_free);
	free(i);
}

/* The peer is whom we meant, also when the session was resumed. */
static bool peer_is_meant(struct tls *t)
{
	long result = SSL_get_verify_result(t->ssl);

	if (t->ctx->role == TLS_SERVER)
		return true;
	if (result == X509_V_OK && SSL_get0_peer_certificate(t->ssl))
		return true;
	set_fault(t, WHY_TLS_CERTIFICATE, result == X509_V_OK ? "no certificate"
					: X509_verify_cert_error_string(result));
	return false;
}

enum io tls_handshake(struct tls *t)
{
	int ret;

	if (t->broken)
		return IO_FAILED;
	ERR_clear_error();
	errno = 0;
	ret = SSL_do_handshake(t->ssl);
	if (ret != 1) {
		enum io io = outcome(t, ret);

		if (io != IO_EOF)
			return io;
		set_fault(t, WHY_TLS_FAILED, "the peer ended the handshake");
		t->broken = true;
		return IO_FAILED;
	}
	t->up = peer_is_meant(t);
	t->broken = !t->up;
	return t->up ? IO_DONE : IO_FAILED;
}

enum io tls_read(struct tls *t, struct iovec room, size_t *got)
{
	*got = 0;
	if (t->read_end != IO_DONE)
		return t->read_end;
	do {
		size_t n = 0;
		int ret;
		enum io io;

		ERR_clear_error();
		errno = 0;
		ret = SSL_read_ex(t->ssl, (char *)room.iov_base + *got, room.iov_len - *got, &n);
		if (ret == 1) {
			t->starved = false;
			*got += n;
			continue;
		}
		io = outcome(t, ret);
		t->starved = true;
		if (io == IO_EOF || io == IO_FAILED)
			t->read_end = io;
		return *got ? IO_DONE : io;
	} while (*got < room.iov_len && SSL_has_pending(t->ssl));
	return IO_DONE;
}

bool tls_has_pending(const struct tls *t)
{
	if (t->read_end != IO_DONE)
		return true;
	return !t->starved && (SSL_has_pending(t->ssl) || (t->way && way_has_pending(t->way)));
}

/* Where the next record begins in the caller's slices. */
struct place {
	const struct iovec *iov;
	int n;
	size_t skip;			/* within iov[0] */
};

static void place_settle(struct place *p)
{
	while (p->n > 0 && p->skip >= p->iov->iov_len) {
		p->skip -= p->iov->iov_len;
		p->iov++;
		p->n--;
	}
}

/* Moves on by at most n; returns by how much. */
static size_t place_move(struct place *p, size_t n)
{
	size_t moved = 0;

	for (place_settle(p); p->n > 0 && moved < n; place_settle(p)) {
		size_t k = p->iov->iov_len - p->skip;

		if (k > n - moved)
			k = n - moved;
		p->skip += k;
		moved += k;
	}
	return moved;
}

/* The octets of the next record: in place if they lie together, else gathered. */
static struct str next_record(struct place *p, char room[RECORD])
{
	struct place at = *p;
	size_t len = 0;

	place_settle(p);
	if (p->n == 0)
		return STR_NONE;
	if (p->n == 1 || p->iov->iov_len - p->skip >= RECORD)
		return str_first((struct str){ (char *)p->iov->iov_base + p->skip,
					       p->iov->iov_len - p->skip }, RECORD);
	for (place_settle(&at); at.n > 0 && len < RECORD; place_settle(&at)) {
		size_t k = at.iov->iov_len - at.skip;

		if (k > RECORD - len)
			k = RECORD - len;
		memcpy(room + len, (char *)at.iov->iov_base + at.skip, k);
		at.skip += k;
		len += k;
	}
	return (struct str){ room, len };
}

static enum io write_record(struct tls *t, const char *at, size_t len)
{
	size_t n = 0;
	int ret;

	ERR_clear_error();
	errno = 0;
	ret = SSL_write_ex(t->ssl, at, len, &n);
	if (ret == 1) {
		t->ahead += len;
		return IO_DONE;
	}
	return outcome(t, ret);
}

static enum io write_pending(struct tls *t)
{
	enum io io;

	if (!t->pending)
		return IO_DONE;
	io = write_record(t, t->pending, t->pending_len);
	if (io == IO_DONE) {
		block_give(t->pending);
		t->pending = NULL;
	}
	return io;
}

static enum io write_new(struct tls *t, struct str record)
{
	enum io io = write_record(t, record.at, record.len);

	if (io != IO_WANT_READ && io != IO_WANT_WRITE)
		return io;
	t->pending = block_take();
	if (!t->pending) {
		set_fault(t, WHY_OUT_OF_MEMORY, "out of memory");
		t->broken = true;
		return IO_FAILED;
	}
	memcpy(t->pending, record.at, record.len);
	t->pending_len = record.len;
	return io;
}

enum io tls_write(struct tls *t, const struct iovec *iov, int n, size_t *put)
{
	struct place p = { iov, n, 0 };
	char room[RECORD];
	enum io io;

	*put = 0;
	if (t->broken)
		return IO_FAILED;
	assert(t->up);
	io = write_pending(t);
	while (io == IO_DONE) {
		size_t sent = place_move(&p, t->ahead);
		struct str record;

		t->ahead -= sent;
		*put += sent;
		record = next_record(&p, room);
		if (record.len == 0)
			return IO_DONE;
		io = write_new(t, record);
	}
	return *put ? IO_DONE : io == IO_EOF ? IO_FAILED : io;
}

enum io tls_shut(struct tls *t)
{
	enum io io;
	int ret;

	if (t->broken || !t->up)
		return IO_DONE;
	io = write_pending(t);
	if (io == IO_DONE) {
		ERR_clear_error();
		ret = SSL_shutdown(t->ssl);
		io = ret >= 0 ? IO_DONE : outcome(t, ret);
	}
	if (io != IO_WANT_WRITE && t->outer)
		io = tls_shut(t->outer);
	return io == IO_WANT_WRITE ? IO_WANT_WRITE : IO_DONE;
}

bool tls_was_resumed(const struct tls *t)
{
	return SSL_session_reused(t->ssl) == 1;
}

enum why tls_why(const struct tls *t)
{
	return t->why;
}

const char *tls_detail(const struct tls *t)
{
	return t->detail;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	/* Else SSL_free() would spoil the session for the next connection. */
	if (t->ssl && t->up && !t->broken)
		SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(t->ssl);
	ERR_clear_error();
	tls_free(t->outer);
	tls_ctx_free(t->ctx);
	block_give(t->pending);
	free(t);
}
