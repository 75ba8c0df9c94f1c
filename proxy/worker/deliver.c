/* deliver: the response on its way to the client. Heads are made in the arena,
 * bodies are slices of the block they came in, so the block stays until the
 * lane is empty; while it is not, nobody reads from upstream. */
#include "worker/transaction.h"

#include <stdio.h>

enum { SPLICE_FROM = 4 * BUF_BLOCK };	/* octets left that make splicing pay */

static void add_line(struct transaction *t, struct header *add, unsigned *n, const char *name,
		     struct str value)
{
	if (value.len)
		add[(*n)++] = (struct header){ .name = str_of(name), .value = value };
}

/* STR_NONE: it has no room. */
static struct str make_head(struct transaction *t, const struct response *p, bool close)
{
	bool last = p->status >= 200 || p->status == 101;
	struct header add[2];
	unsigned n = 0;
	struct head_extra x = { .add = add, .via = transaction_via(t, p->minor), .close = close };
	struct str head;

	if (!headers_find(&p->fields, HEADER_DATE) && p->status >= 200)
		add_line(t, add, &n, "Date", str_of(clock_date()));
	if (t->challenges && last)
		add_line(t, add, &n, "Proxy-Status", proxy_status(t));
	x.n = n;
	if (p->status == 101)
		x.upgrade = p->upgrade;
	head = response_head(p, &x, t->arena);
	return arena_full(t->arena) ? STR_NONE : head;	/* full: lines may be missing */
}

/* False: nothing was put. */
static bool put_head(struct transaction *t, const struct response *p, bool close)
{
	struct str head = make_head(t, p, close);

	if (!head.at)
		return false;
	t->heads += head.len;
	lane_add(&t->down, head);
	return true;
}

void deliver_interim(struct transaction *t)
{
	if (t->request.minor == 0)
		return;
	if (put_head(t, &t->response, false))
		deliver_flush(t);
	else
		transaction_fail(t, WHY_RESPONSE_HEAD_TOO_BIG);
}

static bool carries(const struct headers *h, const struct header *line)
{
	const struct header *f = NULL;

	while ((f = headers_next(h, line->id, f)))
		if (str_eq(f->value, line->value))
			return true;
	return false;
}

/* What challenges told the client, ahead of the response's own. */
static void carry(struct transaction *t, struct response *p)
{
	struct headers all = { 0 };

	if (!t->carried.count)
		return;
	for (unsigned i = 0; i < t->carried.count; i++)
		if (!carries(&p->fields, &t->carried.at[i]))
			headers_add(&all, t->arena, t->carried.at[i].name, t->carried.at[i].value);
	for (unsigned i = 0; i < p->fields.count; i++)
		if (!p->fields.at[i].dropped)
			headers_add(&all, t->arena, p->fields.at[i].name, p->fields.at[i].value);
	p->fields = all;
}

struct str deliver_switch(struct transaction *t)
{
	struct response p = t->response;

	carry(t, &p);
	return make_head(t, &p, false);
}

/* How the client will know where the body ends (RFC 9112 6): HTTP/1.0 clients
 * get no chunks, 1.1 clients no body that only a close would end. */
static void choose_framing(struct transaction *t, struct response *p)
{
	bool open_ended = p->framing == FRAMING_CHUNKED || p->framing == FRAMING_UNTIL_CLOSE;

	t->chunk_down = open_ended && t->request.minor != 0;
	if (t->chunk_down)
		p->framing = FRAMING_CHUNKED;
	else if (open_ended)
		p->framing = FRAMING_UNTIL_CLOSE;
	if (p->framing == FRAMING_UNTIL_CLOSE)
		t->exchange.keep_client = false;
}

void deliver_head(struct transaction *t)
{
	struct response p = t->response;

	t->said = lane_is_empty(&t->down) ? t->down.moved : UINT64_MAX;
	carry(t, &p);
	choose_framing(t, &p);
	if (!t->request_whole || t->worker->draining || (t->logged_in && !p.keep))
		t->exchange.keep_client = false;
	if (!put_head(t, &p, !t->exchange.keep_client)) {
		transaction_fail(t, WHY_RESPONSE_HEAD_TOO_BIG);
		return;
	}
	t->status = p.status;
	deadline_set(&t->worker->net.deadlines, &t->deadline, DEADLINE_MIDWAY);
}

bool deliver_has_room(const struct transaction *t)
{
	return !t->saved_waits && lane_has_room(&t->down, 4) && t->down_chunks < CHUNK_ROOMS;
}

void deliver_body(struct transaction *t, struct str span)
{
	if (t->chunk_down) {
		lane_add(&t->down, chunk_line(t->down_chunk[t->down_chunks++], span.len));
		lane_add(&t->down, span);
		lane_add(&t->down, STR("\r\n"));
	} else {
		lane_add(&t->down, span);
	}
}

static void ended(struct transaction *t)
{
	deadline_clear(&t->worker->net.deadlines, &t->deadline);
	POST(t, .event = RESPONSE_ENDED, .keep = t->response_keep);
}

/* The upstream's message is over: that of a challenge, or the client's. */
void deliver_end(struct transaction *t)
{
	if (t->exchange.state == EX_DRAIN) {
		t->saved_whole = true;
		t->saved.trailers = t->response.trailers;
		if (t->saved_body)
			body_end(t->saved_body);
		/* No replay on a connection that is closing, or has said more. */
		POST(t, .event = RESPONSE_ENDED,
		     .keep = t->response_keep && conn_is_quiet(t->upstream));
		return;
	}
	if (t->chunk_down) {
		struct str last = chunk_last(&t->response.trailers, t->arena);

		if (!last.at) {
			transaction_lose_upstream(t, WHY_OUT_OF_MEMORY);
			return;
		}
		lane_add(&t->down, last);
	}
	if (!conn_in_pipe(t->upstream))
		ended(t);
}

/* -- to the kernel ---------------------------------------------------------------- */

/* A response comes in, or is about to. What the client has still to take may be an
 * interim one: then too, nobody reads more for it. */
static bool receives(const struct transaction *t)
{
	return t->exchange.state == EX_SEND || t->exchange.state == EX_DRAIN ||
	       t->exchange.state == EX_STREAM;
}

static void client_slow(struct transaction *t)
{
	struct session *s = t->session;

	if (!deadline_is_set(&s->deadline) || s->deadline.class != DEADLINE_WRITE)
		deadline_set(&t->worker->net.deadlines, &s->deadline, DEADLINE_WRITE);
	if (!t->upstream || !receives(t))
		return;
	if (!t->upstream_waits)
		conn_pause(t->upstream);
	t->upstream_waits = true;
	if (t->exchange.state == EX_STREAM)
		deadline_clear(&t->worker->net.deadlines, &t->deadline);
}

static void client_took_all(struct transaction *t)
{
	struct deadlines *d = &t->worker->net.deadlines;
	struct session *s = t->session;

	t->down_chunks = 0;
	if (deadline_is_set(&s->deadline) && s->deadline.class == DEADLINE_WRITE) {
		deadline_clear(d, &s->deadline);
		if (!t->request_whole)
			deadline_set(d, &s->deadline, DEADLINE_BODY);
	}
	if (t->exchange.state == EX_FLUSH)
		POST(t, .event = CLIENT_TOOK_ALL);
}

/* What waits in the pipe; true when nothing does. */
static bool flush_pipe(struct transaction *t)
{
	size_t moved;

	if (!t->upstream || !conn_in_pipe(t->upstream))
		return true;
	if (conn_pipe_out(t->upstream, t->session->client, &moved) != IO_DONE) {
		transaction_lose_client(t);
		return false;
	}
	t->down.moved += moved;
	if (conn_in_pipe(t->upstream)) {
		if (moved)
			deadline_clear(&t->worker->net.deadlines, &t->session->deadline);
		client_slow(t);
		return false;
	}
	if (t->response_whole)
		ended(t);
	return true;
}

/* Its end has no room: then it must not look as if it had one. */
static void end_saved(struct transaction *t)
{
	struct str last = chunk_last(&t->response.trailers, t->arena);

	lane_add(&t->down, last);
	if (last.at)
		return;
	conn_abort(t->session->client);
	t->exchange.keep_client = false;
}

/* The next piece of a challenge that was kept aside and is the client's after all.
 * The last one is with the kernel, so its memory may go. */
static bool load_saved(struct transaction *t)
{
	struct body_span span;

	if (!t->saved_waits || t->response.framing == FRAMING_NONE)
		return t->saved_waits = false;
	t->down_chunks = 0;
	body_taken(t->saved_body, t->saved_span);
	body_next(t->saved_body, &span);
	t->saved_span = span.len;
	if (span.len && t->chunk_down)
		lane_add(&t->down, chunk_line(t->down_chunk[t->down_chunks++], span.len));
	for (int i = 0; i < span.n; i++)
		lane_add(&t->down, (struct str){ span.v[i].iov_base, span.v[i].iov_len });
	if (span.len && t->chunk_down)
		lane_add(&t->down, STR("\r\n"));
	t->saved_waits = span.len != 0;
	if (!span.len && t->chunk_down && t->exchange.state == EX_FLUSH)
		end_saved(t);
	return true;
}

bool deliver_flush(struct transaction *t)
{
	uint64_t before = t->down.moved;
	enum io io;

	if (t->over)
		return false;
	do
		io = lane_flush(&t->down, t->session->client);
	while (io == IO_DONE && load_saved(t));
	counter_add(&t->worker->counters.n[COUNT_OCTETS_OUT], t->down.moved - before);
	switch (io) {
	case IO_DONE:
		if (!flush_pipe(t))
			return false;
		client_took_all(t);
		return true;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		if (t->down.moved != before)
			deadline_clear(&t->worker->net.deadlines, &t->session->deadline);
		client_slow(t);
		return false;
	case IO_EOF:
	case IO_FAILED:
		lane_drop(&t->down);
		transaction_lose_client(t);
		return false;
	}
	return false;
}

/* -- without copying ----------------------------------------------------------------- */

bool deliver_can_splice(const struct transaction *t)
{
	if (t->chunk_down || !lane_is_empty(&t->down) || t->saved_waits ||
	    buf_unread(&t->up_in).len)
		return false;
	if (!conn_is_plain(t->upstream) || !conn_is_plain(t->session->client))
		return false;
	return t->splicing || (reader_left(t->from_upstream) >= SPLICE_FROM &&
			       conn_has_pipe(t->upstream));
}

static void spliced_eof(struct transaction *t)
{
	if (!upstream_ended_well(t)) {
		transaction_lose_upstream(t, WHY_RESPONSE_INCOMPLETE);
		return;
	}
	t->response_whole = true;
	t->response_keep = false;
	if (flush_pipe(t))
		ended(t);
}

void deliver_splice(struct transaction *t)
{
	uint64_t left = reader_left(t->from_upstream);
	size_t taken;
	enum io io = conn_pipe_in(t->upstream, left < SIZE_MAX ? (size_t)left : SIZE_MAX, &taken);

	t->splicing = true;
	switch (io) {
	case IO_DONE:
		if (reader_skip(t->from_upstream, taken) == STEP_END) {
			t->response_whole = true;
			t->response_keep = t->response.keep && !t->send_failed;
		}
		if (flush_pipe(t) && t->exchange.state == EX_FLUSH)
			client_took_all(t);
		return;
	case IO_EOF:
		spliced_eof(t);
		if (!t->over && t->exchange.state == EX_FLUSH)
			client_took_all(t);
		return;
	case IO_FAILED:
		transaction_lose_upstream(t, WHY_RESPONSE_INCOMPLETE);
		return;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		return;
	}
}

/* -- ends ------------------------------------------------------------------------------ */

/* The replay could not be sent: the client gets the challenge as it came. */
void deliver_restore(struct transaction *t)
{
	struct response p = t->saved;

	deadline_clear(&t->worker->net.deadlines, &t->deadline);
	transaction_sleep(t);
	if (t->unanswered == UNANSWERED_NONE)
		answer_none(t, t->exchange.bound ? UNANSWERED_AUTH_BOUND : UNANSWERED_NOT_SENT);
	if (t->snapshot->config->on_unanswered == UNANSWERED_502) {
		t->why = t->why == WHY_DONE ? WHY_UNANSWERED : t->why;
		reply(t);
		return;
	}
	t->why = WHY_DONE;
	t->response = t->saved;
	carry(t, &p);
	choose_framing(t, &p);
	t->response.framing = p.framing;
	if (!t->request_whole || t->logged_in || t->worker->draining)
		t->exchange.keep_client = false;
	if (!put_head(t, &p, !t->exchange.keep_client)) {
		t->why = WHY_RESPONSE_HEAD_TOO_BIG;
		reply(t);
		return;
	}
	t->status = p.status;
	t->saved_waits = t->saved_body && body_rewind(t->saved_body);
	t->saved_span = 0;
	deliver_flush(t);
}

/* Nothing the client holds may look whole: a reset says so whatever the framing. */
void deliver_break(struct transaction *t)
{
	count(t->worker, COUNT_BROKEN);
	t->exchange.keep_client = false;
	lane_drop(&t->down);
	conn_abort(t->session->client);
}
