/* upstream: attempts. Getting a connection, sending head and body from the
 * recorder, reading the response. First attempt, retry and replay are one
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
		c = bound_take(t);
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

void upstream_drop(struct transaction *t)
{
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
	buf_used(&t->up_in, buf_unread(&t->up_in).len);	/* of a connection that was dropped */
	t->response = (struct response){ 0 };
	t->from_upstream = reader_of_responses(t->arena, &t->snapshot->limits,
					       t->request.kind, &t->response);
	t->span = 0;
	/* What is left of the last attempt's response answers nothing now. */
	buf_used(&t->up_in, buf_unread(&t->up_in).len);
	t->last_loaded = t->send_failed = t->heard = false;
	t->response_whole = false;
	lane_init(&t->up);
	if (!deadline_is_set(&t->deadline))
		deadline_set(&t->worker->net.deadlines, &t->deadline, DEADLINE_RESPONSE);
}

static struct str via(struct transaction *t, uint8_t minor, struct str ours)
{
	struct str v = t->snapshot->config->via;

	if (!v.len)
		return STR_NONE;
	if (minor == 1)
		return ours;
	return arena_print(t->arena, "1.0 %.*s", STR_FMT(v));
}

static bool in_absolute_form(const struct transaction *t)
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
		.via = via(t, t->request.minor, t->snapshot->via_line),
		.host = t->host, .target = t->target, .upgrade = t->request.upgrade,
	};

	if (in_absolute_form(t)) {
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

/* Puts the next piece of the recorder into the lane. */
static void load(struct transaction *t)
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
		t->last_loaded = true;
		if (chunked)
			lane_add(&t->up, chunk_last(&t->request.trailers, t->arena));
	}
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

		if (more)
			load(t);
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

/* -- the response comes in ----------------------------------------------------------- */

/* A second 100 (the replay's) is swallowed, and so is one we asked for. */
static void took_interim(struct transaction *t)
{
	bool is_continue = t->response.status == 100;

	if (is_continue && t->expecting) {
		transaction_sleep(t);
		upstream_release(t);
		return;
	}
	if (is_continue && t->said_continue)
		return;
	if (is_continue)
		t->said_continue = true;
	deliver_interim(t);
}

/* Only to what the client offered, and when all of its request was sent (RFC 9110
 * 7.8): what came behind would else be half HTTP, half not. */
static bool may_switch(const struct transaction *t)
{
	struct str list = t->response.upgrade, protocol;
	bool any = false;

	while (str_list_next(&list, &protocol)) {
		if (!str_list_has(t->request.upgrade, protocol))
			return false;
		any = true;
	}
	return any && t->exchange.request_sent;
}

static void took_head(struct transaction *t)
{
	struct exchange_fact fact = { .event = GOT_RESPONSE };
	uint16_t status = t->response.status;

	if (status < 200 && status != 101) {
		headers_drop_hop_by_hop(&t->response.fields);
		took_interim(t);
		return;
	}
	headers_drop_hop_by_hop(&t->response.fields);
	bound_response(t);
	transaction_sleep(t);
	attempt_now(t)->status = status;
	attempt_now(t)->head_ms = clock_ms() - attempt_now(t)->started_ms;
	if (status == 407 && in_absolute_form(t)) {
		transaction_lose_upstream(t, WHY_PARENT_AUTH);
		return;
	}
	if (status == 101) {
		if (!may_switch(t)) {
			transaction_lose_upstream(t, WHY_BAD_UPGRADE);
			return;
		}
		fact.tunnel = true;
	} else if (status == 449) {
		answer_judge(t, &fact);
	}
	if (!fact.challenge && !memory_seen(t))
		fact = (struct exchange_fact){ .event = LOST_UPSTREAM, .retryable = true };
	transaction_post(t, fact);
}

static void took_end(struct transaction *t)
{
	bool surplus = buf_unread(&t->up_in).len != 0;

	t->response_whole = true;
	t->response_keep = t->response.keep && !surplus && !t->send_failed;
	deliver_end(t);
}

static bool stands(const struct transaction *t, const struct conn *c)
{
	return t->upstream == c && !t->over &&
	       (t->exchange.state == EX_SEND || t->exchange.state == EX_DRAIN ||
		t->exchange.state == EX_STREAM);
}

static void took_body(struct transaction *t, struct str span)
{
	if (t->exchange.state == EX_STREAM)
		deliver_body(t, span);
	else
		answer_drained(t, span);
}

/* Takes apart what is in the block, until it is used up or the client's lane
 * is full. */
static void digest(struct transaction *t)
{
	struct conn *c = t->upstream;

	while (stands(t, c) && !t->response_whole) {
		struct str span = STR_NONE;
		size_t used = 0;
		enum step step;

		if (!deliver_has_room(t) && !deliver_flush(t))
			return;
		step = reader_feed(t->from_upstream, buf_unread(&t->up_in), &used, &span);
		buf_used(&t->up_in, used);
		switch (step) {
		case STEP_HEAD:
			took_head(t);
			break;
		case STEP_BODY:
			took_body(t, span);
			break;
		case STEP_END:
			took_end(t);
			break;
		case STEP_MORE:
			deliver_flush(t);
			return;
		case STEP_BAD:
			transaction_lose_upstream(t, reader_why(t->from_upstream));
			break;
		}
	}
	if (!t->over && t->exchange.state != EX_TUNNEL)
		deliver_flush(t);
}

/* The kernel tells of a reset once. If a write was told, what the reader sees looks
 * like an end. */
bool upstream_ended_well(struct transaction *t)
{
	bool may_be_reset = t->send_failed && conn_is_plain(t->upstream);

	return !may_be_reset && reader_eof(t->from_upstream) == STEP_END;
}

static void took_eof(struct transaction *t)
{
	if (t->exchange.state == EX_ANSWER) {
		transaction_lose_upstream(t, WHY_DONE);
		return;
	}
	if (upstream_ended_well(t)) {
		t->response_whole = true;
		t->response_keep = false;
		deliver_end(t);
		if (!t->over)
			deliver_flush(t);
		return;
	}
	transaction_lose_upstream(t, t->heard ? WHY_RESPONSE_INCOMPLETE : WHY_UPSTREAM_CLOSED);
}

static bool make_room(struct transaction *t)
{
	uint32_t most = t->snapshot->limits.head + BUF_BLOCK;

	if (!buf_take(&t->up_in))
		return false;
	if (buf_room(&t->up_in).iov_len)
		return true;
	buf_compact(&t->up_in);
	return buf_room(&t->up_in).iov_len ||
	       (t->up_in.cap < most && buf_grow(&t->up_in, t->up_in.cap * 2));
}

static void renew_deadline(struct transaction *t)
{
	if (t->exchange.state == EX_STREAM)
		deadline_set(&t->worker->net.deadlines, &t->deadline, DEADLINE_MIDWAY);
}

static void readable(struct transaction *t)
{
	struct iovec room;
	size_t got;

	if (t->exchange.state == EX_STREAM && !lane_is_empty(&t->down) && !deliver_flush(t))
		return;			/* paused by deliver_flush */
	if (t->exchange.state == EX_STREAM && deliver_can_splice(t)) {
		deliver_splice(t);
		renew_deadline(t);
		return;
	}
	if (!make_room(t)) {
		transaction_lose_upstream(t, WHY_OUT_OF_MEMORY);
		return;
	}
	room = buf_room(&t->up_in);
	switch (conn_read(t->upstream, &room, 1, &got)) {
	case IO_DONE:
		t->heard = true;
		buf_filled(&t->up_in, got);
		renew_deadline(t);
		if (t->exchange.state == EX_ANSWER)	/* surplus behind the challenge */
			transaction_lose_upstream(t, WHY_DONE);
		else
			digest(t);
		break;
	case IO_EOF:
		took_eof(t);
		break;
	case IO_FAILED:
		transaction_lose_upstream(t, t->heard ? WHY_RESPONSE_INCOMPLETE :
							WHY_UPSTREAM_CLOSED);
		break;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		break;
	}
	if (!t->over && lane_is_empty(&t->down))
		buf_settle(&t->up_in);
}

void upstream_go_on(struct transaction *t)
{
	if (!t->upstream_waits || !t->upstream)
		return;
	t->upstream_waits = false;
	conn_resume(t->upstream);
	renew_deadline(t);
	if (buf_unread(&t->up_in).len)
		digest(t);
}

static void on_upstream(void *owner, struct conn *c, enum conn_event ev)
{
	struct transaction *t = owner;
	struct session *s = t->session;

	switch (ev) {
	case CONN_READABLE:
		readable(t);
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
