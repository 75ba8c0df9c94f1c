/* challenge: a row for every reason, in the order of 449.md, and rows for what
 * an answer is made of. The last test sees that no reason was left out. */
#include "policy/challenge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ACTIVESYNC_PATH "/Microsoft-Server-ActiveSync"
#define NOTHING 0x80			/* as .answer: no family at all */
#define EQ "Ms-Echo-Request: token\n"

static bool reached[UNANSWERED_COUNT];

/* "Name: value\n" lines to fields */
static void fill(struct headers *h, struct arena *a, const char *text)
{
	struct str left = str_of(text ? text : ""), line, name, value;

	*h = (struct headers){ 0 };
	while (str_cut(left, '\n', &line, &left)) {
		assert_true(str_cut(line, ':', &name, &value));
		assert_true(headers_add(h, a, name, str_trim(value)));
	}
}

struct scene {
	struct rule rule;
	struct request request;
	struct response response;
	struct challenge_facts facts;
	struct challenge_plan plan;
};

static struct arena *arena;

static void setup_scene(struct scene *s, const char *asks, const char *says)
{
	memset(s, 0, sizeof(*s));
	s->rule = (struct rule){
		.answer = ANSWER_ECHO, .max_replays = 1, .retry_after_max_ms = 2000,
		.backoff = { .first_ms = 10, .factor = 2, .step_most_ms = 1000, .jitter_ms = 5,
			     .total_ms = 1000, .most = 3 },
	};
	s->request = (struct request){
		.method = STR("GET"), .kind = METHOD_GET, .minor = 1, .keep = true,
		.url = { .form = URL_ABSOLUTE, .scheme = SCHEME_HTTP, .host = STR("a.example"),
			 .port = 80, .authority = STR("a.example"), .path = STR("/x/y?z") },
		.host = STR("a.example"),
	};
	s->response = (struct response){ .status = 449, .minor = 1, .keep = true };
	fill(&s->request.fields, arena, asks);
	fill(&s->response.fields, arena, says);
	s->facts = (struct challenge_facts){
		.rule = &s->rule, .request = &s->request, .response = &s->response,
		.random = 13, .can_rewind = true, .now = 784111777,
	};
}

/* Sun, 06 Nov 1994 08:49:37 GMT is 784111777: "now" */

static struct supply from_header = { .name = { "X-Session", 9 }, .from = SUPPLY_HEADER,
				     .text = { "X-Session-Id", 12 } };
static struct supply from_body = { .name = { "X-Form", 6 }, .from = SUPPLY_POINTER,
				   .text = { "/t", 2 } };
static struct supply constant = { .name = { "X-Key", 5 }, .text = { "k", 1 }, .always = true };

static const struct row {
	const char *what, *asks, *says, *path;
	unsigned status, answer, replays;
	struct supply *supply;
	enum method_kind kind;
	enum rule_mode mode;
	uint32_t waited;
	bool no_replays, idempotent, lost, spool, bound, breaker, closes;

	enum family family;
	enum unanswered why;
	uint32_t delay;
	bool body, same, without;
} rows[] = {
#define IS(f, w) .family = FAMILY_##f, .why = UNANSWERED_##w
	/* families */
	{ "200", .says = EQ, .status = 200, IS(NONE, NONE) },
	{ "401", .says = EQ, .status = 401, .mode = MODE_OFF, IS(NONE, NONE) },
	{ "echo", .says = EQ, IS(ECHO, NONE) },
	{ "echo of nothing", .says = "Ms-Echo-Request:\n", IS(ECHO, NONE) },
	{ "echo, any case", .says = "mS-eCHO-rEQUEST: x\n", IS(ECHO, NONE) },
	{ "other", IS(OTHER, NO_HEADER) },
	{ "other, though a rule supplies constants", .answer = ANSWER_SUPPLY, .supply = &constant,
	  IS(OTHER, NO_HEADER) },
	{ "supply", .answer = ANSWER_SUPPLY, .supply = &from_header, IS(SUPPLY, NONE) },
	{ "supply, of the body", .answer = ANSWER_SUPPLY, .supply = &from_body, IS(SUPPLY, NONE),
	  .body = true },
	{ "supply without an entry", .answer = ANSWER_SUPPLY, IS(OTHER, NO_HEADER) },
	{ "supply not allowed", .answer = ANSWER_ECHO, .supply = &from_header,
	  IS(OTHER, NO_HEADER) },
	{ "supply alone, and an Ms-Echo-Request", .says = EQ, .answer = ANSWER_SUPPLY,
	  .supply = &from_header, IS(SUPPLY, NONE) },
	{ "both", .says = EQ, .answer = ANSWER_ECHO | ANSWER_SUPPLY, .supply = &from_body,
	  IS(ECHO, NONE), .body = true },
	{ "both, no Ms-Echo-Request", .answer = ANSWER_ECHO | ANSWER_SUPPLY,
	  .supply = &from_body, IS(SUPPLY, NONE), .body = true },
	{ "backoff", .answer = ANSWER_BACKOFF, IS(BACKOFF, NONE), .delay = 13 },
	{ "backoff gives way to supply", .answer = ANSWER_BACKOFF | ANSWER_SUPPLY,
	  .supply = &from_header, IS(SUPPLY, NONE) },
	{ "echo is not backoff", .says = EQ, .answer = ANSWER_BACKOFF, IS(ECHO, OFF) },

	/* 1: method, rule */
	{ "CONNECT", .says = EQ, .kind = METHOD_CONNECT, IS(ECHO, METHOD) },
	{ "TRACE", .says = EQ, .kind = METHOD_TRACE, .mode = MODE_OFF, IS(ECHO, METHOD) },
	{ "mode off", .says = EQ, .mode = MODE_OFF, IS(ECHO, OFF) },
	{ "nothing is answered", .says = EQ, .answer = NOTHING, IS(ECHO, OFF) },
	{ "nothing is answered, nothing asked", .answer = NOTHING, IS(OTHER, OFF) },
	{ "max-replays 0", .says = EQ, .no_replays = true, IS(ECHO, OFF) },
	{ "POST", .says = EQ, .kind = METHOD_POST, IS(ECHO, NONE) },
	{ "POST, literally", .says = EQ, .kind = METHOD_POST, .idempotent = true,
	  IS(ECHO, NOT_IDEMPOTENT) },
	{ "another method, literally", .says = EQ, .kind = METHOD_OTHER, .idempotent = true,
	  IS(ECHO, NOT_IDEMPOTENT) },
	{ "PUT, literally", .says = EQ, .kind = METHOD_PUT, .idempotent = true, IS(ECHO, NONE) },
	{ "PROPFIND, literally", .says = EQ, .kind = METHOD_IDEMPOTENT, .idempotent = true,
	  IS(ECHO, NONE) },

	/* 2: the client's own word */
	{ "client answers", .asks = "Ms-Echo-Reply: x\n", .says = EQ, IS(ECHO, CLIENT_ANSWERS) },
	{ "client answers nothing", .asks = "Ms-Echo-Reply:\n", .says = EQ, .replays = 9,
	  IS(ECHO, CLIENT_ANSWERS) },
	{ "client declines", .asks = "x-ms-noretry-449: true\n", .says = EQ,
	  IS(ECHO, CLIENT_DECLINES) },
	{ "client declines, empty", .asks = "x-ms-noretry-449:\n", .says = EQ,
	  IS(ECHO, CLIENT_DECLINES) },
	{ "client declines, second line", .says = EQ,
	  .asks = "x-ms-noretry-449: false\nx-ms-noretry-449: 1\n", IS(ECHO, CLIENT_DECLINES) },
	{ "client does not decline", .asks = "x-ms-noretry-449: False\n", .says = EQ,
	  IS(ECHO, NONE) },
	{ "client declines backoff", .asks = "x-ms-noretry-449: true\n",
	  .answer = ANSWER_BACKOFF, IS(BACKOFF, CLIENT_DECLINES) },

	/* 3: how often */
	{ "again", .says = EQ, .replays = 1, IS(ECHO, AGAIN) },
	{ "again, says one of us behind", .says = EQ "Proxy-Status: cdn; error=x, retrywith; "
	  "received-status=449; details=\"unanswered=again\"\n", IS(ECHO, AGAIN) },
	{ "not again, says one of us behind", .says = EQ "Proxy-Status: retrywith; "
	  "received-status=449; details=\"unanswered=body-too-large\"\n", IS(ECHO, NONE) },
	{ "again, without Ms-Echo-Request", .replays = 1, IS(OTHER, AGAIN) },
	{ "supply again", .answer = ANSWER_SUPPLY, .supply = &from_header, .replays = 1,
	  IS(SUPPLY, AGAIN) },
	{ "backoff, last", .answer = ANSWER_BACKOFF, .replays = 2, IS(BACKOFF, NONE),
	  .delay = 43 },
	{ "backoff, used up", .answer = ANSWER_BACKOFF, .replays = 3, IS(BACKOFF, AGAIN) },

	/* 4: usable */
	{ "activesync by response", .says = "MS-ASProtocolVersion: 14.0\n",
	  IS(ACTIVESYNC, ACTIVESYNC) },
	{ "activesync by request", .asks = "X-MS-PolicyKey: 0\n", IS(ACTIVESYNC, ACTIVESYNC) },
	{ "activesync by path", .path = ACTIVESYNC_PATH "?Cmd=Sync", IS(ACTIVESYNC, ACTIVESYNC) },
	{ "activesync by path, any case", .path = "/microsoft-server-activesync",
	  IS(ACTIVESYNC, ACTIVESYNC) },
	{ "activesync elsewhere in the path", .path = "/x" ACTIVESYNC_PATH, .says = EQ,
	  IS(ECHO, NONE) },
	{ "activesync wins over all", .path = ACTIVESYNC_PATH, .says = EQ, .supply = &from_header,
	  .answer = ANSWER_ECHO | ANSWER_SUPPLY | ANSWER_BACKOFF, IS(ACTIVESYNC, ACTIVESYNC) },
	{ "control octet", .says = "Ms-Echo-Request: a\x01z\n", IS(ECHO, BAD_HEADER) },
	{ "control octet, second line", .says = EQ "Ms-Echo-Request: a\rb\n",
	  IS(ECHO, BAD_HEADER) },
	{ "a control octet that is not echoed", .answer = ANSWER_SUPPLY, .supply = &from_header,
	  .says = "Ms-Echo-Request: a\x01z\n", IS(SUPPLY, NONE) },
	{ "substatus 0", .says = "x-ms-substatus: 0\n", .answer = ANSWER_BACKOFF,
	  IS(BACKOFF, NONE), .delay = 13 },
	{ "substatus 5352", .says = "x-ms-substatus: 5352\n", .answer = ANSWER_BACKOFF,
	  IS(BACKOFF, SUBSTATUS) },
	{ "substatus 1", .says = "x-ms-substatus: 1\n", .answer = ANSWER_BACKOFF,
	  IS(BACKOFF, SUBSTATUS) },
	{ "substatus, second line", .says = "x-ms-substatus: 0\nx-ms-substatus: 7\n",
	  .answer = ANSWER_BACKOFF, IS(BACKOFF, SUBSTATUS) },
	{ "substatus, no number", .says = "x-ms-substatus: none\n", .answer = ANSWER_BACKOFF,
	  IS(BACKOFF, SUBSTATUS) },
	{ "substatus is backoff's", .says = EQ "x-ms-substatus: 5352\n", IS(ECHO, NONE) },

	/* 5: the body */
	{ "body not recorded", .says = EQ, .lost = true, IS(ECHO, BODY_TOO_LARGE) },
	{ "body not recorded: spool", .says = EQ, .lost = true, .spool = true,
	  IS(ECHO, SPOOL_FAILED) },
	{ "spool failed, but not needed", .says = EQ, .spool = true, IS(ECHO, NONE) },

	/* 6: waiting; now is Sun, 06 Nov 1994 08:49:37 GMT */
#define AFTER(x) EQ "Retry-After: " x "\n"
	{ "at once", .says = AFTER("0"), IS(ECHO, NONE) },
	{ "1 s", .says = AFTER("1"), IS(ECHO, NONE), .delay = 1000 },
	{ "2 s", .says = AFTER("2"), IS(ECHO, NONE), .delay = 2000 },
	{ "3 s", .says = AFTER("3"), IS(ECHO, RETRY_AFTER) },
	{ "an empty one asks for nothing", .says = AFTER(""), IS(ECHO, NONE) },
	{ "the longer of two", .says = AFTER("1") "Retry-After: 3\n", IS(ECHO, RETRY_AFTER) },
	{ "2^32 s", .says = AFTER("4294967296"), IS(ECHO, RETRY_AFTER) },
	{ "2^64 s", .says = AFTER("18446744073709551616"), IS(ECHO, RETRY_AFTER) },
	{ "2^64 / 1000 s and some", .says = AFTER("18446744073709552"), IS(ECHO, RETRY_AFTER) },
	{ "date, past", .says = AFTER("Sun, 06 Nov 1994 08:49:36 GMT"), IS(ECHO, NONE) },
	{ "date, now", .says = AFTER("Sun, 06 Nov 1994 08:49:37 GMT"), IS(ECHO, NONE) },
	{ "date, soon", .says = AFTER("Sun, 06 Nov 1994 08:49:39 GMT"), IS(ECHO, NONE),
	  .delay = 2000 },
	{ "date, late", .says = AFTER("Sun, 06 Nov 1994 08:49:40 GMT"), IS(ECHO, RETRY_AFTER) },
	{ "date, very late", .says = AFTER("Fri, 31 Dec 9999 23:59:59 GMT"),
	  IS(ECHO, RETRY_AFTER) },
	{ "date of RFC 850", .says = AFTER("Sunday, 06-Nov-94 08:49:38 GMT"), IS(ECHO, NONE),
	  .delay = 1000 },
	{ "date of asctime", .says = AFTER("Sun Nov  6 08:49:38 1994"), IS(ECHO, NONE),
	  .delay = 1000 },
	{ "date and more", .says = AFTER("Sun, 06 Nov 1994 08:49:40 GMT x"), IS(ECHO, NONE) },
	{ "no date", .says = AFTER("soon"), IS(ECHO, NONE) },
	{ "negative", .says = AFTER("-5"), IS(ECHO, NONE) },
	{ "longer than any date", IS(ECHO, NONE),
	  .says = AFTER("Sun, 06 Nov 1994 08:49:40 GMT                                  x") },
	{ "x-ms-retry-after-ms is backoff's", .says = EQ "x-ms-retry-after-ms: 500\n",
	  IS(ECHO, NONE) },
#define MS(x) .answer = ANSWER_BACKOFF, .says = "x-ms-retry-after-ms: " x "\n"
	{ "told to wait", MS("250"), IS(BACKOFF, NONE), .delay = 250 },
	{ "told not to wait", MS("0"), IS(BACKOFF, NONE) },
	{ "told to wait for all there is", MS("1000"), IS(BACKOFF, NONE), .delay = 1000 },
	{ "told to wait for too long", MS("1001"), IS(BACKOFF, TOO_LATE) },
	{ "told to wait for ever", MS("99999999999999999999999"), IS(BACKOFF, TOO_LATE) },
	{ "told nonsense", MS("1.5"), IS(BACKOFF, NONE), .delay = 13 },
	{ "told twice: in ms, and rounded up", MS("20") "Retry-After: 5\n", IS(BACKOFF, NONE),
	  .delay = 20 },
	{ "backoff and Retry-After", .answer = ANSWER_BACKOFF, .says = "Retry-After: 1\n",
	  IS(BACKOFF, NONE), .delay = 1000 },
	{ "backoff and long Retry-After", .answer = ANSWER_BACKOFF, .says = "Retry-After: 3\n",
	  IS(BACKOFF, RETRY_AFTER) },
	{ "all but used up", .answer = ANSWER_BACKOFF, .waited = 987, IS(BACKOFF, NONE),
	  .delay = 13 },
	{ "used up", .answer = ANSWER_BACKOFF, .waited = 988, IS(BACKOFF, TOO_LATE) },
	{ "more than used up", .answer = ANSWER_BACKOFF, .waited = 1001, IS(BACKOFF, TOO_LATE) },
	{ "waiting is backoff's", .says = EQ, .waited = 5000, IS(ECHO, NONE) },

	/* 7: the login */
	{ "Basic", .asks = "Authorization: Basic eA==\n", .says = EQ, IS(ECHO, NONE) },
	{ "Digest", .asks = "Authorization: Digest nc=1\n", .says = EQ, .closes = true,
	  IS(ECHO, NONE) },
	{ "NTLM", .asks = "Authorization: NTLM TlRM\n", .says = EQ, .bound = true, IS(ECHO, NONE),
	  .same = true, .without = true },
	{ "negotiate, unpinned", .asks = "Authorization: negotiate YII=\n", .says = EQ,
	  IS(ECHO, NONE), .same = true, .without = true },
	{ "Negotiate without a token", .asks = "Authorization: Negotiate\n", .says = EQ,
	  IS(ECHO, NONE), .same = true, .without = true },
	{ "NTLMv3 is another scheme", .asks = "Authorization: NTLMv3 x\n", .says = EQ,
	  IS(ECHO, NONE) },
	{ "pinned, nothing said", .says = EQ, .bound = true, IS(ECHO, NONE), .same = true },
	{ "pinned, Basic", .asks = "Authorization: Basic eA==\n", .says = EQ, .bound = true,
	  IS(ECHO, NONE), .same = true },
	{ "pinned and closing", .says = EQ, .bound = true, .closes = true, IS(ECHO, AUTH_BOUND) },
	{ "NTLM and closing", .asks = "Authorization: NTLM TlRM\n", .says = EQ, .closes = true,
	  IS(ECHO, AUTH_BOUND) },
	{ "Persistent-Auth: false", .says = EQ "Persistent-Auth: False\n", .bound = true,
	  IS(ECHO, AUTH_BOUND) },
	{ "Persistent-Auth: true", .says = EQ "Persistent-Auth: true\n", .bound = true,
	  IS(ECHO, NONE), .same = true },
	{ "not pinned: Persistent-Auth says nothing", .says = EQ "Persistent-Auth: false\n",
	  IS(ECHO, NONE) },
	{ "closing", .says = EQ, .closes = true, IS(ECHO, NONE) },

	/* and then */
	{ "breaker", .says = EQ, .breaker = true, IS(ECHO, BREAKER) },
	{ "observe", .says = EQ, .mode = MODE_OBSERVE, IS(ECHO, OBSERVE) },
	{ "observe tells the true reason first", .says = EQ, .mode = MODE_OBSERVE,
	  .breaker = true, IS(ECHO, BREAKER) },
};

static bool row_holds(const struct row *r, const struct challenge_plan *p)
{
	return p->family == r->family && p->unanswered == r->why && p->delay_ms == r->delay &&
	       p->wants_body == r->body && p->same_connection == r->same &&
	       p->without_authorization == r->without;
}

static void judge_row(const struct row *r, struct scene *s)
{
	setup_scene(s, r->asks, r->says);
	s->rule.mode = r->mode;
	s->rule.answer = r->answer == NOTHING ? 0 : r->answer ? r->answer : ANSWER_ECHO;
	s->rule.supply = r->supply;
	s->rule.supply_n = r->supply ? 1 : 0;
	s->rule.max_replays = r->no_replays ? 0 : 1;
	s->rule.replay_idempotent_only = r->idempotent;
	/* METHOD_OTHER is 0, and GET in every row that does not look at it */
	s->request.kind = r->kind || r->idempotent ? r->kind : METHOD_GET;
	if (r->path)
		s->request.url.path = str_of(r->path);
	if (r->status)
		s->response.status = (uint16_t)r->status;
	s->response.keep = !r->closes;
	s->facts.replays = r->replays;
	s->facts.waited_ms = r->waited;
	s->facts.can_rewind = !r->lost;
	s->facts.spool_failed = r->spool;
	s->facts.connection_bound = r->bound;
	s->facts.breaker_open = r->breaker;
	challenge_judge(&s->facts, &s->plan);
}

static void test_judge(void **state)
{
	unsigned failed = 0;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct scene s;

		judge_row(&rows[i], &s);
		reached[s.plan.unanswered] = true;
		if (!row_holds(&rows[i], &s.plan)) {
			print_error("%s: %s/%s delay %u body %d same %d without %d\n", rows[i].what,
				    family_word(s.plan.family), unanswered_word(s.plan.unanswered),
				    s.plan.delay_ms, s.plan.wants_body, s.plan.same_connection,
				    s.plan.without_authorization);
			failed++;
		}
		arena_reset(arena);
	}
	assert_int_equal(failed, 0);
}

/* Each pair of neighbours in the order of 449.md 2: with both, the first one
 * is named. */
static void test_order(void **state)
{
	static const enum unanswered order[] = {
		UNANSWERED_METHOD, UNANSWERED_OFF, UNANSWERED_NOT_IDEMPOTENT,
		UNANSWERED_CLIENT_ANSWERS, UNANSWERED_CLIENT_DECLINES, UNANSWERED_AGAIN,
		UNANSWERED_BAD_HEADER, UNANSWERED_SPOOL_FAILED, UNANSWERED_BODY_TOO_LARGE,
		UNANSWERED_RETRY_AFTER, UNANSWERED_AUTH_BOUND, UNANSWERED_BREAKER,
		UNANSWERED_OBSERVE, UNANSWERED_NONE,
	};
	struct scene s;

	setup_scene(&s, "Ms-Echo-Reply: x\nx-ms-noretry-449: 1\n",
		    "Ms-Echo-Request: \x02\nRetry-After: 9\n");
	s.rule.mode = MODE_OFF;
	s.rule.replay_idempotent_only = true;
	s.request.kind = METHOD_TRACE;
	s.facts.replays = 1;
	s.facts.can_rewind = false;
	s.facts.spool_failed = s.facts.connection_bound = s.facts.breaker_open = true;
	s.response.keep = false;
	for (size_t i = 0; i < COUNT(order); i++) {
		challenge_judge(&s.facts, &s.plan);
		assert_string_equal(unanswered_word(s.plan.unanswered), unanswered_word(order[i]));
		switch ((int)order[i]) {	/* take this reason away */
		case UNANSWERED_METHOD: s.request.kind = METHOD_POST; break;
		case UNANSWERED_OFF: s.rule.mode = MODE_OBSERVE; break;
		case UNANSWERED_NOT_IDEMPOTENT: s.request.kind = METHOD_PUT; break;
		case UNANSWERED_CLIENT_ANSWERS:
			headers_drop(&s.request.fields, HEADER_MS_ECHO_REPLY); break;
		case UNANSWERED_CLIENT_DECLINES:
			headers_drop(&s.request.fields, HEADER_X_MS_NORETRY_449); break;
		case UNANSWERED_AGAIN: s.facts.replays = 0; break;
		case UNANSWERED_BAD_HEADER:
			fill(&s.response.fields, arena, EQ "Retry-After: 9\n"); break;
		case UNANSWERED_SPOOL_FAILED: s.facts.spool_failed = false; break;
		case UNANSWERED_BODY_TOO_LARGE: s.facts.can_rewind = true; break;
		case UNANSWERED_RETRY_AFTER:
			headers_drop(&s.response.fields, HEADER_RETRY_AFTER); break;
		case UNANSWERED_AUTH_BOUND: s.response.keep = true; break;
		case UNANSWERED_BREAKER: s.facts.breaker_open = false; break;
		case UNANSWERED_OBSERVE: s.rule.mode = MODE_ANSWER; break;
		}
	}
	arena_reset(arena);
}

/* Every octet: copied, or the reason to leave it. */
static void test_octets_of_an_echo(void **state)
{
	for (int c = 0; c < 256; c++) {
		bool fine = c == '\t' || (c >= 0x20 && c != 0x7f);
		char value[3] = { 'a', (char)c, 'z' };
		struct challenge_answer out;
		struct scene s;

		setup_scene(&s, NULL, NULL);
		headers_add(&s.response.fields, arena, STR("Ms-Echo-Request"),
			    (struct str){ value, 3 });
		challenge_judge(&s.facts, &s.plan);
		assert_int_equal(s.plan.unanswered, fine ? UNANSWERED_NONE : UNANSWERED_BAD_HEADER);
		/* and whoever asks in spite of it gets none */
		assert_int_equal(challenge_answer(&s.facts, &s.plan, STR_NONE, false, arena, &out),
				 fine ? UNANSWERED_NONE : UNANSWERED_NO_VALUE);
		if (fine) {
			assert_true(str_eq(out.echoed, (struct str){ value, 3 }));
			assert_int_equal(out.n, 1);
			assert_int_equal(out.add[0].id, HEADER_MS_ECHO_REPLY);
		}
		arena_reset(arena);
	}
}

/* lines of these lengths: long or not */
static void test_length_of_an_echo(void **state)
{
	static const struct {
		size_t first, second;		/* second 0: one line */
		bool fine;
	} cases[] = {
		{ 8192, 0, true }, { 8193, 0, false }, { 8189, 1, true }, { 8190, 1, false },
		{ 1, 8190, false }, { 60000, 60000, false },
	};
	static char text[60000];

	memset(text, 'e', sizeof(text));
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scene s;

		setup_scene(&s, NULL, NULL);
		headers_add(&s.response.fields, arena, STR("Ms-Echo-Request"),
			    (struct str){ text, cases[i].first });
		if (cases[i].second)
			headers_add(&s.response.fields, arena, STR("Ms-Echo-Request"),
				    (struct str){ text, cases[i].second });
		challenge_judge(&s.facts, &s.plan);
		reached[s.plan.unanswered] = true;
		assert_int_equal(s.plan.unanswered,
				 cases[i].fine ? UNANSWERED_NONE : UNANSWERED_LONG_HEADER);
		if (cases[i].fine) {
			struct challenge_answer out;

			assert_int_equal(challenge_answer(&s.facts, &s.plan, STR_NONE, false,
							  arena, &out), UNANSWERED_NONE);
			assert_int_equal(out.echoed.len, 8192);
		}
		arena_reset(arena);
	}
}

static void test_length_of_a_supply(void **state)
{
	static char text[8193];

	memset(text, 's', sizeof(text));
	for (size_t len = 8192; len <= 8193; len++) {
		struct challenge_answer out;
		struct scene s;

		setup_scene(&s, NULL, NULL);
		headers_add(&s.response.fields, arena, STR("X-Session-Id"),
			    (struct str){ text, len });
		s.rule.answer = ANSWER_SUPPLY;
		s.rule.supply = &from_header;
		s.rule.supply_n = 1;
		challenge_judge(&s.facts, &s.plan);
		assert_int_equal(challenge_answer(&s.facts, &s.plan, STR_NONE, false, arena, &out),
				 len == 8192 ? UNANSWERED_NONE : UNANSWERED_NO_VALUE);
		arena_reset(arena);
	}
}

static uint32_t seed = 449;

static uint32_t roll(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 3;
}

static uint32_t roll_size(void)
{
	return roll() % 4 == 0 ? UINT32_MAX - roll() % 3 : roll() >> roll() % 30;
}

static void test_backoff_stays_in_bounds(void **state)
{
	struct scene s;

	setup_scene(&s, NULL, NULL);
	s.rule.answer = ANSWER_BACKOFF;
	s.rule.backoff.most = 255;
	for (int i = 0; i < 100000; i++) {
		uint64_t first = s.rule.backoff.first_ms = roll_size();
		uint64_t factor = s.rule.backoff.factor = roll_size();
		uint64_t most = s.rule.backoff.step_most_ms = roll_size();
		uint64_t jitter = s.rule.backoff.jitter_ms = roll_size();
		uint64_t total = s.rule.backoff.total_ms = roll_size();
		uint64_t want = first;

		s.facts.random = roll_size();
		s.facts.replays = roll() % 255;
		s.facts.waited_ms = roll_size();
		challenge_judge(&s.facts, &s.plan);
		if (s.plan.unanswered == UNANSWERED_TOO_LATE)
			continue;
		assert_int_equal(s.plan.unanswered, UNANSWERED_NONE);
		/* the same sum in a way that cannot overflow, and stops when it is big */
		for (unsigned n = 0; factor > 1 && n < s.facts.replays && want < most; n++)
			want = want > UINT64_MAX / factor ? UINT64_MAX : want * factor;
		want = want < most ? want : most;
		assert_true(s.plan.delay_ms >= want);
		assert_true(s.plan.delay_ms <= want + (jitter ? jitter - 1 : 0));
		assert_true((uint64_t)s.plan.delay_ms + s.facts.waited_ms <= total);
	}
	arena_reset(arena);
}

static void test_backoff_by_default(void **state)
{
	static const uint32_t want[] = { 10, 20, 40, 80, 160, 320, 640, 1000, 1000 };
	struct scene s;

	setup_scene(&s, NULL, NULL);
	s.rule.answer = ANSWER_BACKOFF;
	s.rule.backoff.most = 20;
	s.rule.backoff.jitter_ms = 0;
	for (unsigned n = 0; n < COUNT(want); n++) {
		s.facts.replays = n;
		challenge_judge(&s.facts, &s.plan);
		assert_int_equal(s.plan.unanswered, UNANSWERED_NONE);
		assert_int_equal(s.plan.delay_ms, want[n]);
	}
	arena_reset(arena);
}

/* Answers */

#define HEADER_OF(n, t) { .name = { n, sizeof(n) - 1 }, .from = SUPPLY_HEADER, \
			  .text = { t, sizeof(t) - 1 } }
#define COOKIE_OF(n, t) { .name = { n, sizeof(n) - 1 }, .from = SUPPLY_COOKIE, \
			  .text = { t, sizeof(t) - 1 } }
#define POINTER_OF(n, t) { .name = { n, sizeof(n) - 1 }, .from = SUPPLY_POINTER, \
			   .text = { t, sizeof(t) - 1 } }
#define REGEX_OF(n, t) { .name = { n, sizeof(n) - 1 }, .from = SUPPLY_REGEX, \
			 .text = { t, sizeof(t) - 1 } }
#define FIXED(n, t) { .name = { n, sizeof(n) - 1 }, .text = { t, sizeof(t) - 1 } }

#define JSON "{\"missing\":{\"token\":\"t-1\",\"bad\":\"a\\nb\",\"blank\":\" b \",\"no\":null}}"

static const struct answer_row {
	const char *what, *says, *body;
	unsigned answer;
	struct supply supply[4];
	unsigned n;
	const char *want;		/* "Name: value\n" lines; NULL: NO_VALUE */
	const char *cookie;
} answers[] = {
	{ "echo", EQ, .want = "Ms-Echo-Reply: token\n" },
	{ "echo, empty", "Ms-Echo-Request:\n", .want = "Ms-Echo-Reply: \n" },
	{ "echo, no unquoting", "Ms-Echo-Request: \"a\\\"b\" , C\n",
	  .want = "Ms-Echo-Reply: \"a\\\"b\" , C\n" },
	{ "echo, several lines", "Ms-Echo-Request: a\nX: y\nMs-Echo-Request: b,c\n",
	  .want = "Ms-Echo-Reply: a, b,c\n" },
	{ "echo, first line empty", "Ms-Echo-Request:\nMs-Echo-Request: b\n",
	  .want = "Ms-Echo-Reply: , b\n" },
	{ "echo, last line empty", "Ms-Echo-Request: a\nMs-Echo-Request:\n",
	  .want = "Ms-Echo-Reply: a,\n" },
	{ "echo, tab and high octets", "Ms-Echo-Request: a\tb\x80\xff\n",
	  .want = "Ms-Echo-Reply: a\tb\x80\xff\n" },
	{ "echo and cookie", EQ "Set-Cookie: s=1\n", .want = "Ms-Echo-Reply: token\n",
	  .cookie = "s=1" },
	{ "backoff", NULL, .answer = ANSWER_BACKOFF, .want = "" },
	{ "backoff and cookie", "Set-Cookie: s=2\n", .answer = ANSWER_BACKOFF, .want = "",
	  .cookie = "s=2" },
	{ "supply, fixed", NULL, .answer = ANSWER_SUPPLY, .supply = { FIXED("X-A", "one") },
	  .n = 1, .want = "X-A: one\n" },
	{ "supply, fixed and wrong", NULL, .answer = ANSWER_SUPPLY,
	  .supply = { FIXED("X-A", "a\nb") }, .n = 1 },
	{ "supply, header", "X-Session-Id: s-7\n", .answer = ANSWER_SUPPLY,
	  .supply = { HEADER_OF("X-Session", "x-session-ID") }, .n = 1,
	  .want = "X-Session: s-7\n" },
	{ "supply, empty header", "X-Session-Id:\n", .answer = ANSWER_SUPPLY,
	  .supply = { HEADER_OF("X-Session", "X-Session-Id") }, .n = 1, .want = "X-Session: \n" },
	{ "supply, known header, joined", "Cache-Control: a\nCache-Control: b\n",
	  .answer = ANSWER_SUPPLY, .supply = { HEADER_OF("X-A", "Cache-Control") }, .n = 1,
	  .want = "X-A: a, b\n" },
	{ "supply, no header", "X-Other: s-7\n", .answer = ANSWER_SUPPLY,
	  .supply = { HEADER_OF("X-Session", "X-Session-Id") }, .n = 1 },
	{ "supply, bad header", "X-Session-Id: a\x01z\n", .answer = ANSWER_SUPPLY,
	  .supply = { HEADER_OF("X-Session", "X-Session-Id") }, .n = 1 },
	{ "supply, cookie", "Set-Cookie: a=1; Path=/\nSet-Cookie: csrf=xyz; HttpOnly\n",
	  .answer = ANSWER_SUPPLY, .supply = { COOKIE_OF("X-Csrf", "csrf") }, .n = 1,
	  .want = "X-Csrf: xyz\n", .cookie = "a=1; csrf=xyz" },
	{ "supply, no cookie", "Set-Cookie: a=1\n", .answer = ANSWER_SUPPLY,
	  .supply = { COOKIE_OF("X-Csrf", "csrf") }, .n = 1 },
	{ "supply, pointer", NULL, JSON, ANSWER_SUPPLY,
	  { POINTER_OF("X-Form", "/missing/token") }, .n = 1, .want = "X-Form: t-1\n" },
	{ "supply, pointer to blanks", NULL, JSON, ANSWER_SUPPLY,
	  { POINTER_OF("X-Form", "/missing/blank") }, .n = 1, .want = "X-Form: b\n" },
	{ "supply, pointer to an injection", NULL, JSON, ANSWER_SUPPLY,
	  { POINTER_OF("X-Form", "/missing/bad") }, .n = 1 },
	{ "supply, pointer to null", NULL, JSON, ANSWER_SUPPLY,
	  { POINTER_OF("X-Form", "/missing/no") }, .n = 1 },
	{ "supply, pointer into half a body", NULL, "{\"missing\":{\"token\":\"t-1\"",
	  ANSWER_SUPPLY, { POINTER_OF("X-Form", "/missing/token") }, .n = 1 },
	{ "supply, expression", NULL, "<input value='v-1'>", ANSWER_SUPPLY,
	  { REGEX_OF("X-Form", "value='([^']*)'") }, .n = 1, .want = "X-Form: v-1\n" },
	{ "supply, expression over lines", NULL, "<a\r\nb>", ANSWER_SUPPLY,
	  { REGEX_OF("X-Form", "<([^>]*)>") }, .n = 1 },
	{ "supply, no match", NULL, "<html>", ANSWER_SUPPLY,
	  { REGEX_OF("X-Form", "value='([^']*)'") }, .n = 1 },
	{ "supply, all of them", "X-Session-Id: s\n", JSON, ANSWER_SUPPLY,
	  { FIXED("X-A", "1"), HEADER_OF("X-B", "X-Session-Id"),
	    POINTER_OF("X-C", "/missing/token"), REGEX_OF("X-D", "t-\\d") }, .n = 4,
	  .want = "X-A: 1\nX-B: s\nX-C: t-1\nX-D: t-1\n" },
	{ "supply, one of them is missing", NULL, JSON, ANSWER_SUPPLY,
	  { FIXED("X-A", "1"), HEADER_OF("X-B", "X-Session-Id") }, .n = 2 },
	{ "both", EQ "X-Session-Id: s\n", NULL, ANSWER_ECHO | ANSWER_SUPPLY,
	  { HEADER_OF("X-B", "X-Session-Id") }, .n = 1, .want = "Ms-Echo-Reply: token\nX-B: s\n" },
	{ "both, but one is not there", EQ, NULL, ANSWER_ECHO | ANSWER_SUPPLY,
	  { HEADER_OF("X-B", "X-Session-Id"), FIXED("X-A", "1") }, .n = 2,
	  .want = "Ms-Echo-Reply: token\nX-A: 1\n" },
	{ "both, but one is wrong", EQ "X-Session-Id: a\x7f\n", NULL, ANSWER_ECHO | ANSWER_SUPPLY,
	  { HEADER_OF("X-B", "X-Session-Id") }, .n = 1 },
	{ "echo alone, though there is a supply", EQ "X-Session-Id: s\n", NULL, ANSWER_ECHO,
	  { HEADER_OF("X-B", "X-Session-Id") }, .n = 1, .want = "Ms-Echo-Reply: token\n" },
	{ "supply alone, though there is an echo", EQ "X-Session-Id: s\n", NULL, ANSWER_SUPPLY,
	  { HEADER_OF("X-B", "X-Session-Id") }, .n = 1, .want = "X-B: s\n" },
};

static struct str joined(const struct challenge_answer *out)
{
	struct str all = STR("");

	for (unsigned i = 0; i < out->n; i++) {
		const struct header *h = &out->add[i];

		assert_false(h->dropped);
		assert_int_equal(h->id, header_lookup(h->name));
		all = arena_print(arena, "%.*s%.*s: %.*s\n", STR_FMT(all), STR_FMT(h->name),
				  STR_FMT(h->value));
	}
	return all;
}

static void compile_all(struct supply *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		PCRE2_SIZE where;
		int error;

		if (s[i].from != SUPPLY_REGEX)
			continue;
		s[i].compiled = pcre2_compile((PCRE2_SPTR)s[i].text.at, s[i].text.len, 0, &error,
					      &where, NULL);
		assert_non_null(s[i].compiled);
	}
}

static void free_all(struct supply *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pcre2_code_free(s[i].compiled);
}

static bool answer_holds(const struct answer_row *r, enum unanswered why,
			 const struct challenge_answer *out)
{
	if (!r->want)
		return why == UNANSWERED_NO_VALUE;
	return why == UNANSWERED_NONE && str_eq(joined(out), str_of(r->want)) &&
	       out->merged_cookie == (r->cookie != NULL) &&
	       (!r->cookie || str_eq(out->cookie, str_of(r->cookie))) &&
	       (out->echoed.at != NULL) == (strstr(r->want, "Ms-Echo-Reply") != NULL);
}

static void test_answer(void **state)
{
	unsigned failed = 0;

	for (size_t i = 0; i < COUNT(answers); i++) {
		const struct answer_row *r = &answers[i];
		struct supply supply[4];
		struct challenge_answer out;
		struct scene s;
		enum unanswered why;

		memcpy(supply, r->supply, sizeof(supply));
		compile_all(supply, r->n);
		setup_scene(&s, NULL, r->says);
		s.rule.answer = r->answer ? r->answer : ANSWER_ECHO;
		s.rule.supply = supply;
		s.rule.supply_n = r->n;
		challenge_judge(&s.facts, &s.plan);
		assert_int_equal(s.plan.unanswered, UNANSWERED_NONE);
		if (r->body)
			assert_true(s.plan.wants_body || r->answer != ANSWER_SUPPLY || r->n > 1);
		why = challenge_answer(&s.facts, &s.plan, str_of(r->body), false, arena, &out);
		reached[why] = true;
		if (!answer_holds(r, why, &out)) {
			print_error("%s: %s\n%.*s(cookie %d) %.*s\n", r->what, unanswered_word(why),
				    STR_FMT(joined(&out)), out.merged_cookie, STR_FMT(out.cookie));
			failed++;
		}
		free_all(supply, r->n);
		arena_reset(arena);
	}
	assert_int_equal(failed, 0);
}

static void test_trailers_are_no_challenge(void **state)
{
	struct scene s;

	setup_scene(&s, NULL, NULL);
	fill(&s.response.trailers, arena, EQ);
	challenge_judge(&s.facts, &s.plan);
	assert_int_equal(s.plan.family, FAMILY_OTHER);
	assert_int_equal(s.plan.unanswered, UNANSWERED_NO_HEADER);
	arena_reset(arena);
}

static void test_secure_cookies_want_https(void **state)
{
	struct challenge_answer out;
	struct scene s;

	setup_scene(&s, NULL, EQ "Set-Cookie: s=1; Secure\n");
	challenge_judge(&s.facts, &s.plan);
	assert_int_equal(challenge_answer(&s.facts, &s.plan, STR_NONE, false, arena, &out),
			 UNANSWERED_NONE);
	assert_false(out.merged_cookie);
	assert_int_equal(challenge_answer(&s.facts, &s.plan, STR_NONE, true, arena, &out),
			 UNANSWERED_NONE);
	assert_true(out.merged_cookie);
	arena_reset(arena);
}

/* The phrase is not looked at: MS-WDV itself writes two, and none is legal. */
static void test_phrase(void **state)
{
	static const char *const phrases[] = { "", "Retry With", "Reply With",
					       "Retry after sending a PROVISION command" };

	for (size_t i = 0; i < COUNT(phrases); i++) {
		struct scene s;

		setup_scene(&s, NULL, EQ);
		s.response.reason = str_of(phrases[i]);
		challenge_judge(&s.facts, &s.plan);
		assert_int_equal(s.plan.family, FAMILY_ECHO);
		assert_int_equal(s.plan.unanswered, UNANSWERED_NONE);
		arena_reset(arena);
	}
}

static void test_full_arena(void **state)
{
	struct challenge_answer out;
	struct header *add;
	unsigned n;
	struct scene s;
	bool fits;

	setup_scene(&s, NULL, "Ms-Echo-Request: a\nMs-Echo-Request: b\n");
	s.rule.supply = &constant;
	s.rule.supply_n = 1;
	challenge_judge(&s.facts, &s.plan);
	for (size_t limit = 16; limit <= 256; limit += 16) {
		struct arena *small = arena_new(16, limit);
		enum unanswered why = challenge_answer(&s.facts, &s.plan, STR_NONE, false, small,
						       &out);

		assert_int_equal(why, arena_full(small) ? UNANSWERED_NO_VALUE : UNANSWERED_NONE);
		if (why == UNANSWERED_NONE)
			assert_true(str_eq(out.echoed, STR("a, b")));
		arena_free(small);
		small = arena_new(16, limit);
		fits = challenge_always(&s.rule, small, &add, &n);
		assert_int_equal(fits, !arena_full(small));
		arena_free(small);
	}
	arena_reset(arena);
}

static void test_always(void **state)
{
	struct supply supply[] = {
		FIXED("X-Not-Always", "1"), FIXED("X-A", "one"),
		HEADER_OF("X-B", "X-Session-Id"), FIXED("X-Wrong", "a\r\nb: c"), FIXED("X-C", ""),
	};
	struct challenge_answer out;
	struct header *add;
	struct scene s;
	unsigned n;

	for (int i = 1; i < 5; i++)
		supply[i].always = true;
	setup_scene(&s, NULL, "X-Session-Id: s\n");
	assert_true(challenge_always(&s.rule, arena, &add, &n));
	assert_int_equal(n, 0);
	s.rule.supply = supply;
	s.rule.supply_n = 5;
	s.rule.answer = ANSWER_SUPPLY;
	assert_true(challenge_always(&s.rule, arena, &add, &n));
	out = (struct challenge_answer){ .add = add, .n = n };
	assert_true(str_eq(joined(&out), STR("X-A: one\nX-C: \n")));
	/* the answer holds the others: no field twice */
	challenge_judge(&s.facts, &s.plan);
	assert_int_equal(challenge_answer(&s.facts, &s.plan, STR_NONE, false, arena, &out),
			 UNANSWERED_NONE);
	assert_true(str_eq(joined(&out), STR("X-Not-Always: 1\nX-B: s\n")));
	arena_reset(arena);
}

static void test_words(void **state)
{
	assert_string_equal(family_word(FAMILY_ECHO), "echo");
	assert_string_equal(family_word(FAMILY_NONE), "");
	assert_string_equal(unanswered_word(UNANSWERED_BODY_TOO_LARGE), "body-too-large");
	for (int f = 0; f < FAMILY_COUNT; f++) {
		assert_non_null(family_word((enum family)f));
		assert_true(strlen(family_text((enum family)f)) > 0);
	}
	for (int u = 0; u < UNANSWERED_COUNT; u++) {
		assert_non_null(unanswered_word((enum unanswered)u));
		assert_true(strlen(unanswered_text((enum unanswered)u)) > 0);
		assert_int_equal(strlen(unanswered_next((enum unanswered)u)) > 0,
				 u != UNANSWERED_NONE);
		for (int v = 0; v < u; v++)
			assert_string_not_equal(unanswered_word((enum unanswered)u),
						unanswered_word((enum unanswered)v));
	}
}

/* NOT_SENT is the edge's own: only it has connections. */
static void test_every_reason_was_reached(void **state)
{
	for (int u = 0; u < UNANSWERED_COUNT; u++) {
		if (!reached[u] && u != UNANSWERED_NOT_SENT)
			print_error("no row reaches %s\n", unanswered_word((enum unanswered)u));
		assert_int_equal(reached[u], u != UNANSWERED_NOT_SENT);
	}
}

static int setup(void **state)
{
	arena = arena_new(16384, 1 << 20);
	return arena ? 0 : -1;
}

static int teardown(void **state)
{
	arena_free(arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_octets_of_an_echo),
		cmocka_unit_test(test_length_of_an_echo),
		cmocka_unit_test(test_length_of_a_supply),
		cmocka_unit_test(test_backoff_stays_in_bounds),
		cmocka_unit_test(test_backoff_by_default),
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_trailers_are_no_challenge),
		cmocka_unit_test(test_secure_cookies_want_https),
		cmocka_unit_test(test_phrase),
		cmocka_unit_test(test_full_arena),
		cmocka_unit_test(test_always),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_every_reason_was_reached),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
