/* tunnel: octets both ways, after CONNECT or 101. Two directions of one shape.
 * Small pieces are copied through a block; once a read fills a block and both
 * sides are plain, the direction is spliced. An end on one side is passed on as
 * an end (half-close); a failure on one side breaks the other. */
#include "worker/transaction.h"

#include "worker/access_log.h"
#include "worker/intercept.h"

enum { ROUNDS = 4 };			/* of one direction in one turn: fairness */

struct direction {
	struct conn *from, *to;
	struct buf buf;
	bool eof;			/* from has said all */
	bool shut;			/* and we have told `to` */
	bool splicing;
};

struct tunnel {
	struct transaction *t;
	struct direction up, down;
};

enum move { MOVE_ON, MOVE_WAIT, MOVE_FROM_LOST, MOVE_TO_LOST };

static enum move write_block(struct direction *d)
{
	struct str unread = buf_unread(&d->buf);
	struct iovec v = { (void *)unread.at, unread.len };
	size_t put;

	if (!unread.len)
		return MOVE_ON;
	if (conn_write(d->to, &v, 1, &put) != IO_DONE)
		return MOVE_TO_LOST;
	buf_used(&d->buf, put);
	return buf_unread(&d->buf).len ? MOVE_WAIT : MOVE_ON;
}

static enum move write_pipe(struct direction *d)
{
	size_t moved;

	if (!conn_in_pipe(d->from))
		return MOVE_ON;
	if (conn_pipe_out(d->from, d->to, &moved) != IO_DONE)
		return MOVE_TO_LOST;
	return conn_in_pipe(d->from) ? MOVE_WAIT : MOVE_ON;
}

static enum move settle_read(struct direction *d, enum io io)
{
	switch (io) {
	case IO_DONE:
		return MOVE_ON;
	case IO_EOF:
		d->eof = true;
		return MOVE_ON;
	case IO_FAILED:
		return MOVE_FROM_LOST;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		return MOVE_WAIT;
	}
	return MOVE_WAIT;
}

/* A short piece means drained, and that the bulk is over for now. */
static enum move splice_some(struct direction *d, uint64_t *octets)
{
	size_t taken;
	enum move move = settle_read(d, conn_pipe_in(d->from, SIZE_MAX, &taken));

	*octets += taken;
	if (move != MOVE_ON)
		return move;
	d->splicing = taken >= BUF_BLOCK;
	move = write_pipe(d);
	return move == MOVE_ON && !d->splicing && !d->eof ? MOVE_WAIT : move;
}

static enum move copy_some(struct direction *d, uint64_t *octets)
{
	struct iovec room;
	size_t got;
	enum move move;

	if (!buf_take(&d->buf))
		return MOVE_FROM_LOST;
	room = buf_room(&d->buf);
	move = settle_read(d, conn_read(d->from, &room, 1, &got));
	buf_filled(&d->buf, got);
	*octets += got;
	if (move != MOVE_ON)
		return move;
	if (got == room.iov_len && conn_is_plain(d->from) && conn_is_plain(d->to))
		d->splicing = conn_has_pipe(d->from);
	move = write_block(d);
	/* A short read means drained: no second read to be told EAGAIN. */
	return move == MOVE_ON && got < room.iov_len && !d->eof && conn_is_plain(d->from) ?
	       MOVE_WAIT : move;
}

static enum move move(struct direction *d, uint64_t *octets)
{
	/* An end is passed on in this very turn: nothing will tell of it again. */
	for (unsigned i = 0; i < ROUNDS || d->eof; i++) {
		enum move m = write_block(d);

		if (m == MOVE_ON)
			m = write_pipe(d);
		if (m == MOVE_ON && d->eof) {
			if (!d->shut)
				conn_shut(d->to);
			d->shut = true;
			return MOVE_WAIT;
		}
		if (m == MOVE_ON)
			m = d->splicing ? splice_some(d, octets) : copy_some(d, octets);
		if (m != MOVE_ON)
			return m;
	}
	return MOVE_WAIT;
}

/* Hears more only while there is room for it: an end, too, is heard only once. */
static void set_listening(struct direction *d)
{
	if (d->eof || buf_unread(&d->buf).len || conn_in_pipe(d->from))
		conn_pause(d->from);
	else
		conn_resume(d->from);
	if (!conn_in_pipe(d->from))
		buf_settle(&d->buf);
}

static void run_direction(struct tunnel *n, struct direction *d)
{
	struct transaction *t = n->t;
	uint64_t *octets = d == &n->down ? &t->down.moved : &t->up.moved;
	enum move m = move(d, octets);

	if (m == MOVE_ON || m == MOVE_WAIT) {
		set_listening(d);
		if (n->up.shut && n->down.shut)
			POST(t, .event = RESPONSE_ENDED);
		return;
	}
	if ((d == &n->up) == (m == MOVE_FROM_LOST)) {
		conn_abort(t->upstream);	/* what was cut must not look whole here either */
		transaction_lose_client(t);
	} else {
		transaction_lose_upstream(t, WHY_DONE);
	}
}

static void renew(struct transaction *t)
{
	deadline_set(&t->worker->net.deadlines, &t->deadline, DEADLINE_TUNNEL);
}

static void on_tunnel(void *owner, struct conn *c, enum conn_event ev)
{
	struct tunnel *n = owner;
	struct transaction *t = n->t;
	struct session *s = t->session;
	struct direction *d = (ev == CONN_READABLE) == (n->up.from == c) ? &n->up : &n->down;

	renew(t);
	run_direction(n, d);
	session_settle(s);
}

static void free_blocks(void *arg)
{
	struct tunnel *n = arg;

	buf_give(&n->up.buf);
	buf_give(&n->down.buf);
}

static struct str opening(struct transaction *t)
{
	if (t->opening.at)		/* said already, or nearly so */
		return t->opening;
	if (t->request.kind == METHOD_CONNECT)
		return STR("HTTP/1.1 200 Connection established\r\n\r\n");
	return deliver_switch(t);
}

/* What an interim head has left to say, the head, and behind it what the upstream
 * may have said already. */
static bool open_down(struct tunnel *n, struct str before, struct str head, struct buf *said)
{
	struct str rest = buf_unread(said);
	size_t all = before.len + head.len + rest.len;
	char *to;

	if (!before.at || !head.at || !buf_grow(&n->down.buf, (uint32_t)all))
		return false;
	to = buf_room(&n->down.buf).iov_base;
	to = mempcpy(to, before.at, before.len);
	to = mempcpy(to, head.at, head.len);
	if (rest.len)
		memcpy(to, rest.at, rest.len);
	buf_filled(&n->down.buf, all);
	buf_give(said);
	return true;
}

static struct tunnel *tunnel_new(struct transaction *t)
{
	struct tunnel *n = arena_zero(t->arena, sizeof *n);
	struct str head = opening(t), before = lane_copy(&t->down, t->arena);

	if (!n || !arena_at_end(t->arena, free_blocks, n))
		return NULL;
	n->t = t;
	n->up = (struct direction){ .from = t->session->client, .to = t->upstream };
	n->down = (struct direction){ .from = t->upstream, .to = t->session->client };
	return open_down(n, before, head, &t->up_in) ? n : NULL;
}

void tunnel_begin(struct transaction *t)
{
	struct session *s = t->session;
	struct tunnel *n;

	if (t->intercept) {
		intercept_begin(t);
		return;
	}
	n = tunnel_new(t);
	if (!n) {
		transaction_fail(t, WHY_OUT_OF_MEMORY);
		return;
	}
	lane_drop(&t->down);
	n->up.buf = s->in;
	s->in = (struct buf){ NULL, 0, 0, 0 };
	s->phase = SESSION_TUNNEL;
	t->tunnel = n;
	t->status = t->request.kind == METHOD_CONNECT ? 200 : 101;
	t->exchange.keep_client = false;
	count(t->worker, COUNT_TUNNELS);
	counter_add(&t->worker->counters.tunnels, 1);
	deadline_clear(&t->worker->net.deadlines, &s->deadline);
	renew(t);
	conn_adopt(s->client, on_tunnel, n);
	conn_adopt(t->upstream, on_tunnel, n);
	run_direction(n, &n->down);
	if (!t->over)
		run_direction(n, &n->up);
}
