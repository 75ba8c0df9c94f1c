/* tls_ctx: what many TLS connections have in common: whom they trust, what they
 * show, which sessions they may resume. What a certificate is asked is decided
 * here, and nowhere else (security.md 2.3 O01-O08). Belongs to one worker; no locks. */
#ifndef NET_TLS_CTX_H
#define NET_TLS_CTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ground/why.h"

enum tls_role { TLS_CLIENT, TLS_SERVER };

struct tls_options {
	enum tls_role role;
	const char *ca_file;		/* TLS_CLIENT: trusted roots; NULL: the system's */
	const char *crl_file;		/* TLS_CLIENT: revocation lists, or NULL. With them, an
					 * issuer without a list is not accepted */
	const char *pinned_sha256;	/* TLS_CLIENT: hex digest of the one certificate to accept,
					 * whatever its chain, name and dates; or NULL */
	const char *cert_file, *key_file;	/* TLS_SERVER, or a client certificate; PEM */
	bool shown;			/* TLS_SERVER without files: each tls gets tls_show() */
	int min_version;		/* TLS1_VERSION ..; 0: TLS 1.2. Below 1.2 old ciphers and
					 * digests come with it; what is asked of certificates stays */
	const char *alpn;		/* "http/1.1,http/1.0": the better first; or NULL */
};

struct tls_ctx;
struct ssl_st;

/* NULL, and the reason as text in why[], when files cannot be used. The caller
 * frees with tls_ctx_free(); each tls keeps its context for itself. A client
 * context remembers sessions, and resumes them towards the same name and port
 * only. */
struct tls_ctx *tls_ctx_new(const struct tls_options *o, char *why, size_t why_size);
struct tls_ctx *tls_ctx_hold(struct tls_ctx *c);
void tls_ctx_free(struct tls_ctx *c);

/* What follows is between `tls` and its context. */

/* Whom a connection means, and what was wrong with him. */
struct tls_peer {
	const char *name;		/* DNS name without the root's dot, or IP literal */
	uint16_t port;			/* of a server */
	enum why why;
	char detail[160];		/* a person's words; "": nothing was wrong */
};
/* The first fault wins: what follows it is its consequence. */
void tls_peer_fault(struct tls_peer *p, enum why why, const char *words);

/* An SSL ready for its handshake over fd; the peer is the data of its application
 * and must outlive it. NULL: out of memory, or a server without a name. */
struct ssl_st *tls_ctx_begin(struct tls_ctx *c, int fd, struct tls_peer *p);
/* After the handshake: it is whom we meant, also when the session was resumed. */
bool tls_ctx_is_met(const struct tls_ctx *c, struct ssl_st *ssl, struct tls_peer *p);

#endif
