/* tls: a TLS connection, with every surprise of OpenSSL kept in this room
 * (security.md 2.3 O01-O08; its context is another's, see tls_ctx). The error
 * queue is cleared before each call; a read that wants a write and the other way
 * round are told as such; an end of stream without close_notify is IO_FAILED,
 * never IO_EOF. Belongs to one worker; no locks. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <sys/uio.h>
#include "ground/str.h"
#include "ground/why.h"
#include "net/tls_ctx.h"

enum io {
	IO_DONE,			/* some octets moved, or the step is complete */
	IO_WANT_READ,			/* try again when readable */
	IO_WANT_WRITE,			/* try again when writable */
	IO_EOF,				/* the peer ended its stream properly */
	IO_FAILED,			/* reset, alert, truncation */
};

struct tls;
struct x509_st;
struct evp_pkey_st;

/* What a server shows: a certificate for each kind of key, of which the client's
 * abilities choose one. Counted: made, held and released by whoever makes it. */
enum { TLS_CERTS = 2 };
struct tls_identity {
	unsigned refs;
	struct x509_st *cert[TLS_CERTS];	/* NULL behind the last */
	struct evp_pkey_st *key[TLS_CERTS];
	struct stack_st_X509 *chain;	/* what stands between them and a root, or NULL */
	char scope[32];			/* sessions are resumed within one scope only */
};
void tls_identity_release(struct tls_identity *i);	/* NULL is fine */
static inline struct tls_identity *tls_identity_hold(struct tls_identity *i)
{
	i->refs++;
	return i;
}

/* TLS_CLIENT: server_name is verified (DNS name or IP literal), SNI is sent for
 * names. Does not own fd. NULL when out of memory. */
struct tls *tls_new(struct tls_ctx *c, int fd, struct str server_name);
/* The same inside another TLS connection, which then belongs to this one. */
struct tls *tls_new_inside(struct tls_ctx *c, struct tls *outer, struct str server_name);
/* These octets were read from the socket before: they come first. Before the
 * handshake; false when out of memory. */
bool tls_unread(struct tls *t, struct str octets);
/* TLS_SERVER, before the handshake. */
bool tls_show(struct tls *t, const struct tls_identity *i);
enum io tls_handshake(struct tls *t);
/* IO_DONE: *got > 0. A failure behind octets is told by the next call. */
enum io tls_read(struct tls *t, struct iovec room, size_t *got);
/* IO_DONE: *put may be short, try again when writable. What was not put is to be
 * offered again, in whatever pieces: it may be on its way already. */
enum io tls_write(struct tls *t, const struct iovec *iov, int n, size_t *put);
/* Octets wait inside: the socket will not tell. Never after IO_WANT_READ. */
bool tls_has_pending(const struct tls *t);
/* Sends close_notify; IO_DONE when it is out (or cannot be). */
enum io tls_shut(struct tls *t);
bool tls_was_resumed(const struct tls *t);
/* After IO_FAILED: the reason (TLS_*), and a person's words ("certificate has
 * expired"; printable, never NULL). */
enum why tls_why(const struct tls *t);
const char *tls_detail(const struct tls *t);
void tls_free(struct tls *t);

#endif
