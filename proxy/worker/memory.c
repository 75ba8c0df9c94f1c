/* memory: how a transaction uses what the worker remembers (learn.h): sticky
 * echoes, learned values, Expect-first, and the circuit breaker. */
#include "worker/transaction.h"

#include <stdio.h>

#include <event2/event.h>

enum { STICKY_MS = 60 * 1000, STICKY_ELSEWHERE_MS = 10 * 1000, EXPECT_WAIT_MS = 1000 };

/* scheme://host:port, made when first asked for: most requests never do. */
struct str memory_origin(struct transaction *t)
{
	if (!t->origin.len)
		t->origin = arena_print(t->arena, "%s://%.*s:%u", t->https ? "https" : "http",
					STR_FMT(t->key.host), t->key.port);
	return t->origin;
}

static struct str full_url(struct transaction *t)
{
	return arena_print(t->arena, "%.*s%.*s", STR_FMT(memory_origin(t)), STR_FMT(t->target));
}

/* A client that closes its connection after the 401 is found again by address
 * and User-Agent. */
static struct str elsewhere_key(struct transaction *t)
{
	const struct header *agent = headers_find(&t->request.fields, HEADER_USER_AGENT);
	char who[64];
	struct str w = session_who(t->session, who), address = w, port;

	if (w.len && w.at[0] != '[')
		str_cut(w, ':', &address, &port);
	else
		str_cut(w, ']', &address, &port);
	return arena_print(t->arena, "%.*s %.*s", STR_FMT(address),
			   STR_FMT(agent ? agent->value : STR("")));
}

static struct str session_key(struct transaction *t)
{
	return arena_print(t->arena, "#%llu", (unsigned long long)t->session->id);
}

static struct str client_key(struct transaction *t)
{
	struct str key = elsewhere_key(t), address, agent;

	return str_cut(key, ' ', &address, &agent) ? address : key;
}

static struct str unstick(struct transaction *t)
{
	struct learn *l = t->worker->learn;
	struct str url, value;

	if (!learn_entries(l))
		return STR_NONE;
	url = full_url(t);
	value = learn_unstick(l, session_key(t), t->request.method, url, clock_ms());
	if (!value.at)
		value = learn_unstick(l, elsewhere_key(t), t->request.method, url, clock_ms());
	if (!value.at)
		return value;
	t->sticky = true;
	count(t->worker, COUNT_STICKY);
	return value.len ? arena_keep(t->arena, value) : STR("");
}

static struct str learned(struct transaction *t)
{
	struct str value = STR_NONE;

	if (!t->rule->learn)
		return value;
	value = learn_value(t->worker->learn, client_key(t), memory_origin(t),
			    t->request.method, t->target, clock_ms());
	if (!value.at)
		return value;
	t->learned = true;
	count(t->worker, COUNT_LEARNED);
	return value.len ? arena_keep(t->arena, value) : STR("");
}

/* A large body towards an origin that challenges: ask first, so that a 449 does
 * not cost an upload. */
static bool may_expect(struct transaction *t)
{
	const struct request *q = &t->request;
	struct learn *l = t->worker->learn;

	return q->framing == FRAMING_LENGTH && q->length >= t->rule->expect_threshold &&
	       q->minor == 1 && !headers_find(&q->fields, HEADER_EXPECT) &&
	       learn_entries(l) &&
	       learn_is_challenger(l, memory_origin(t), t->target, clock_ms()) &&
	       learn_may_expect(l, memory_origin(t), clock_ms());
}

static void waited_enough(evutil_socket_t fd, short what, void *arg)
{
	struct transaction *t = arg;
	struct session *s = t->session;

	learn_no_expect(t->worker->learn, memory_origin(t), clock_ms());
	upstream_release(t);
	session_settle(s);
}

static bool hold_body(struct transaction *t)
{
	struct timeval tv = { EXPECT_WAIT_MS / 1000, 0 };

	if (!t->delay)
		t->delay = evtimer_new(t->worker->base, waited_enough, t);
	else
		event_assign(t->delay, t->worker->base, -1, 0, waited_enough, t);
	if (!t->delay || evtimer_add(t->delay, &tv) != 0)
		return false;
	t->expecting = t->holding = true;
	count(t->worker, COUNT_EXPECTED);
	return true;
}

static void add(struct transaction *t, struct str name, struct str value)
{
	t->add[t->add_n++] = (struct header){ .name = name, .value = value,
					      .id = header_lookup(name) };
}

void memory_first(struct transaction *t)
{
	bool own_echo = headers_find(&t->request.fields, HEADER_MS_ECHO_REPLY);
	bool expect = may_expect(t);
	struct header *always = NULL;
	unsigned always_n = 0;
	struct str echo = STR_NONE;

	if (!own_echo && t->rule->mode == MODE_ANSWER && (t->rule->answer & ANSWER_ECHO)) {
		echo = unstick(t);
		if (!echo.at)
			echo = learned(t);
	}
	if (t->rule->supply_n && t->rule->mode == MODE_ANSWER)
		challenge_always(t->rule, t->arena, &always, &always_n);
	if (!always_n && !echo.at && !expect)
		return;
	t->add = arena_get(t->arena, (always_n + 2) * sizeof *t->add);
	if (!t->add)
		return;
	for (unsigned i = 0; i < always_n; i++)
		add(t, always[i].name, always[i].value);
	if (echo.at)
		add(t, STR("Ms-Echo-Reply"), echo);
	if (expect && hold_body(t))
		add(t, STR("Expect"), STR("100-continue"));
}

/* -- what a final response teaches --------------------------------------------------- */

static void remember_value(struct transaction *t)
{
	struct learn *l = t->worker->learn;
	uint16_t status = t->response.status;

	if (t->learned && status >= 400)
		learn_value_refused(l, client_key(t), memory_origin(t), t->request.method,
				    t->target);
	else if (t->rule->learn && t->replays && t->answer.echoed.at && status < 400)
		learn_value_accepted(l, client_key(t), memory_origin(t), t->request.method,
				     t->target, t->answer.echoed, t->rule->learn_ttl_ms,
				     clock_ms());
}

/* Authentication and echo each need a round of their own: the client's next try,
 * with fresh credentials, carries the echo from the start. */
static void stick(struct transaction *t)
{
	struct learn *l = t->worker->learn;
	struct str url = full_url(t);

	learn_stick(l, session_key(t), t->request.method, url, t->answer.echoed, STICKY_MS,
		    clock_ms());
	learn_stick(l, elsewhere_key(t), t->request.method, url, t->answer.echoed,
		    STICKY_ELSEWHERE_MS, clock_ms());
}

static void after_replay(struct transaction *t)
{
	bool again = t->response.status == 449;

	count(t->worker, again ? COUNT_REPLAYS_AGAIN : COUNT_REPLAYS_FINAL);
	t->worker->counters.replay_ms += clock_ms() - attempt_now(t)->started_ms;
	if (learn_replay_result(t->worker->learn, memory_origin(t), again, clock_ms()))
		count(t->worker, COUNT_BREAKER_TRIPS);
	if (t->response.status == 401 && t->answer.echoed.at)
		stick(t);
}

bool memory_seen(struct transaction *t)
{
	if (t->response.status == 417 && t->holding) {
		learn_no_expect(t->worker->learn, memory_origin(t), clock_ms());
		t->expecting = t->holding = false;
		t->add_n--;		/* Expect is the last of them */
		return false;
	}
	if (t->replays)
		after_replay(t);
	else if (t->challenges == 0 && t->expecting)
		learn_not_challenged(t->worker->learn, memory_origin(t), t->target, clock_ms());
	if (t->rule->learn)
		remember_value(t);
	return true;
}
