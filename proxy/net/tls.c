/* tls: see tls.h. OpenSSL's rules for a connection:
 *
 * - A record that did not go out whole must be offered again before anything
 *   else. Records are therefore made here, one SSL_write each, and the one on
 *   its way is kept as a copy (OpenSSL may not have encrypted it yet, when a key
 *   update goes first). What the caller offers next may be cut differently:
 *   `ahead` keeps the two apart.
 * - SSL_get_error() looks at this thread's error queue: it is emptied first.
 * - After a fatal error nothing may be written, not even close_notify. */
#include "net/tls.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "ground/buf.h"
#include "net/way.h"

enum { RECORD = SSL3_RT_MAX_PLAIN_LENGTH };

_Static_assert((size_t)RECORD <= (size_t)BUF_BLOCK, "a record fits in a block");

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
	struct tls_peer peer;
	char name[];			/* the peer's */
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

static void note_fault(struct tls *t, int error, int saved_errno)
{
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_REASON(e);

	t->broken = true;
	if (e == 0 && error == SSL_ERROR_SYSCALL)
		tls_peer_fault(&t->peer, WHY_TLS_FAILED,
			       saved_errno ? strerror(saved_errno) : "connection closed");
	else if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET)
		tls_peer_fault(&t->peer, WHY_TLS_ALERT,
			       SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
	else
		tls_peer_fault(&t->peer, WHY_TLS_FAILED, reason_words(e));
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
	t->ctx = tls_ctx_hold(c);
	t->fd = fd;
	t->peer.name = t->name;
	if (strlen(t->name) == server_name.len)
		t->ssl = tls_ctx_begin(c, fd, &t->peer);
	if (t->ssl && (outer ? use_way(t, fd, outer) : SSL_set_fd(t->ssl, fd) == 1))
		return t;
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
		tls_peer_fault(&t->peer, WHY_TLS_FAILED, "the peer ended the handshake");
		t->broken = true;
		return IO_FAILED;
	}
	t->up = tls_ctx_is_met(t->ctx, t->ssl, &t->peer);
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
		tls_peer_fault(&t->peer, WHY_OUT_OF_MEMORY, "out of memory");
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
	return t->peer.why;
}

const char *tls_detail(const struct tls *t)
{
	return t->peer.detail;
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
