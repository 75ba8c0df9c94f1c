/* answer: what a transaction does about a 449 (449.md 2 and 3). Deciding is
 * challenge.h's; here the facts are gathered and the replay is prepared. */
#include "worker/transaction.h"

#include <stdio.h>
#include <stdlib.h>

#include "worker/recorder.h"

/* The request as the client sent it, but for its cookies once a challenge has set
 * some: a second challenge adds to those. */
static const struct request *asked(struct transaction *t)
{
	struct request *q;

	if (!t->cookie.at)
		return &t->request;
	q = arena_get(t->arena, sizeof *q);
	if (!q)
		return &t->request;
	*q = t->request;
	q->fields = (struct headers){ 0 };
	for (unsigned i = 0; i < t->request.fields.count; i++) {
		const struct header *h = &t->request.fields.at[i];

		if (!h->dropped && h->id != HEADER_COOKIE)
			headers_add(&q->fields, t->arena, h->name, h->value);
	}
	headers_add(&q->fields, t->arena, STR("Cookie"), t->cookie);
	return q;
}

/* A login that belongs to the connection, and no other that goes with each
 * request: only then is the replay tied to this very connection. */
static bool is_tied(const struct transaction *t)
{
	return t->logged_in && !headers_find(&t->request.fields, HEADER_AUTHORIZATION);
}

static struct challenge_facts facts_of(struct transaction *t)
{
	bool rewinds = !t->body || body_can_rewind(t->body);

	return (struct challenge_facts){
		.rule = t->rule,
		.request = asked(t),
		.response = &t->response,
		.replays = t->replays,
		.waited_ms = t->waited_ms,
		.random = (uint32_t)random(),
		.can_rewind = rewinds,
		.spool_failed = !rewinds && body_spool_failed(t->body),
		.connection_bound = is_tied(t),
		.breaker_open = learn_breaker_open(t->worker->learn, memory_origin(t), clock_ms()),
		.now = clock_wall(),
	};
}

static void tell_counters(struct transaction *t)
{
	struct counters *c = &t->worker->counters;

	counter_add(&c->family[t->plan.family], 1);
	if (t->plan.unanswered == UNANSWERED_NO_HEADER)
		count(t->worker, COUNT_CHALLENGE_BARE);
	if (t->plan.unanswered == UNANSWERED_BAD_HEADER ||
	    t->plan.unanswered == UNANSWERED_LONG_HEADER)
		count(t->worker, COUNT_CHALLENGE_UNUSABLE);
	if (headers_find(&t->request.fields, HEADER_MS_ECHO_REPLY) || t->answer.echoed.at ||
	    t->sticky || t->learned)
		count(t->worker, COUNT_CHALLENGE_AFTER_ECHO);
}

/* The detail is for our own 502. */
void answer_none(struct transaction *t, enum unanswered u)
{
	t->unanswered = u;
	counter_add(&t->worker->counters.unanswered[u], 1);
	if (!*t->detail)
		snprintf(t->detail, sizeof t->detail, "unanswered=%s (%s)", unanswered_word(u),
			 unanswered_text(u));
}

/* Unless a rule wants to read the body, all that the answer is made of has come
 * with the head: so a value that is missing is missed before anything is swallowed. */
static enum unanswered make_answer(struct transaction *t, const struct challenge_facts *f,
				   struct str body)
{
	struct challenge_answer a;
	enum unanswered u = challenge_answer(f, &t->plan, body, t->https, t->arena, &a);

	if (u == UNANSWERED_NONE)
		t->answer = a;
	return u;
}

/* What else only the edge can know. */
static enum unanswered object(struct transaction *t, const struct challenge_facts *f, bool early)
{
	enum unanswered u = t->plan.unanswered;
	struct challenge_answer before = t->answer;

	if (u != UNANSWERED_NONE && u != UNANSWERED_OBSERVE)
		return u;
	if (t->plan.same_connection && early)
		return UNANSWERED_AUTH_BOUND;
	if (!t->exchange.replays_left)
		return UNANSWERED_AGAIN;
	if (!t->plan.wants_body && make_answer(t, f, STR_NONE) != UNANSWERED_NONE)
		return UNANSWERED_NO_VALUE;
	if (u == UNANSWERED_OBSERVE)
		t->answer = before;
	return u;
}

static bool is_empty(const struct response *p)
{
	return p->framing == FRAMING_NONE || (p->framing == FRAMING_LENGTH && !p->length);
}

/* A 449 has come: sets what the score wants to know of it. */
void answer_judge(struct transaction *t, struct exchange_fact *fact)
{
	struct challenge_facts f = facts_of(t);
	bool early = !t->exchange.request_sent;

	challenge_judge(&f, &t->plan);
	tell_counters(t);
	t->plan.unanswered = object(t, &f, early);
	if (!t->challenges++)
		t->family = t->plan.family;
	if (t->replays) {
		t->replays_heard++;
		count(t->worker, COUNT_REPLAYS_AGAIN);
	}
	t->unanswered = t->plan.unanswered;
	t->saved_body = NULL;
	t->saved_whole = is_empty(&t->response);
	fact->challenge = t->unanswered == UNANSWERED_NONE;
	fact->bound = t->plan.same_connection;
	fact->drop = early && !t->plan.wants_body;
	if (fact->challenge)
		return;
	answer_none(t, t->unanswered);
	if (t->unanswered != UNANSWERED_OBSERVE &&
	    t->snapshot->config->on_unanswered == UNANSWERED_502) {
		fact->event = GAVE_UP;
		t->why = WHY_UNANSWERED;
	}
}

/* -- swallowing the challenge, keeping it aside ------------------------------------- */

void answer_drain(struct transaction *t)
{
	/* drained_too_much() is the limit: what may come to the client is all kept. */
	struct body_limits limits = { .memory = SIZE_MAX, .record = UINT64_MAX };

	t->saved = t->response;		/* a login's connection may be lost while it is read */
	t->saved_body = body_new(t->arena, &limits, t->worker->spool);
}

/* Longer than drain-limit. The answer does not need the rest, and takes a fresh
 * connection; where it does need it, or needs this connection, there is none, and
 * the client gets the challenge: what was kept aside, then what still comes. */
static void drained_too_much(struct transaction *t)
{
	if (t->plan.same_connection)
		answer_none(t, UNANSWERED_AUTH_BOUND);
	else if (t->plan.wants_body)
		answer_none(t, UNANSWERED_NO_VALUE);
	if (t->unanswered == UNANSWERED_NONE) {
		transaction_lose_upstream(t, WHY_DONE);
	} else if (t->snapshot->config->on_unanswered == UNANSWERED_502) {
		transaction_fail(t, WHY_UNANSWERED);
	} else {
		t->saved = t->response;
		t->saved_waits = true;
		t->saved_span = 0;
		POST(t, .event = NO_ANSWER);
	}
}

void answer_drained(struct transaction *t, struct str span)
{
	struct body *b = t->saved_body;

	if (!b || body_append(b, span) != span.len)
		transaction_lose_upstream(t, WHY_DONE);
	else if (body_length(b) > t->rule->drain_limit)
		drained_too_much(t);
}

/* The challenge's body in one piece, for a rule that reads it. */
static struct str saved_text(struct transaction *t)
{
	struct body_span span;
	size_t n;
	char *at, *to;

	if (!t->plan.wants_body || !t->saved_body || !t->saved_whole)
		return STR_NONE;
	n = (size_t)body_length(t->saved_body);
	at = to = arena_get(t->arena, n ? n : 1);
	if (!at)
		return STR_NONE;
	for (body_next(t->saved_body, &span); span.len && span.fd < 0;
	     body_next(t->saved_body, &span)) {
		for (int i = 0; i < span.n; i++) {
			memcpy(to, span.v[i].iov_base, span.v[i].iov_len);
			to += span.v[i].iov_len;
		}
		body_taken(t->saved_body, span.len);
	}
	body_rewind(t->saved_body);
	return (struct str){ at, (size_t)(to - at) };
}

/* -- the replay's fields -------------------------------------------------------------- */

static bool carries(struct header *add, unsigned n, struct str name)
{
	for (unsigned i = 0; i < n; i++)
		if (str_eq_nocase(add[i].name, name))
			return true;
	return false;
}

/* The replay's additions: the rule's constant ones, then the answer's. */
static bool prepare_fields(struct transaction *t)
{
	struct challenge_answer *a = &t->answer;
	struct header *always, *all;
	unsigned always_n, n = 0;

	if (!challenge_always(t->rule, t->arena, &always, &always_n))
		return false;
	all = arena_get(t->arena, (always_n + a->n + 2) * sizeof *all);
	if (!all)
		return false;
	for (unsigned i = 0; i < always_n; i++)
		if (!carries(a->add, a->n, always[i].name))
			all[n++] = always[i];
	for (unsigned i = 0; i < a->n; i++)
		all[n++] = a->add[i];
	if (t->cookie.len)
		all[n++] = (struct header){ .name = STR("Cookie"), .value = t->cookie,
					    .id = HEADER_COOKIE };
	t->add = all;
	t->add_n = n;
	return true;
}

/* Cookies that challenges set reach the client ahead of the final response's own,
 * and so does the token by which the server proves itself (RFC 4559 4.2). */
static bool carry(struct transaction *t)
{
	const struct headers *from = &t->response.fields;
	const struct header *h = NULL;
	bool ok = true;

	while ((h = headers_next(from, HEADER_SET_COOKIE, h)))
		ok = ok && headers_add(&t->carried, t->arena, h->name, h->value);
	for (h = NULL; (h = headers_next(from, HEADER_WWW_AUTHENTICATE, h));)
		if (t->plan.without_authorization && bound_is_token(h->value))
			ok = ok && headers_add(&t->carried, t->arena, h->name, h->value);
	return ok;
}

static void give_none(struct transaction *t, enum unanswered u)
{
	answer_none(t, u);
	t->why = WHY_UNANSWERED;
	POST(t, .event = NO_ANSWER, .kept = t->saved_whole);
}

static void waited(struct transaction *t)
{
	POST(t, .event = GOT_ANSWER);
}

static bool prepare(struct transaction *t)
{
	if (t->answer.merged_cookie)
		t->cookie = t->answer.cookie.len ? t->answer.cookie : STR("");
	t->saved = t->response;
	return carry(t) && prepare_fields(t);
}

void answer_ask(struct transaction *t)
{
	struct challenge_facts f = facts_of(t);
	enum unanswered u = UNANSWERED_NONE;

	if (!f.can_rewind)		/* not any more: it went on while we read */
		u = f.spool_failed ? UNANSWERED_SPOOL_FAILED : UNANSWERED_BODY_TOO_LARGE;
	else if (t->plan.wants_body)
		u = make_answer(t, &f, saved_text(t));
	if (u == UNANSWERED_NONE && !prepare(t))
		u = UNANSWERED_NO_VALUE;
	if (u != UNANSWERED_NONE) {
		t->saved = t->response;
		give_none(t, u);
		return;
	}
	t->expecting = t->holding = false;
	t->replays++;
	count(t->worker, COUNT_REPLAYS);
	memory_challenged(t);
	if (!t->plan.delay_ms) {
		POST(t, .event = GOT_ANSWER);
		return;
	}
	t->waited_ms += t->plan.delay_ms;
	if (!transaction_wake(t, t->plan.delay_ms, waited))
		give_none(t, UNANSWERED_TOO_LATE);
}

/* -- at the end ---------------------------------------------------------------------- */

/* Of the 449s, the first one came before any replay; the others came of one. */
void answer_account(struct transaction *t)
{
	struct counters *c = &t->worker->counters;
	struct origin_cost cost = {
		.challenged = 1,
		.replays = t->replays,
		.final = t->replays_heard - (t->challenges - 1),
		.again = t->challenges - 1,
		.lost = t->replays - t->replays_heard,
		.unanswered = t->unanswered != UNANSWERED_NONE,
		.octets = t->replay_octets,
		.seen = (uint64_t)clock_wall(),
	};

	if (t->replays) {
		cost.added_ms = attempt_now(t)->started_ms - t->started_ms;
		counters_took(&c->added, cost.added_ms);
		counter_add(&c->n[COUNT_REPLAYS_LOST], cost.lost);
	}
	origins_note(&t->worker->origins, memory_origin(t), &cost);
}

/* -- the flight recorder ----------------------------------------------------------------- */

/* The heads that are still held: the last challenge's, and the last of all. */
static const struct response *response_of(const struct transaction *t, unsigned i)
{
	if (i + 1 == t->attempts_n)
		return t->response.status ? &t->response : NULL;
	if (i + 2 == t->attempts_n && t->attempts[i].status == t->saved.status)
		return t->saved.status ? &t->saved : NULL;
	return NULL;
}

void answer_record(struct transaction *t)
{
	struct recorder_attempt attempts[ATTEMPTS_MOST];
	char who[64];
	struct recorder_facts f;

	if (!recorder_wants(t->worker->recorder, clock_ms()))
		return;
	f = (struct recorder_facts){
		.at = clock_wall(),
		.ms = (uint32_t)(clock_ms() - t->started_ms),
		.client = session_who(t->session, who),
		.url = arena_print(t->arena, "%.*s%.*s", STR_FMT(memory_origin(t)),
				   STR_FMT(t->target)),
		.with_query = t->snapshot->config->log_query,
		.status = t->status,
		.request = &t->request,
		.rule = t->rule,
		.family = t->family,
		.unanswered = t->unanswered,
		.replays = t->replays,
		.attempts = attempts,
		.attempts_n = t->attempts_n,
	};
	for (unsigned i = 0; i < t->attempts_n; i++) {
		const struct attempt *a = &t->attempts[i];

		attempts[i] = (struct recorder_attempt){
			.status = a->status, .ms = (uint32_t)a->head_ms,
			.body_octets = a->body_octets, .reused = a->reused,
			.add = a->add, .add_n = a->add_n, .response = response_of(t, i),
		};
	}
	recorder_note(t->worker->recorder, &f);
}
