/* transaction: the edge of the score. Facts in, effects performed; and the
 * intake of the request body into the recorder. */
#include "worker/transaction.h"

#include <assert.h>
#include <stdlib.h>

#include <event2/event.h>

#include "ground/log.h"
#include "worker/login.h"

enum { CLOCK_STEP_MS = 10 };	/* of the kernel's coarse clock, at its coarsest */
enum {
	ARENA_FIRST = 6144,
	ARENA_MOST = 512 * 1024,
	INTAKE_MOST = BODY_IOV * BUF_BLOCK,
};

/* -- memory --------------------------------------------------------------------- */

static void upstream_late(struct deadline *d)
{
	struct transaction *t = (void *)((char *)d - offsetof(struct transaction, deadline));
	struct session *s = t->session;

	if (t->exchange.state == EX_STREAM)
		transaction_fail(t, WHY_UPSTREAM_STALLED);
	else
		transaction_fail(t, t->exchange.request_sent ? WHY_UPSTREAM_SILENT :
							       WHY_UPSTREAM_DEAF);
	session_settle(s);
}

struct transaction *transaction_take(struct session *s)
{
	struct worker *w = s->worker;
	struct transaction *t = w->spare_transactions;

	if (t) {
		w->spare_transactions = t->next;
	} else {
		t = calloc(1, sizeof *t);
		if (!t)
			return NULL;
		t->arena = arena_new(ARENA_FIRST, ARENA_MOST);
		if (!t->arena) {
			free(t);
			return NULL;
		}
	}
	memset(t, 0, offsetof(struct transaction, up));
	t->detail[0] = '\0';
	t->session = s;
	t->worker = w;
	t->snapshot = snapshot_hold(w);
	t->deadline.fn = upstream_late;
	lane_init(&t->up);
	lane_init(&t->down);
	exchange_begin(&t->exchange, 0);
	t->from_client = reader_of_requests(t->arena, &t->snapshot->limits, &t->request);
	counter_add(&w->counters.sessions_busy, 1);
	return t;
}

void transaction_give(struct transaction *t)
{
	struct worker *w = t->worker;

	upstream_drop(t);
	if (t->login)
		login_cancel(t->login);
	deadline_clear(&w->net.deadlines, &t->deadline);
	if (t->delay)
		event_free(t->delay);
	buf_give(&t->up_in);
	arena_reset(t->arena);
	snapshot_release(t->snapshot);
	t->next = w->spare_transactions;
	w->spare_transactions = t;
	counter_sub(&w->counters.sessions_busy, 1);
	if (t->tunnel)
		counter_sub(&w->counters.tunnels, 1);
}

void transactions_free(struct worker *w)
{
	while (w->spare_transactions) {
		struct transaction *t = w->spare_transactions;

		w->spare_transactions = t->next;
		arena_free(t->arena);
		free(t);
	}
}

struct log_ctx transaction_log_ctx(const struct transaction *t, char room[64])
{
	return (struct log_ctx){ t->session->id, session_who(t->session, room),
				 t->doing };
}

/* -- waiting ----------------------------------------------------------------------- */

static void woken(evutil_socket_t fd, short what, void *arg)
{
	struct transaction *t = arg;
	struct session *s = t->session;

	t->wake(t);
	session_settle(s);
}

/* Not sooner than was said: counted from now rather than from when this turn began,
 * and a step more, because libevent's clock goes in steps. */
bool transaction_wake(struct transaction *t, uint32_t ms, void (*fn)(struct transaction *t))
{
	uint64_t us = ((uint64_t)ms + CLOCK_STEP_MS) * 1000;
	struct timeval tv = { (time_t)(us / 1000000), (suseconds_t)(us % 1000000) };

	event_base_update_cache_time(t->worker->base);
	if (!t->delay)
		t->delay = evtimer_new(t->worker->base, woken, t);
	t->wake = fn;
	return t->delay && evtimer_add(t->delay, &tv) == 0;
}

void transaction_sleep(struct transaction *t)
{
	if (t->delay)
		evtimer_del(t->delay);
}

/* -- effects --------------------------------------------------------------------- */

static void open_any(struct transaction *t)
{
	upstream_open(t, false);
}

static void open_new(struct transaction *t)
{
	upstream_open(t, true);
}

static void send_request(struct transaction *t)
{
	upstream_send(t);
}

static void stream(struct transaction *t)
{
	if (t->body)
		body_forget(t->body);
	deliver_head(t);
}

static void finish(struct transaction *t)
{
	t->over = true;
}

/* In the order of enum exchange_effect's bits. */
static void (*const perform[])(struct transaction *t) = {
	upstream_drop, upstream_keep, open_any, open_new, answer_drain, answer_ask,
	send_request, stream, tunnel_begin, deliver_restore, reply, deliver_break, finish,
};

_Static_assert(DO_FINISH == 1 << (sizeof perform / sizeof *perform - 1),
	       "one function for each effect");

void transaction_post(struct transaction *t, struct exchange_fact fact)
{
	if (t->over)
		return;
	assert(t->facts_n < FACTS_MOST);
	t->facts[(t->facts_first + t->facts_n++) % FACTS_MOST] = fact;
	if (t->running)
		return;
	t->running = true;
	while (t->facts_n && !t->over) {
		const struct exchange_fact *f = &t->facts[t->facts_first];
		unsigned effects;

		t->doing = exchange_doing(&t->exchange);
		effects = exchange_step(&t->exchange, f);
		t->facts_first = (uint8_t)((t->facts_first + 1) % FACTS_MOST);
		t->facts_n--;
		for (; effects; effects &= effects - 1)
			perform[__builtin_ctz(effects)](t);
	}
	t->running = false;
}

/* The response waits to be told, and can be taken back. */
static bool is_unsaid(const struct transaction *t)
{
	return t->exchange.state == EX_STREAM && t->down.moved == t->said &&
	       !conn_write_waits(t->session->client);
}

void transaction_fail(struct transaction *t, enum why why)
{
	t->why = why;
	POST(t, .event = GAVE_UP, .unsaid = is_unsaid(t));
}

/* An end of the client's stream may be half an end: it still listens, and nothing
 * that was cut short may look whole to it. */
void transaction_lose_client(struct transaction *t)
{
	if (t->exchange.response_begun)
		conn_abort(t->session->client);
	if (!t->exchange.response_begun || t->exchange.state != EX_FLUSH)
		t->why = WHY_CLIENT_GONE;
	t->exchange.keep_client = false;
	POST(t, .event = LOST_CLIENT);
}

/* May the request be sent once more without being asked (RFC 9110 9.2.2)? Only
 * on a connection that was used before and said nothing this time: then it was
 * closing while we wrote. If not an octet left us, any method may. A login that
 * belongs to the connection is worth nothing on another, and a replay was counted. */
static bool is_retryable(const struct transaction *t, bool unsent)
{
	return t->reused && !t->heard && !t->logged_in &&
	       (!t->body || body_can_rewind(t->body)) &&
	       (unsent || (!t->replays && method_is_idempotent(t->request.kind)));
}

void transaction_lose_upstream(struct transaction *t, enum why why)
{
	bool unsent = !t->upstream || t->up.moved == 0;

	if (why != WHY_DONE)
		t->why = why;
	if (t->logged_in && t->reused && !t->heard && !t->replays)
		t->why = WHY_LOGIN_LOST;
	if (is_retryable(t, unsent && t->upstream))
		count(t->worker, COUNT_RETRIES);
	POST(t, .event = LOST_UPSTREAM, .retryable = is_retryable(t, unsent && t->upstream),
	     .unsent = unsent, .kept = t->saved_whole, .unsaid = is_unsaid(t));
}

/* -- beginning -------------------------------------------------------------------- */

static bool has_body(const struct request *q)
{
	return q->framing == FRAMING_CHUNKED || (q->framing == FRAMING_LENGTH && q->length);
}

/* The recorder, and whatever of the body came with the head: so that one write
 * carries both. */
static enum why open_body(struct transaction *t)
{
	const struct config *c = t->snapshot->config;
	struct body_limits limits = { c->body_memory, c->body_limit,
				      t->worker->memory_most / 2 };

	t->body = body_new(t->arena, &limits, t->worker->spool);
	if (!t->body)
		return WHY_OUT_OF_MEMORY;
	deadline_set(&t->worker->net.deadlines, &t->session->deadline, DEADLINE_BODY);
	t->session->body_mark = 0;
	intake_buffered(t);
	if (body_failed(t->body))
		return WHY_OUT_OF_MEMORY;
	return t->refused_body ? t->why : WHY_DONE;
}

static unsigned replays_of(const struct rule *r)
{
	return r->max_replays > r->backoff.most ? r->max_replays : r->backoff.most;
}

/* It may pass, or is refused: the score begins. */
static void admit(struct transaction *t, enum why why)
{
	if (why == WHY_DONE && !t->request_whole)
		why = open_body(t);
	if (why == WHY_DONE) {
		bound_request(t);
		memory_first(t);
		headers_drop_hop_by_hop(&t->request.fields);
		if (t->request.minor == 0)	/* RFC 9110 10.1.1: nothing to expect */
			headers_drop(&t->request.fields, HEADER_EXPECT);
	}
	exchange_begin(&t->exchange, t->rule ? replays_of(t->rule) : 0);
	t->why = why;
	POST(t, .event = GOT_REQUEST, .refused = why != WHY_DONE,
	     .keep = t->request.keep && !t->worker->draining);
}

static void login_told(void *owner, bool ok)
{
	struct transaction *t = owner;
	struct session *s = t->session;

	t->login = NULL;
	admit(t, ok ? WHY_DONE : WHY_WANTS_AUTH);
	conn_resume(s->client);
	session_settle(s);
}

static enum login_verdict ask_login(struct transaction *t)
{
	const struct htpasswd *users = t->snapshot->config->users;
	const struct header *h = headers_find(&t->request.fields, HEADER_PROXY_AUTHORIZATION);

	if (!users || t->session->inner)	/* a CONNECT has shown its own */
		return LOGIN_YES;
	return login_check(t->worker->login, users, h ? h->value : STR_NONE, login_told, t,
			   &t->login);
}

void transaction_begin(struct transaction *t, enum why why)
{
	const struct request *q = &t->request;

	t->session->requests++;
	count(t->worker, COUNT_REQUESTS);
	t->started_ms = clock_ms();
	if (t->worker->log)
		t->started_us = clock_us();
	t->request_whole = why != WHY_DONE || !has_body(q);
	if (why == WHY_DONE && t->session->denied)
		why = WHY_DENIED_CLIENT;
	if (why == WHY_DONE && block_held() > t->worker->memory_most)
		why = WHY_MEMORY_FULL;
	if (why == WHY_DONE)
		why = route(t);
	switch (why == WHY_DONE ? ask_login(t) : LOGIN_YES) {
	case LOGIN_YES:
		admit(t, why);
		return;
	case LOGIN_NO:
		admit(t, WHY_WANTS_AUTH);
		return;
	case LOGIN_WAIT:
		return;
	}
}

/* -- the body comes in ------------------------------------------------------------- */

static void took_body(struct transaction *t, enum step step)
{
	switch (step) {
	case STEP_END:
		t->request_whole = true;
		body_end(t->body);
		if (t->session->deadline.class == DEADLINE_BODY)
			deadline_clear(&t->worker->net.deadlines, &t->session->deadline);
		return;
	case STEP_BAD:
		t->refused_body = true;
		t->why = reader_why(t->from_client);
		return;
	case STEP_MORE:
	case STEP_HEAD:
	case STEP_BODY:
		return;
	}
}

static size_t room_for(struct body *b, size_t most)
{
	struct iovec v[BODY_IOV];
	int n = body_room(b, most, v);
	size_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += v[i].iov_len;
	return sum;
}

/* False: the recorder had less room than it said. */
static bool record(struct transaction *t, struct str span)
{
	if (body_append(t->body, span) != span.len) {
		t->refused_body = true;
		t->why = WHY_OUT_OF_MEMORY;
		return false;
	}
	counter_add(&t->worker->counters.n[COUNT_OCTETS_IN], span.len);
	return true;
}

/* Feeds the reader no more than the recorder can take: what it decodes is never
 * longer than what it read. Even with nothing left it is asked once more, for it
 * may have the end to tell. */
void intake_buffered(struct transaction *t)
{
	struct buf *in = &t->session->in;
	enum step step;
	size_t used;

	do {
		struct str octets = buf_unread(in), span = STR_NONE;
		size_t room = octets.len ? room_for(t->body, octets.len) : 0;

		if (octets.len && !room) {
			t->client_waits = true;
			return;
		}
		used = 0;
		step = reader_feed(t->from_client, str_first(octets, room), &used, &span);
		if (step == STEP_BODY && !record(t, span))
			return;
		buf_used(in, used);
		took_body(t, step);
	} while (step == STEP_BODY || (step == STEP_MORE && used && buf_unread(in).len));
}

/* Octets of known length go straight into the recorder. */
static enum io intake_direct(struct transaction *t)
{
	struct iovec v[BODY_IOV];
	uint64_t left = reader_left(t->from_client);
	int n = body_room(t->body, left < INTAKE_MOST ? (size_t)left : INTAKE_MOST, v);
	size_t got;
	enum io io;

	if (!n) {
		t->client_waits = true;
		conn_pause(t->session->client);
		return body_failed(t->body) ? IO_DONE : IO_WANT_WRITE;
	}
	io = conn_read(t->session->client, v, n, &got);
	body_filled(t->body, got);	/* 0 as well: what was lent goes back */
	if (io != IO_DONE)
		return io;
	counter_add(&t->worker->counters.n[COUNT_OCTETS_IN], got);
	took_body(t, reader_skip(t->from_client, got));
	return io;
}

static enum io intake_coded(struct transaction *t)
{
	struct buf *in = &t->session->in;
	struct iovec room;
	size_t got;
	enum io io;

	if (t->client_waits || !buf_take(in)) {
		conn_pause(t->session->client);
		return IO_WANT_WRITE;
	}
	buf_compact(in);
	room = buf_room(in);
	io = conn_read(t->session->client, &room, 1, &got);
	if (io != IO_DONE)
		return io;
	buf_filled(in, got);
	intake_buffered(t);
	return io;
}

/* Past body-limit, and after a response that will not be replayed, nobody needs
 * the octets twice: then they need not come through our memory at all. */
static bool can_pipe(const struct transaction *t)
{
	const struct conn *client = t->session->client;

	return body_is_passed(t->body) && t->upstream && !t->send_failed && !t->holding &&
	       lane_is_empty(&t->up) && (t->exchange.state == EX_SEND ||
					  t->exchange.state == EX_STREAM) &&
	       t->exchange.has_upstream && conn_is_plain(client) && conn_is_plain(t->upstream) &&
	       (t->piping || reader_left(t->from_client) >= INTAKE_MOST) &&
	       conn_has_pipe(t->session->client);
}

bool intake_flush_pipe(struct transaction *t)
{
	struct conn *client = t->session->client;
	size_t moved;

	if (!t->piping || !conn_in_pipe(client))
		return true;
	if (conn_pipe_out(client, t->upstream, &moved) != IO_DONE) {
		t->send_failed = true;
		return false;
	}
	t->up.moved += moved;
	if (conn_in_pipe(client)) {
		conn_pause(client);
		return false;
	}
	if (!t->request_whole)
		conn_resume(client);
	return true;
}

static enum io intake_piped(struct transaction *t)
{
	uint64_t left = reader_left(t->from_client);
	size_t taken;
	enum io io = conn_pipe_in(t->session->client, left < SIZE_MAX ? left : SIZE_MAX, &taken);

	if (io != IO_DONE)
		return io;
	t->piping = true;
	counter_add(&t->worker->counters.n[COUNT_OCTETS_IN], taken);
	attempt_now(t)->body_octets += taken;
	body_pass(t->body, taken);
	took_body(t, reader_skip(t->from_client, taken));
	return io;
}

static void took_some(struct transaction *t)
{
	struct deadlines *d = &t->worker->net.deadlines;

	if (t->refused_body) {
		transaction_fail(t, t->why);
		return;
	}
	if (body_failed(t->body)) {
		transaction_fail(t, WHY_OUT_OF_MEMORY);
		return;
	}
	if (deadline_is_set(&t->deadline) && t->deadline.class == DEADLINE_RESPONSE)
		deadline_set(d, &t->deadline, DEADLINE_RESPONSE);
	upstream_pump(t);
}

void intake_readable(struct transaction *t)
{
	bool direct = t->request.framing == FRAMING_LENGTH && !buf_unread(&t->session->in).len;
	enum io io = !direct ? intake_coded(t) :
		     can_pipe(t) ? intake_piped(t) : intake_direct(t);

	switch (io) {
	case IO_DONE:
		took_some(t);
		buf_settle(&t->session->in);
		return;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		return;
	case IO_EOF:
	case IO_FAILED:
		transaction_lose_client(t);
		return;
	}
}

void intake_resume(struct transaction *t)
{
	if (!t->client_waits || t->request_whole || t->refused_body)
		return;
	t->client_waits = false;
	intake_buffered(t);
	if (t->refused_body)
		transaction_fail(t, t->why);
	else if (body_failed(t->body))
		transaction_fail(t, WHY_OUT_OF_MEMORY);
	else if (!t->client_waits)
		conn_resume(t->session->client);
}
