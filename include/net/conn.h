/* conn: one byte stream, plain or TLS. Its owner hears events only from the
 * loop, never from inside a call it made; a closed conn is silent at once and
 * freed when the turn ends (net_bury). Belongs to one worker.
 *
 * Reading is level-triggered: READABLE comes again and again until the octets
 * are read or the conn is paused. Writing is tried first: only a short write
 * arms the kernel, and WRITABLE comes once when there is room again. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <sys/socket.h>
#include <sys/types.h>
#include "ground/buf.h"
#include "ground/clock.h"
#include "net/tls.h"

struct event_base;

enum conn_event {
	CONN_UP,			/* dialled, or secured */
	CONN_READABLE,			/* octets, an end of stream, or an error: read to know */
	CONN_WRITABLE,			/* after a short write */
	CONN_DOWN,			/* dial or handshake failed: see conn_why() */
};

struct conn;
typedef void conn_fn(void *owner, struct conn *c, enum conn_event ev);

/* What all conns of a worker share. */
struct net {
	struct event_base *base;
	struct conn *dying;		/* freed by net_bury() */
	struct conn *spare;		/* of conns, reused */
	struct pipe_pair *pipes;	/* empty ones, for conn_splice() */
	struct deadlines deadlines;
	uint64_t opened, closed;	/* conns ever */
};

void net_init(struct net *n, struct event_base *base);
void net_bury(struct net *n);			/* call between turns */
void net_free(struct net *n);

/* Both take fd, non-blocking. NULL when out of memory (fd is then closed).
 * An accepted conn is paused=false from the start; a dialled one says CONN_UP
 * or CONN_DOWN first. conn_dial makes its own socket. */
struct conn *conn_accept(struct net *n, int fd, conn_fn *fn, void *owner);
struct conn *conn_dial(struct net *n, const struct sockaddr *to, socklen_t len,
		       conn_fn *fn, void *owner);
/* Handshake now; then CONN_UP or CONN_DOWN. A client passes the name to verify. On
 * a conn that is TLS already the new one goes inside. */
bool conn_secure(struct conn *c, struct tls_ctx *t, struct str name);
/* These octets were read before and are to be read again, first: by conn_read(),
 * or by the TLS that is put on the conn next. False when out of memory. */
bool conn_unread(struct conn *c, struct str octets);
/* Another owner hears from now on. */
void conn_adopt(struct conn *c, conn_fn *fn, void *owner);

/* IO_DONE with *got > 0; IO_WANT_READ: nothing there; IO_EOF; IO_FAILED. */
enum io conn_read(struct conn *c, const struct iovec *room, int n, size_t *got);
/* *put may be short: then WRITABLE will come. IO_FAILED: the peer is gone.
 * n may be 0. */
enum io conn_write(struct conn *c, const struct iovec *iov, int n, size_t *put);
/* From a file: sendfile when plain, pread when TLS. */
enum io conn_write_file(struct conn *c, int fd, off_t at, size_t len, size_t *put);
/* Moving octets between two plain conns without copying, by way of a pipe that
 * belongs to the source. conn_pipe_in takes up to `most` octets from the kernel:
 * IO_DONE with *taken > 0, IO_WANT_READ (nothing there), IO_WANT_WRITE (the pipe
 * is full), IO_EOF, IO_FAILED. conn_pipe_out hands on what waits in the pipe of
 * `from`; short is no error, then WRITABLE comes to the owner of `to`; IO_FAILED
 * is about `to`. No pipe to be had: IO_FAILED with errno EMFILE before an octet
 * moved; fall back to copying. */
enum io conn_pipe_in(struct conn *from, size_t most, size_t *taken);
enum io conn_pipe_out(struct conn *from, struct conn *to, size_t *moved);
/* Octets that wait in the pipe from `from`. */
size_t conn_in_pipe(const struct conn *from);
bool conn_has_pipe(struct conn *from);		/* makes one if it can */
void conn_pause(struct conn *c);		/* no READABLE until conn_resume() */
void conn_resume(struct conn *c);
/* We have said all: FIN, or close_notify and FIN. Reading goes on. */
void conn_shut(struct conn *c);
void conn_close(struct conn *c);		/* NULL is fine */
/* Closes with a reset, so that the peer cannot take what it has for whole. */
void conn_abort(struct conn *c);

int conn_fd(const struct conn *c);
bool conn_is_plain(const struct conn *c);
bool conn_is_dead(const struct conn *c);
/* Has this turn's wait already told that there is something to read? */
bool conn_has_news(const struct conn *c);
/* Is there nothing to read, not even an end? Asks the kernel; a connection that is
 * not quiet has lost an octet by it, and is good for nothing but closing. */
bool conn_is_quiet(struct conn *c);
bool conn_is_open(const struct conn *c);	/* neither dialling, securing nor dead */
bool conn_write_waits(const struct conn *c);	/* WRITABLE is to come */
const struct sockaddr *conn_peer(const struct conn *c);	/* of a dialled conn, else NULL */
enum why conn_why(const struct conn *c);	/* after CONN_DOWN */
enum why conn_why_errno(int err);		/* when conn_dial() gave NULL */
const char *conn_detail(const struct conn *c);	/* "" or a person's words */
struct tls *conn_tls(const struct conn *c);	/* NULL when plain */

#endif
