/* upstream: attempts. Getting a connection, sending head and body from the
 * recorder; the response is receive.c's. First attempt, retry and replay are one
 * path: only the cursor and the added fields differ. */
#include "worker/transaction.h"

#include <stdio.h>

#include "worker/intercept.h"

static void on_upstream(void *owner, struct conn *c, enum conn_event ev);

/* -- a connection ---------------------------------------------------------------- */

static enum why vet(void *owner, const struct sockaddr *to)
{
	const struct transaction *t = owner;

	if (t->trusted)
		return WHY_DONE;
	return access_target(&t->snapshot->config->access, session_peer(t->session), to);
}

static bool is_connect(const struct transaction *t)
{
	return t->request.kind == METHOD_CONNECT;
}

static void got_upstream(struct transaction *t, struct conn *c, bool reused)
{
	t->upstream = c;
	t->reused = reused;
	t->sends_on_conn = 0;
	conn_adopt(c, on_upstream, t);
	if (t->intercept) {
		intercept_verified(t);
		return;
	}
	POST(t, .event = GOT_UPSTREAM, .tunnel = is_connect(t));
}

static void opened(void *owner, struct conn *c, enum why why, const char *detail)
{
	struct transaction *t = owner;
	struct session *s = t->session;

	t->want = NULL;
	if (c) {
		counters_took(&t->worker->counters.connect, clock_ms() - t->dialled_ms);
		got_upstream(t, c, false);
	} else {
		snprintf(t->detail, sizeof t->detail, "%s", detail);
		t->reused = false;
		transaction_lose_upstream(t, why);
	}
	session_settle(s);
}

/* An idle connection. What must not be sent twice is not sent on one that is
 * closing already: that is worth a look. */
static struct conn *take_idle(struct transaction *t)
{
	struct conn *c = pool_take(t->worker->pool, &t->key, vet, t);

	while (c && !method_is_idempotent(t->request.kind) && !conn_is_quiet(c)) {
		conn_close(c);
		c = pool_take(t->worker->pool, &t->key, vet, t);
	}
	return c;
}

void upstream_open(struct transaction *t, bool fresh)
{
	struct conn *c = NULL;

	if (!is_connect(t))
		c = bound_take(t, vet);
	if (!c && !fresh && !t->bound && (!is_connect(t) || t->intercept))
		c = take_idle(t);
	if (c) {
		got_upstream(t, c, true);
		return;
	}
	t->dialled_ms = clock_ms();
	t->want = pool_get(t->worker->pool, &t->key, vet, opened, t);
	if (!t->want)
		transaction_fail(t, WHY_OUT_OF_MEMORY);
}

/* If there is another attempt, it plays the body from its start: what comes in
 * meanwhile may end the recording, but not take that start away. */
void upstream_drop(struct transaction *t)
{
	if (t->body)
		body_rewind(t->body);
	if (t->want)
		pool_cancel(t->want);
	t->want = NULL;
	intercept_drop(t);
	conn_close(t->upstream);
	t->upstream = NULL;
}

static void opened_blind(void *owner, struct conn *c, enum why why, const char *detail)
{
	struct transaction *t = owner;
	struct session *s = t->session;

	t->want = NULL;
	t->upstream = c;
	if (c) {
		intercept_dialled(t);
	} else {
		snprintf(t->detail, sizeof t->detail, "%s", detail);
		transaction_lose_upstream(t, why);
	}
	session_settle(s);
}

void upstream_blind(struct transaction *t)
{
	struct pool_key plain = t->key;

	plain.tls = NULL;
	t->want = pool_get(t->worker->pool, &plain, vet, opened_blind, t);
	if (!t->want)
		transaction_fail(t, WHY_OUT_OF_MEMORY);
}

void upstream_keep(struct transaction *t)
{
	struct conn *c = t->upstream;

	t->upstream = NULL;
	if (!bound_keep(t, c))
		pool_put(t->worker->pool, &t->key, c);
}

/* -- the request goes out ---------------------------------------------------------- */

struct attempt *attempt_now(struct transaction *t)
{
	unsigned i = t->attempts_n ? t->attempts_n - 1 : 0;

	return &t->attempts[i];
}

static void begin_attempt(struct transaction *t)
{
	if (t->attempts_n < ATTEMPTS_MOST)
		t->attempts_n++;
	if (t->sends_on_conn++)
		t->reused = true;
	*attempt_now(t) = (struct attempt){ .started_ms = clock_ms(), .reused = t->reused,
					   .add = t->add, .add_n = t->add_n };
	count(t->worker, COUNT_ATTEMPTS);
	t->response = (struct response){ 0 };
	t->from_upstream = reader_of_responses(t->arena, &t->snapshot->limits,
					       t->request.kind, &t->response);
	t->span = 0;
	/* What is left of the last attempt's response answers nothing now. */
	buf_used(&t->up_in, buf_unread(&t->up_in).len);
	t->last_loaded = t->send_failed = t->heard = t->upstream_waits = false;
	/* Nor is what ended it the reason of anything any more. */
	t->why = WHY_DONE;
	t->detail[0] = '\0';
	t->response_whole = false;
	lane_init(&t->up);
	if (!deadline_is_set(&t->deadline))
		deadline_set(&t->worker->net.deadlines, &t->deadline, DEADLINE_RESPONSE);
}

struct str transaction_via(struct transaction *t, uint8_t minor)
{
	const struct snapshot *s = t->snapshot;

	if (!s->config->via.len || minor == 1)
		return s->via_line;
	return arena_print(t->arena, "1.%u %.*s", minor, STR_FMT(s->config->via));
}

bool upstream_in_absolute_form(const struct transaction *t)
{
	return t->by_parent && !t->https;
}

static struct str absolute(struct transaction *t)
{
	struct str path = str_eq(t->target, STR("*")) ? STR("") : t->target;

	return arena_print(t->arena, "http://%.*s%.*s", STR_FMT(t->host), STR_FMT(path));
}

/* The parent's login goes with each attempt and is kept nowhere. */
static void add_login(struct transaction *t, struct head_extra *x)
{
	struct str login = t->snapshot->config->parent.authorization;
	struct header *add = login.len ? arena_get(t->arena, (x->n + 1) * sizeof *add) : NULL;

	if (!add)
		return;
	if (x->n)
		memcpy(add, x->add, x->n * sizeof *add);
	add[x->n++] = (struct header){ .name = STR("Proxy-Authorization"), .value = login };
	x->add = add;
}

static bool is_replaced(const struct transaction *t, const struct header *h)
{
	if (h->id == HEADER_COOKIE && t->cookie.at)
		return true;
	if (h->id == HEADER_AUTHORIZATION && t->replays && t->plan.without_authorization)
		return true;
	for (unsigned i = 0; i < t->add_n; i++)
		if (h->id == t->add[i].id && str_eq_nocase(h->name, t->add[i].name))
			return true;
	return false;
}

/* What the client sent, but for the lines in whose place others are sent now. The
 * request itself stays as it came: another challenge may have to be judged by it. */
static bool replace(struct transaction *t, struct request *q)
{
	struct headers *h = &q->fields;
	struct header *at = arena_get(t->arena, h->count * sizeof *at);

	if (!at)
		return false;
	memcpy(at, h->at, h->count * sizeof *at);
	h->at = at;
	for (unsigned i = 0; i < h->count; i++)
		if (is_replaced(t, &at[i]))
			at[i].dropped = true;
	return true;
}

/* The client's Expect is forwarded; an added one of ours is in t->add. */
static struct str head_of(struct transaction *t)
{
	struct request q = t->request;
	struct head_extra x = {
		.add = t->add, .n = t->add_n,
		.via = transaction_via(t, t->request.minor),
		.host = t->host, .target = t->target, .upgrade = t->request.upgrade,
	};

	if (upstream_in_absolute_form(t)) {
		x.target = absolute(t);
		add_login(t, &x);
	}
	if ((t->add_n || t->replays) && q.fields.count && !replace(t, &q))
		return STR_NONE;
	return request_head(&q, &x, t->arena);
}

void upstream_send(struct transaction *t)
{
	struct str head;

	begin_attempt(t);
	if (t->body && !body_rewind(t->body)) {
		transaction_fail(t, WHY_INTERNAL);
		return;
	}
	head = head_of(t);
	if (!head.at || !t->from_upstream || arena_full(t->arena)) {
		transaction_fail(t, WHY_HEAD_TOO_BIG);
		return;
	}
	lane_add(&t->up, head);
	conn_resume(t->upstream);
	upstream_pump(t);
}

/* Puts the next piece of the recorder into the lane. False: its end has no room. */
static bool load(struct transaction *t)
{
	bool chunked = t->request.framing == FRAMING_CHUNKED;
	struct body_span span;

	body_next(t->body, &span);
	t->span = span.len;
	if (span.len) {
		if (chunked)
			lane_add(&t->up, chunk_line(t->chunk, span.len));
		for (int i = 0; i < span.n; i++)
			lane_add(&t->up, (struct str){ span.v[i].iov_base, span.v[i].iov_len });
		if (span.fd >= 0)
			lane_add_file(&t->up, span.fd, span.at, span.len,
				      chunked ? STR("\r\n") : STR_NONE);
		else if (chunked)
			lane_add(&t->up, STR("\r\n"));
	} else if (body_all_taken(t->body)) {
		struct str last = chunked ? chunk_last(&t->request.trailers, t->arena) : STR("");

		if (!last.at)
			return false;
		t->last_loaded = true;
		lane_add(&t->up, last);
	}
	return true;
}

static bool is_sending(const struct transaction *t)
{
	return t->upstream && !t->send_failed && !t->exchange.request_sent &&
	       (t->exchange.state == EX_SEND || t->exchange.state == EX_STREAM);
}

/* The body waits for a 100 that we asked for. */
static bool is_held(const struct transaction *t)
{
	return t->holding && lane_is_empty(&t->up);
}

void upstream_release(struct transaction *t)
{
	t->holding = false;
	upstream_pump(t);
}

static void took_span(struct transaction *t)
{
	body_taken(t->body, t->span);
	attempt_now(t)->body_octets += t->span;
	if (t->replays) {
		t->replay_octets += t->span;
		counter_add(&t->worker->counters.n[COUNT_REPLAY_UPLOAD], t->span);
	}
	t->span = 0;
}

/* Sends what there is. The kernel's refusal of more is waited for; a failure
 * is left to the read side, where an early answer may still be waiting. */
void upstream_pump(struct transaction *t)
{
	while (is_sending(t)) {
		bool more;

		if (!intake_flush_pipe(t))
			return;
		more = t->body && !t->span && !t->last_loaded && !t->holding;

		if (more && !load(t)) {
			transaction_fail(t, WHY_OUT_OF_MEMORY);
			return;
		}
		switch (lane_flush(&t->up, t->upstream)) {
		case IO_DONE:
			break;
		case IO_FAILED:
		case IO_EOF:
			t->send_failed = true;
			lane_drop(&t->up);
			return;
		case IO_WANT_READ:
		case IO_WANT_WRITE:
			return;
		}
		if (is_held(t) && memory_held(t))
			return;
		if (t->span) {
			took_span(t);
			intake_resume(t);
		} else if (!t->body || t->last_loaded) {
			POST(t, .event = REQUEST_SENT);
			return;
		} else {
			return;		/* the client has not sent more yet */
		}
	}
}

/* -- events ----------------------------------------------------------------------- */

static void on_upstream(void *owner, struct conn *c, enum conn_event ev)
{
	struct transaction *t = owner;
	struct session *s = t->session;

	switch (ev) {
	case CONN_READABLE:
		receive(t);
		break;
	case CONN_WRITABLE:
		upstream_pump(t);
		break;
	case CONN_UP:
	case CONN_DOWN:
		break;
	}
	session_settle(s);
}
