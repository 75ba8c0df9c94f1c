/* conn: see the header. One libevent watcher for reading lives in the conn; a
 * second one, for writing, exists only while a dial, a handshake or a short
 * write waits for the kernel, so an idle conn stays small.
 *
 * A conn knows nothing of what its octets mean, and never closes itself. Every
 * way in and out looks at the same few facts, so they are all in this file, which
 * is longer than a room should be. */
#include "net/conn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

enum conn_state {
	CONN_DIALLING,			/* connect(2) is under way */
	CONN_SECURING,			/* the TLS handshake is */
	CONN_OPEN,
	CONN_DEAD,			/* closed; freed by net_bury() */
};

enum { PIPE_ROOM = 1 << 18, SPARE_PIPES = 64, FILE_ROOM = 16384 };

struct pipe_pair {
	struct pipe_pair *next;
	int out, in;			/* read end, write end */
	size_t held;			/* octets inside */
};

/* Only a conn that we dialled has these. */
struct dialled {
	struct sockaddr_storage peer;
	enum why why;
};

/* Octets that were read too early. */
struct early {
	size_t at, len;
	char octets[];
};

struct conn {
	struct event reading;
	conn_fn *fn;
	void *owner;
	struct net *net;
	struct event *writing;		/* NULL: nobody waits to write */
	struct tls *tls;
	struct pipe_pair *pipe;
	struct dialled *dialled;
	struct early *early;
	struct conn *next;		/* dying, or spare */
	int fd;
	enum conn_state state;
	bool paused;			/* the reading watcher is not armed */
	bool deaf;			/* ... nor could it be: reading fails */
	bool read_wants_write;		/* TLS: READABLE when writable */
	bool write_wants_read;		/* TLS: WRITABLE when readable */
};

/* -- a worker's share ------------------------------------------------------ */

void net_init(struct net *n, struct event_base *base)
{
	memset(n, 0, sizeof *n);
	n->base = base;
	deadlines_init(&n->deadlines);
}

void net_bury(struct net *n)
{
	while (n->dying) {
		struct conn *c = n->dying;

		n->dying = c->next;
		tls_free(c->tls);
		c->tls = NULL;
		free(c->dialled);
		c->dialled = NULL;
		c->next = n->spare;
		n->spare = c;
	}
}

static void pipe_close(struct pipe_pair *p)
{
	close(p->out);
	close(p->in);
	free(p);
}

void net_free(struct net *n)
{
	net_bury(n);
	while (n->spare) {
		struct conn *c = n->spare;

		n->spare = c->next;
		free(c);
	}
	while (n->pipes) {
		struct pipe_pair *p = n->pipes;

		n->pipes = p->next;
		pipe_close(p);
	}
}

/* -- telling the owner ------------------------------------------------------ */

static void tell(struct conn *c, enum conn_event ev)
{
	c->fn(c->owner, c, ev);
}

static void stop_writing(struct conn *c)
{
	if (!c->writing)
		return;
	event_free(c->writing);
	c->writing = NULL;
}

static void on_writable(evutil_socket_t fd, short what, void *arg);

static bool wait_writable(struct conn *c)
{
	if (c->writing)
		return true;
	c->writing = event_new(c->net->base, c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
	if (c->writing && event_add(c->writing, NULL) == 0)
		return true;
	stop_writing(c);
	return false;
}

/* Where there is no memory to watch it, the owner is told from the loop, reads, and
 * finds that out. */
static void arm_reading(struct conn *c)
{
	c->paused = false;
	c->deaf = event_add(&c->reading, NULL) != 0;
	if (c->deaf)
		event_active(&c->reading, EV_READ, 0);
}

/* -- dialling and securing -------------------------------------------------- */

enum why conn_why_errno(int err)
{
	switch (err) {
	case ECONNREFUSED:
		return WHY_REFUSED;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		return WHY_UNROUTABLE;
	case ETIMEDOUT:
		return WHY_CONNECT_TIMEOUT;
	case EMFILE:
	case ENFILE:
		return WHY_OVERLOADED;
	default:
		return WHY_CONNECT_FAILED;
	}
}

static void fail(struct conn *c, enum why why)
{
	if (c->dialled)
		c->dialled->why = why;
	stop_writing(c);
	if (!c->paused)
		conn_pause(c);
	tell(c, CONN_DOWN);
}

static void dial_done(struct conn *c)
{
	int err = 0;
	socklen_t len = sizeof err;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
		err = errno;
	if (err) {
		fail(c, conn_why_errno(err));
		return;
	}
	stop_writing(c);
	c->state = CONN_OPEN;
	arm_reading(c);
	tell(c, CONN_UP);
}

static void handshake(struct conn *c)
{
	switch (tls_handshake(c->tls)) {
	case IO_DONE:
		stop_writing(c);
		c->state = CONN_OPEN;
		tell(c, CONN_UP);
		if (c->state == CONN_OPEN && !c->paused && tls_has_pending(c->tls))
			event_active(&c->reading, EV_READ, 0);
		return;
	case IO_WANT_READ:
		stop_writing(c);
		if (!c->deaf)
			return;
		break;
	case IO_WANT_WRITE:
		if (wait_writable(c))
			return;
		break;
	case IO_EOF:
	case IO_FAILED:
		break;
	}
	fail(c, tls_why(c->tls));
}

/* -- the two watchers ------------------------------------------------------- */

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	switch (c->state) {
	case CONN_SECURING:
		handshake(c);
		return;
	case CONN_OPEN:
		if (c->write_wants_read) {
			c->write_wants_read = false;
			tell(c, CONN_WRITABLE);
		}
		if (c->state == CONN_OPEN && !c->paused)
			tell(c, CONN_READABLE);
		return;
	case CONN_DIALLING:
	case CONN_DEAD:
		return;
	}
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	switch (c->state) {
	case CONN_DIALLING:
		dial_done(c);
		return;
	case CONN_SECURING:
		handshake(c);
		return;
	case CONN_OPEN:
		stop_writing(c);
		if (c->read_wants_write) {
			c->read_wants_write = false;
			tell(c, CONN_READABLE);
		}
		if (c->state == CONN_OPEN)
			tell(c, CONN_WRITABLE);
		return;
	case CONN_DEAD:
		return;
	}
}

/* -- birth ------------------------------------------------------------------ */

static struct conn *conn_new(struct net *n, int fd, conn_fn *fn, void *owner)
{
	struct conn *c = n->spare;

	if (c)
		n->spare = c->next;
	else
		c = malloc(sizeof *c);
	if (!c) {
		close(fd);
		return NULL;
	}
	memset(c, 0, sizeof *c);
	c->fn = fn;
	c->owner = owner;
	c->net = n;
	c->fd = fd;
	c->paused = true;
	event_assign(&c->reading, n->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	n->opened++;
	return c;
}

static void no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

struct conn *conn_accept(struct net *n, int fd, conn_fn *fn, void *owner)
{
	struct conn *c = conn_new(n, fd, fn, owner);

	if (!c)
		return NULL;
	c->state = CONN_OPEN;
	arm_reading(c);
	return c;
}

struct conn *conn_dial(struct net *n, const struct sockaddr *to, socklen_t len,
		       conn_fn *fn, void *owner)
{
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct conn *c;

	if (fd < 0)
		return NULL;
	if (to->sa_family != AF_UNIX)
		no_delay(fd);
	c = conn_new(n, fd, fn, owner);
	if (!c)
		return NULL;
	c->state = CONN_DIALLING;
	c->dialled = calloc(1, sizeof *c->dialled);
	if (!c->dialled) {
		conn_close(c);
		errno = ENOMEM;
		return NULL;
	}
	memcpy(&c->dialled->peer, to, len);
	if (connect(fd, to, len) != 0 && errno != EINPROGRESS && errno != EAGAIN) {
		int err = errno;

		conn_close(c);
		errno = err;
		return NULL;
	}
	if (!wait_writable(c)) {
		conn_close(c);
		errno = ENOMEM;
		return NULL;
	}
	return c;
}

static struct str early_unread(const struct early *e)
{
	return e ? (struct str){ e->octets + e->at, e->len - e->at } : STR_NONE;
}

static void early_drop(struct conn *c)
{
	free(c->early);
	c->early = NULL;
}

bool conn_secure(struct conn *c, struct tls_ctx *t, struct str name)
{
	struct tls *tls;

	assert(c->state == CONN_OPEN);
	tls = c->tls ? tls_new_inside(t, c->tls, name) : tls_new(t, c->fd, name);
	if (!tls)
		return false;
	c->tls = tls;
	if (c->early && !tls_unread(tls, early_unread(c->early)))
		return false;
	early_drop(c);
	c->state = CONN_SECURING;
	conn_resume(c);
	/* A client speaks first, and a server's ClientHello may be here already:
	 * take the first step from the loop. */
	event_active(&c->reading, EV_READ, 0);
	return true;
}

void conn_adopt(struct conn *c, conn_fn *fn, void *owner)
{
	c->fn = fn;
	c->owner = owner;
}

/* -- reading ---------------------------------------------------------------- */

bool conn_unread(struct conn *c, struct str octets)
{
	struct str behind = early_unread(c->early);
	struct early *all = malloc(sizeof *all + octets.len + behind.len);

	if (!all)
		return false;
	all->at = 0;
	all->len = octets.len + behind.len;
	memcpy(all->octets, octets.at, octets.len);
	if (behind.len)
		memcpy(all->octets + octets.len, behind.at, behind.len);
	early_drop(c);
	if (all->len)
		c->early = all;
	else
		free(all);
	if (c->early && !c->paused)
		event_active(&c->reading, EV_READ, 0);
	return true;
}

static enum io early_read(struct conn *c, struct iovec room, size_t *got)
{
	struct str left = str_first(early_unread(c->early), room.iov_len);

	memcpy(room.iov_base, left.at, left.len);
	*got = left.len;
	c->early->at += left.len;
	if (c->early->at == c->early->len)
		early_drop(c);
	else if (!c->paused)
		event_active(&c->reading, EV_READ, 0);
	return IO_DONE;
}

static enum io of_errno(void)
{
	return errno == EAGAIN || errno == EINTR ? IO_WANT_READ : IO_FAILED;
}

static enum io plain_read(struct conn *c, const struct iovec *room, int n, size_t *got)
{
	ssize_t r = n == 1 ? recv(c->fd, room->iov_base, room->iov_len, 0) :
			     readv(c->fd, room, n);

	if (r < 0)
		return of_errno();
	*got = (size_t)r;
	return r ? IO_DONE : IO_EOF;
}

static enum io secure_read(struct conn *c, struct iovec room, size_t *got)
{
	enum io io = tls_read(c->tls, room, got);

	if (io == IO_WANT_WRITE) {
		c->read_wants_write = true;
		return wait_writable(c) ? IO_WANT_READ : IO_FAILED;
	}
	/* More is decrypted already, and the kernel will not tell. */
	if (io == IO_DONE && !c->paused && tls_has_pending(c->tls))
		event_active(&c->reading, EV_READ, 0);
	return io;
}

enum io conn_read(struct conn *c, const struct iovec *room, int n, size_t *got)
{
	*got = 0;
	if (c->state != CONN_OPEN || c->deaf)
		return IO_FAILED;
	if (c->early)
		return early_read(c, *room, got);
	return c->tls ? secure_read(c, *room, got) : plain_read(c, room, n, got);
}

/* -- writing ---------------------------------------------------------------- */

static enum io plain_write(struct conn *c, const struct iovec *iov, int n, size_t *put)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };
	ssize_t r = n == 1 ? send(c->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL) :
			     sendmsg(c->fd, &m, MSG_NOSIGNAL);

	if (r < 0)
		return of_errno() == IO_FAILED ? IO_FAILED : IO_WANT_WRITE;
	*put = (size_t)r;
	return IO_DONE;
}

/* What a write came to: a failure, or progress with the rest to wait for. */
static enum io settle(struct conn *c, enum io io, bool short_write)
{
	switch (io) {
	case IO_EOF:
	case IO_FAILED:
		return IO_FAILED;
	case IO_WANT_READ:
		c->write_wants_read = true;
		return IO_DONE;
	case IO_DONE:
	case IO_WANT_WRITE:
		break;
	}
	if (short_write && !wait_writable(c))
		return IO_FAILED;
	return IO_DONE;
}

static size_t total(const struct iovec *iov, int n)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

enum io conn_write(struct conn *c, const struct iovec *iov, int n, size_t *put)
{
	enum io io;

	*put = 0;
	if (c->state != CONN_OPEN)
		return IO_FAILED;
	if (n == 0)
		return IO_DONE;
	io = c->tls ? tls_write(c->tls, iov, n, put) : plain_write(c, iov, n, put);
	return settle(c, io, *put < total(iov, n));
}

static enum io secure_write_file(struct conn *c, int fd, off_t at, size_t len, size_t *put)
{
	char room[FILE_ROOM];
	ssize_t r = pread(fd, room, len < sizeof room ? len : sizeof room, at);
	struct iovec v = { room, r > 0 ? (size_t)r : 0 };

	if (r <= 0)
		return IO_FAILED;
	return tls_write(c->tls, &v, 1, put);
}

enum io conn_write_file(struct conn *c, int fd, off_t at, size_t len, size_t *put)
{
	enum io io = IO_DONE;

	*put = 0;
	if (c->state != CONN_OPEN)
		return IO_FAILED;
	if (c->tls) {
		size_t want = len < FILE_ROOM ? len : FILE_ROOM;

		io = secure_write_file(c, fd, at, len, put);
		return settle(c, io, *put < want);
	}
	ssize_t r = sendfile(c->fd, fd, &at, len);

	if (r == 0)			/* shorter than was said: never a short replay */
		return IO_FAILED;
	if (r < 0)
		io = of_errno() == IO_FAILED ? IO_FAILED : IO_WANT_WRITE;
	else
		*put = (size_t)r;
	return settle(c, io, *put < len);
}

/* -- pipes ------------------------------------------------------------------ */

static struct pipe_pair *pipe_take(struct net *n)
{
	struct pipe_pair *p = n->pipes;
	int fds[2];

	if (p) {
		n->pipes = p->next;
		return p;
	}
	p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
		free(p);
		return NULL;
	}
	p->out = fds[0];
	p->in = fds[1];
	fcntl(p->in, F_SETPIPE_SZ, PIPE_ROOM);	/* smaller works as well */
	return p;
}

static void pipe_give(struct conn *c)
{
	struct pipe_pair *p = c->pipe;

	c->pipe = NULL;
	if (!p)
		return;
	if (p->held) {			/* somebody's octets: never reused */
		pipe_close(p);
		return;
	}
	p->next = c->net->pipes;
	c->net->pipes = p;
}

bool conn_has_pipe(struct conn *from)
{
	if (from->early)
		return false;
	if (!from->pipe)
		from->pipe = pipe_take(from->net);
	return from->pipe != NULL;
}

enum io conn_pipe_in(struct conn *from, size_t most, size_t *taken)
{
	ssize_t r;

	*taken = 0;
	if (from->state != CONN_OPEN)
		return IO_FAILED;
	if (!conn_has_pipe(from)) {
		errno = EMFILE;
		return IO_FAILED;
	}
	if (from->pipe->held >= PIPE_ROOM)
		return IO_WANT_WRITE;
	r = splice(from->fd, NULL, from->pipe->in, NULL,
		   most < PIPE_ROOM ? most : PIPE_ROOM, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (r > 0) {
		from->pipe->held += (size_t)r;
		*taken = (size_t)r;
		return IO_DONE;
	}
	if (r == 0)
		return IO_EOF;
	if (of_errno() == IO_FAILED)
		return IO_FAILED;
	return from->pipe->held ? IO_WANT_WRITE : IO_WANT_READ;
}

enum io conn_pipe_out(struct conn *from, struct conn *to, size_t *moved)
{
	ssize_t r;

	*moved = 0;
	if (to->state != CONN_OPEN)
		return IO_FAILED;
	if (!conn_in_pipe(from))
		return IO_DONE;
	r = splice(from->pipe->out, NULL, to->fd, NULL, from->pipe->held,
		   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (r > 0) {
		from->pipe->held -= (size_t)r;
		*moved = (size_t)r;
	} else if (r == 0 || of_errno() == IO_FAILED) {
		return IO_FAILED;
	}
	return settle(to, IO_DONE, from->pipe->held > 0);
}

size_t conn_in_pipe(const struct conn *from)
{
	return from->pipe ? from->pipe->held : 0;
}

/* -- pausing and ending ----------------------------------------------------- */

void conn_pause(struct conn *c)
{
	if (c->paused || c->state == CONN_DEAD)
		return;
	event_del(&c->reading);
	c->paused = true;
}

void conn_resume(struct conn *c)
{
	if (!c->paused || c->state == CONN_DEAD)
		return;
	arm_reading(c);
	if (c->early || (c->tls && c->state == CONN_OPEN && tls_has_pending(c->tls)))
		event_active(&c->reading, EV_READ, 0);
}

void conn_shut(struct conn *c)
{
	if (c->state != CONN_OPEN)
		return;
	if (c->tls)
		tls_shut(c->tls);
	shutdown(c->fd, SHUT_WR);
}

static void die(struct conn *c)
{
	event_del(&c->reading);
	stop_writing(c);
	pipe_give(c);
	early_drop(c);
	close(c->fd);
	c->fd = -1;
	c->state = CONN_DEAD;
	c->next = c->net->dying;
	c->net->dying = c;
	c->net->closed++;
}

void conn_close(struct conn *c)
{
	if (!c || c->state == CONN_DEAD)
		return;
	if (c->tls && c->state == CONN_OPEN)
		tls_shut(c->tls);
	die(c);
}

void conn_abort(struct conn *c)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (!c || c->state == CONN_DEAD)
		return;
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	die(c);
}

/* -- facts ------------------------------------------------------------------ */

int conn_fd(const struct conn *c)
{
	return c->fd;
}

bool conn_is_plain(const struct conn *c)
{
	return !c->tls;
}

bool conn_is_dead(const struct conn *c)
{
	return c->state == CONN_DEAD;
}

bool conn_has_news(const struct conn *c)
{
	return c->reading.ev_evcallback.evcb_flags & (EVLIST_ACTIVE | EVLIST_ACTIVE_LATER);
}

/* TLS speaks on its own behalf as well: session tickets come behind a handshake. */
bool conn_is_quiet(struct conn *c)
{
	char octet;
	struct iovec room = { &octet, 1 };
	size_t got;

	if (c->tls)
		return conn_read(c, &room, 1, &got) == IO_WANT_READ;
	return recv(c->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

bool conn_is_open(const struct conn *c)
{
	return c->state == CONN_OPEN;
}

bool conn_write_waits(const struct conn *c)
{
	return c->writing || c->write_wants_read;
}

const struct sockaddr *conn_peer(const struct conn *c)
{
	return c->dialled ? (const struct sockaddr *)&c->dialled->peer : NULL;
}

enum why conn_why(const struct conn *c)
{
	return c->dialled ? c->dialled->why : WHY_TLS_FAILED;
}

const char *conn_detail(const struct conn *c)
{
	return c->tls ? tls_detail(c->tls) : "";
}

struct tls *conn_tls(const struct conn *c)
{
	return c->tls;
}
