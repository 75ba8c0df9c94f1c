/* memory: how a transaction uses what the worker remembers (learn.h): sticky
 * echoes, learned values, Expect-first, and the circuit breaker. */
#include "worker/transaction.h"

enum { STICKY_MS = 60 * 1000, STICKY_ELSEWHERE_MS = 10 * 1000, EXPECT_WAIT_MS = 1000 };

/* scheme://host:port, made when first asked for: most requests never do. */
struct str memory_origin(struct transaction *t)
{
	char room[STR_NUMBER_ROOM];

	if (!t->origin.len)
		t->origin = arena_join(t->arena, 4, (const struct str[]){
			t->https ? STR("https://") : STR("http://"), t->key.host,
			STR(":"), str_number(room, t->key.port) });
	return t->origin;
}

static struct str full_url(struct transaction *t)
{
	return arena_join(t->arena, 2, (const struct str[]){ memory_origin(t), t->target });
}

/* A client that closes its connection after the 401 is found again by address
 * and User-Agent. */
static struct str elsewhere_key(struct transaction *t)
{
	const struct header *agent = headers_find(&t->request.fields, HEADER_USER_AGENT);
	char room[64];
	struct str address = session_address(t->session, room);

	return arena_print(t->arena, "%.*s %.*s", STR_FMT(address),
			   STR_FMT(agent ? agent->value : STR("")));
}

static struct str session_key(struct arena *a, uint64_t id)
{
	return arena_print(a, "#%llu", (unsigned long long)id);
}

static struct str client_key(struct transaction *t)
{
	struct str key = elsewhere_key(t), address, agent;

	return str_cut(key, ' ', &address, &agent) ? address : key;
}

/* -- sticky echoes ------------------------------------------------------------------- */

/* One entry holds the value, under the session; another, under address and
 * User-Agent, says which session that was and until when it may be asked for: so
 * the value has one use, whichever way it is found. */

static bool is_alive(const struct worker *w, uint64_t id)
{
	const struct session *s = w->sessions;

	while (s && s->id != id)
		s = s->next;
	return s != NULL;
}

static void point_to(struct transaction *t, struct str url, uint64_t id, uint64_t until_ms)
{
	uint64_t now = clock_ms();
	struct str where = arena_print(t->arena, "%llu %llu", (unsigned long long)id,
				       (unsigned long long)until_ms);

	if (until_ms > now)
		learn_stick(t->worker->learn, elsewhere_key(t), t->request.method, url, where,
			    (uint32_t)(until_ms - now), now);
}

/* Authentication and echo each need a round of their own: the client's next try,
 * with fresh credentials, carries the echo from the start. */
static void stick(struct transaction *t)
{
	struct str url = full_url(t);

	learn_stick(t->worker->learn, session_key(t->arena, t->session->id), t->request.method,
		    url, t->answer.echoed, STICKY_MS, clock_ms());
	point_to(t, url, t->session->id, clock_ms() + STICKY_ELSEWHERE_MS);
}

/* Of a client that has closed its connection after the 401. While that is open, its
 * echo is for nobody else, even of the same address and User-Agent. */
static struct str unstick_elsewhere(struct transaction *t, struct str url)
{
	struct learn *l = t->worker->learn;
	struct str where = learn_unstick(l, elsewhere_key(t), t->request.method, url, clock_ms());
	struct str id_text, until_text;
	uint64_t id, until_ms;

	if (!str_cut(where, ' ', &id_text, &until_text) || !str_to_u64(id_text, &id) ||
	    !str_to_u64(until_text, &until_ms))
		return STR_NONE;
	if (is_alive(t->worker, id)) {
		point_to(t, url, id, until_ms);
		return STR_NONE;
	}
	return learn_unstick(l, session_key(t->arena, id), t->request.method, url, clock_ms());
}

static struct str unstick(struct transaction *t)
{
	struct learn *l = t->worker->learn;
	struct str url, value;

	if (!learn_sticks(l))
		return STR_NONE;
	url = full_url(t);
	value = learn_unstick(l, session_key(t->arena, t->session->id), t->request.method, url,
			      clock_ms());
	if (!value.at)
		value = unstick_elsewhere(t, url);
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

/* -- asking before a large body is sent --------------------------------------------- */

/* Towards an origin that challenges: so that a 449 does not cost an upload. Not on a
 * connection that carries a login: there the early 449 could not be answered. */
static bool may_expect(struct transaction *t)
{
	const struct request *q = &t->request;
	struct learn *l = t->worker->learn;

	return q->framing == FRAMING_LENGTH && q->length >= t->rule->expect_threshold &&
	       t->rule->mode == MODE_ANSWER && q->minor != 0 && !t->bound &&
	       !t->session->bound && !headers_find(&q->fields, HEADER_EXPECT) &&
	       learn_entries(l) &&
	       learn_is_challenger(l, memory_origin(t), t->target, clock_ms()) &&
	       learn_may_expect(l, memory_origin(t), clock_ms());
}

static void waited_enough(struct transaction *t)
{
	learn_no_expect(t->worker->learn, memory_origin(t), clock_ms());
	upstream_release(t);
}

static void hold_body(struct transaction *t)
{
	t->expecting = t->holding = true;
	count(t->worker, COUNT_EXPECTED);
}

/* The head is out: the silence counts from here. False: the body must not wait. */
bool memory_held(struct transaction *t)
{
	if (t->wake == waited_enough || transaction_wake(t, EXPECT_WAIT_MS, waited_enough))
		return true;
	t->holding = false;
	return false;
}

/* 417 to our own Expect: the client, who knows of none, cannot answer it. */
static bool is_refused(const struct transaction *t)
{
	return t->response.status == 417 && t->expecting && t->exchange.retries_left &&
	       (!t->body || body_can_rewind(t->body));
}

static void expect_no_more(struct transaction *t)
{
	learn_no_expect(t->worker->learn, memory_origin(t), clock_ms());
	t->expecting = t->holding = false;
	t->add_n--;			/* Expect is the last of them */
}

/* -- what goes with a first attempt --------------------------------------------------- */

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
	if (!expect)
		return;
	add(t, STR("Expect"), STR("100-continue"));
	hold_body(t);
}

/* -- what responses teach ------------------------------------------------------------- */

/* That it challenges; and, where it was sent a learned value, that this one is no
 * longer what it wants. */
void memory_challenged(struct transaction *t)
{
	struct learn *l = t->worker->learn;

	learn_challenged(l, memory_origin(t), t->target, clock_ms());
	if (t->learned)
		learn_value_refused(l, client_key(t), memory_origin(t), t->request.method,
				    t->target);
	t->learned = false;
}

static void remember_value(struct transaction *t)
{
	struct learn *l = t->worker->learn;
	uint16_t status = t->response.status;

	if (t->learned && status >= 400 && status < 500)
		learn_value_refused(l, client_key(t), memory_origin(t), t->request.method,
				    t->target);
	else if (t->rule->learn && t->replays && t->answer.echoed.at && status < 400)
		learn_value_accepted(l, client_key(t), memory_origin(t), t->request.method,
				     t->target, t->answer.echoed, t->rule->learn_ttl_ms,
				     clock_ms());
}

static void after_replay(struct transaction *t)
{
	bool again = t->response.status == 449;

	if (!again) {			/* answer_judge() has counted that one */
		t->replays_heard++;
		count(t->worker, COUNT_REPLAYS_FINAL);
	}
	if (learn_replay_result(t->worker->learn, memory_origin(t), again, clock_ms()))
		count(t->worker, COUNT_BREAKER_TRIPS);
	if (t->response.status == 401 && t->answer.echoed.at)
		stick(t);
}

bool memory_seen(struct transaction *t)
{
	if (is_refused(t)) {
		expect_no_more(t);
		return false;
	}
	if (t->replays)
		after_replay(t);
	else if (t->expecting && t->response.status < 400)
		learn_not_challenged(t->worker->learn, memory_origin(t), t->target, clock_ms());
	if (t->rule->learn)
		remember_value(t);
	return true;
}
