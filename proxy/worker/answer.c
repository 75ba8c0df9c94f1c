/* answer: what a transaction does about a 449 (449.md 2 and 3). Deciding is
 * challenge.h's; here the facts are gathered and the replay is prepared. */
#include "worker/transaction.h"

#include <stdlib.h>

#include <event2/event.h>

#include "worker/recorder.h"

static struct challenge_facts facts_of(struct transaction *t)
{
	bool rewinds = !t->body || body_can_rewind(t->body);

	return (struct challenge_facts){
		.rule = t->rule,
		.request = &t->request,
		.response = &t->response,
		.replays = t->replays,
		.waited_ms = t->waited_ms,
		.random = (uint32_t)random(),
		.can_rewind = rewinds,
		.spool_failed = !rewinds && body_spool_failed(t->body),
		.connection_bound = t->bound,
		.breaker_open = learn_breaker_open(t->worker->learn, memory_origin(t), clock_ms()),
		.now = clock_wall(),
	};
}

static void tell_counters(struct transaction *t)
{
	struct counters *c = &t->worker->counters;

	c->family[t->plan.family]++;
	if (t->plan.unanswered != UNANSWERED_NONE)
		c->unanswered[t->plan.unanswered]++;
	if (t->plan.unanswered == UNANSWERED_NO_HEADER ||
	    t->plan.unanswered == UNANSWERED_BAD_HEADER ||
	    t->plan.unanswered == UNANSWERED_LONG_HEADER)
		count(t->worker, COUNT_CHALLENGE_BARE);
	if (t->plan.unanswered == UNANSWERED_AGAIN)
		count(t->worker, COUNT_CHALLENGE_AFTER_ECHO);
}

/* A 449 has come: sets what the score wants to know of it. */
void answer_judge(struct transaction *t, struct exchange_fact *fact)
{
	struct challenge_facts f = facts_of(t);
	bool early = !t->exchange.request_sent;

	challenge_judge(&f, &t->plan);
	if (t->plan.unanswered == UNANSWERED_NONE && t->plan.same_connection && early)
		t->plan.unanswered = UNANSWERED_AUTH_BOUND;
	if (t->plan.unanswered == UNANSWERED_NONE && !t->exchange.replays_left)
		t->plan.unanswered = UNANSWERED_AGAIN;
	if (!t->challenges++)
		t->family = t->plan.family;
	t->unanswered = t->plan.unanswered;
	tell_counters(t);
	fact->challenge = t->plan.unanswered == UNANSWERED_NONE;
	fact->bound = t->plan.same_connection;
	fact->drop = early && !t->plan.wants_body;
	if (!fact->challenge && t->plan.unanswered != UNANSWERED_OBSERVE &&
	    t->snapshot->config->on_unanswered == UNANSWERED_502) {
		fact->event = GAVE_UP;
		t->why = WHY_UNANSWERED;
	}
}

/* -- swallowing the challenge, keeping it aside ------------------------------------- */

void answer_drain(struct transaction *t)
{
	struct body_limits limits = { t->rule->drain_limit, t->rule->drain_limit };

	t->saved_body = body_new(t->arena, &limits, t->worker->spool);
	t->saved_whole = false;
}

bool answer_drained(struct transaction *t, struct str span)
{
	struct body *b = t->saved_body;

	if (!b || body_length(b) + span.len > t->rule->drain_limit)
		return false;
	return body_append(b, span) == span.len;
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

static void drop_named(struct headers *h, struct str name)
{
	enum header_id id = header_lookup(name);

	for (unsigned i = 0; i < h->count; i++)
		if (h->at[i].id == id && str_eq_nocase(h->at[i].name, name))
			h->at[i].dropped = true;
}

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
	if (a->merged_cookie && a->cookie.len)
		all[n++] = (struct header){ .name = STR("Cookie"), .value = a->cookie,
					    .id = HEADER_COOKIE };
	for (unsigned i = 0; i < n; i++)
		drop_named(&t->request.fields, all[i].name);
	if (a->merged_cookie)
		headers_drop(&t->request.fields, HEADER_COOKIE);
	if (t->plan.without_authorization)
		headers_drop(&t->request.fields, HEADER_AUTHORIZATION);
	t->add = all;
	t->add_n = n;
	return true;
}

static void waited(evutil_socket_t fd, short what, void *arg)
{
	struct transaction *t = arg;
	struct session *s = t->session;

	POST(t, .event = GOT_ANSWER);
	session_settle(s);
}

static bool wait_first(struct transaction *t)
{
	uint32_t ms = t->plan.delay_ms;
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	if (!t->delay)
		t->delay = evtimer_new(t->worker->base, waited, t);
	if (!t->delay)
		return false;
	t->waited_ms += ms;
	return evtimer_add(t->delay, &tv) == 0;
}

static void give_none(struct transaction *t, enum unanswered u)
{
	t->unanswered = u;
	t->worker->counters.unanswered[u]++;
	t->why = WHY_UNANSWERED;
	POST(t, .event = NO_ANSWER, .kept = t->saved_whole);
}

void answer_ask(struct transaction *t)
{
	struct challenge_facts f = facts_of(t);
	enum unanswered u;

	t->saved = t->response;
	f.response = &t->saved;
	u = challenge_answer(&f, &t->plan, saved_text(t), t->https, t->arena, &t->answer);
	if (u == UNANSWERED_NONE && !prepare_fields(t))
		u = UNANSWERED_NO_VALUE;
	if (u != UNANSWERED_NONE) {
		give_none(t, u);
		return;
	}
	t->replays++;
	t->expecting = t->holding = false;
	count(t->worker, COUNT_REPLAYS);
	learn_challenged(t->worker->learn, memory_origin(t), t->target, clock_ms());
	if (!t->plan.delay_ms)
		POST(t, .event = GOT_ANSWER);
	else if (!wait_first(t))
		give_none(t, UNANSWERED_TOO_LATE);
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
