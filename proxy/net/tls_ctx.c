/* tls_ctx: see the header. Verification is set up before the handshake and never
 * relaxed in it. */
#include "net/tls_ctx.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "ground/str.h"
#include "net/ticket.h"

enum { SESSIONS = 64, SECURITY_LEVEL = 2, SESSION_SECONDS = 3600 };

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
	unsigned char alpn[256];	/* length octet, name, ... */
	unsigned alpn_len;
	unsigned char pin[32];
	struct memory memory[SESSIONS];	/* by hash; the newer one stays */
};

void tls_peer_fault(struct tls_peer *p, enum why why, const char *words)
{
	if (p->detail[0] != '\0')
		return;
	p->why = why;
	snprintf(p->detail, sizeof(p->detail), "%s", words);
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
static void tell_names(struct tls_peer *p, X509 *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char words[sizeof(p->detail)] = "hostname mismatch: the certificate is for";
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
	tls_peer_fault(p, WHY_TLS_CERTIFICATE,
		       told_of ? words : "hostname mismatch: the certificate names no host");
}

static struct tls_peer *peer_of(X509_STORE_CTX *x)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());

	return SSL_get_app_data(ssl);
}

/* Listens only: what OpenSSL refuses stays refused. */
static int on_verify(int ok, X509_STORE_CTX *x)
{
	int error = X509_STORE_CTX_get_error(x);
	struct tls_peer *p = peer_of(x);

	if (ok)
		return 1;
	if (error == X509_V_ERR_HOSTNAME_MISMATCH && X509_STORE_CTX_get0_cert(x))
		tell_names(p, X509_STORE_CTX_get0_cert(x));
	tls_peer_fault(p, WHY_TLS_CERTIFICATE, X509_verify_cert_error_string(error));
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
	tls_peer_fault(peer_of(x), WHY_TLS_CERTIFICATE, "the certificate is not the pinned one");
	return 0;
}

/* Sessions. */

static struct memory *memory_of(struct tls_ctx *c, const struct tls_peer *p)
{
	struct str name = str_of(p->name);

	return &c->memory[str_hash_nocase(name, STR_HASH_SEED ^ p->port) % SESSIONS];
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
	const struct tls_peer *p = SSL_get_app_data(ssl);
	struct memory *m = memory_of(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)), p);
	char *name;

	if (SSL_get_verify_result(ssl) != X509_V_OK || !SSL_SESSION_is_resumable(session))
		return 0;
	name = strdup(p->name);
	if (!name)
		return 0;
	memory_clear(m);
	*m = (struct memory){ name, p->port, session };
	return 1;
}

/* A session keeps the verify result it was made with, so it is offered to the
 * name it was made for only. TLS 1.3 tickets are used once (RFC 8446 C.4). */
static void resume(struct tls_ctx *c, SSL *ssl, const struct tls_peer *p)
{
	struct memory *m = memory_of(c, p);

	if (!m->session || m->port != p->port || strcasecmp(m->name, p->name) != 0)
		return;
	if (time(NULL) - SSL_SESSION_get_time(m->session) < SESSION_SECONDS)
		SSL_set_session(ssl, m->session);
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

/* What we like best of what the client offers. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		   const unsigned char *in, unsigned in_len, void *arg)
{
	const struct tls_ctx *c = arg;
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, out_len, c->alpn, c->alpn_len, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
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

/* "a,b" becomes 1 a 1 b: a length octet takes the place of each comma. */
static bool use_alpn(struct tls_ctx *c, const char *alpn, char *why, size_t size)
{
	size_t len = alpn ? strlen(alpn) : 0, from = 0;

	if (len == 0)
		return true;
	if (len >= sizeof(c->alpn))
		return fault(why, size, "alpn");
	for (size_t i = 0; i <= len; i++) {
		if (i < len && alpn[i] != ',') {
			c->alpn[i + 1] = (unsigned char)alpn[i];
			continue;
		}
		c->alpn[from] = (unsigned char)(i - from);
		from = i + 1;
	}
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
	SSL_CTX_set_app_data(c->ssl, c);
	set_manners(c->ssl);
	if (set_strictness(c->ssl, o->min_version) &&
	    use_identity(c, o, why, why_size) && use_trust(c, o, why, why_size) &&
	    use_alpn(c, o->alpn, why, why_size))
		return c;
	tls_ctx_free(c);
	return NULL;
}

struct tls_ctx *tls_ctx_hold(struct tls_ctx *c)
{
	c->refs++;
	return c;
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
static bool expect(SSL *ssl, const struct tls_peer *p)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	SSL_set_connect_state(ssl);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
					       X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (p->name[0] == '\0')
		return false;
	if (is_address(p->name))
		return X509_VERIFY_PARAM_set1_ip_asc(param, p->name) == 1;
	return SSL_set1_host(ssl, p->name) == 1 &&
	       SSL_set_tlsext_host_name(ssl, p->name) == 1;
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

struct ssl_st *tls_ctx_begin(struct tls_ctx *c, int fd, struct tls_peer *p)
{
	SSL *ssl = SSL_new(c->ssl);

	p->why = WHY_TLS_FAILED;
	if (!ssl || SSL_set_app_data(ssl, p) != 1)
		goto fail;
	if (c->role == TLS_SERVER) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	p->port = peer_port(fd);
	if (!expect(ssl, p))
		goto fail;
	resume(c, ssl, p);
	return ssl;
fail:
	SSL_free(ssl);
	return NULL;
}

bool tls_ctx_is_met(const struct tls_ctx *c, struct ssl_st *ssl, struct tls_peer *p)
{
	long result = SSL_get_verify_result(ssl);

	if (c->role == TLS_SERVER)
		return true;
	if (result == X509_V_OK && SSL_get0_peer_certificate(ssl))
		return true;
	tls_peer_fault(p, WHY_TLS_CERTIFICATE, result == X509_V_OK ? "no certificate" :
		       X509_verify_cert_error_string(result));
	return false;
}
