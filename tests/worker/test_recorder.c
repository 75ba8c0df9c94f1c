/* recorder: what is kept, what is cut, and above all what is never shown. */
#include "worker/recorder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#define CANARY "canary-0815"

static struct arena *arena;

static void fill(struct headers *h, const char *text)
{
	struct str left = str_of(text), line, name, value;

	*h = (struct headers){ 0 };
	while (str_cut(left, '\n', &line, &left)) {
		assert_true(str_cut(line, ':', &name, &value));
		assert_true(headers_add(h, arena, name, str_trim(value)));
	}
}

struct scene {
	struct rule rule;
	struct request request;
	struct response challenge, final;
	struct header add[2];
	struct recorder_attempt attempts[12];
	struct recorder_facts facts;
};

static void setup_scene(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	s->rule.name = STR("orders");
	s->request.method = STR("GET");
	fill(&s->request.fields, "Host: a.example\nUser-Agent: \"old\\client\"\n");
	s->challenge = (struct response){ .status = 449, .minor = 1, .reason = STR("Retry With") };
	fill(&s->challenge.fields, "Server: IIS\nMs-Echo-Request: " CANARY "\n");
	s->final = (struct response){ .status = 200, .minor = 0 };
	fill(&s->final.fields, "Content-Type: text/plain\n");
	s->add[0] = (struct header){ .name = STR("Ms-Echo-Reply"), .value = STR(CANARY),
				     .id = HEADER_MS_ECHO_REPLY };
	s->attempts[0] = (struct recorder_attempt){ .status = 449, .ms = 5, .body_octets = 35,
						    .response = &s->challenge };
	s->attempts[1] = (struct recorder_attempt){ .status = 200, .ms = 4, .reused = true,
						    .add = s->add, .add_n = 1,
						    .response = &s->final };
	s->facts = (struct recorder_facts){
		.at = 784111777, .ms = 12, .client = STR("10.0.0.1"), .status = 200,
		.url = STR("http://a.example/x?q=1"), .request = &s->request, .rule = &s->rule,
		.family = FAMILY_ECHO, .replays = 1, .attempts = s->attempts, .attempts_n = 2,
	};
}

/* A dump as text the arena holds. */
static const char *dump(const struct recorder *r, void (*fn)(const struct recorder *, FILE *))
{
	size_t size;
	char *text;
	FILE *f = open_memstream(&text, &size);
	const char *kept;

	assert_non_null(f);
	fn(r, f);
	fclose(f);
	kept = arena_keepz(arena, (struct str){ text, size });
	assert_int_equal(strlen(kept), size);	/* no NUL in it */
	free(text);
	return kept;
}

static const char *text_of(const struct scene *s)
{
	struct recorder *r = recorder_new(2);
	const char *text;

	recorder_note(r, &s->facts);
	text = dump(r, recorder_dump_text);
	recorder_free(r);
	return text;
}

static json_t *json_of(const struct scene *s)
{
	struct recorder *r = recorder_new(2);
	json_error_t error;
	json_t *json;

	recorder_note(r, &s->facts);
	json = json_loads(dump(r, recorder_dump_json), JSON_REJECT_DUPLICATES, &error);
	recorder_free(r);
	assert_non_null(json);
	return json;
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		print_error("\"%s\" is not in\n%s\n", part, text);
	assert_non_null(strstr(text, part));
}

static void assert_lacks(const char *text, const char *part)
{
	if (strstr(text, part))
		print_error("\"%s\" is in\n%s\n", part, text);
	assert_null(strstr(text, part));
}

/* The hash behind `label` in text, 9 octets. */
static struct str hash_after(const char *text, const char *label)
{
	const char *at = strstr(text, label);
	struct str hash;

	assert_non_null(at);
	hash = (struct str){ at + strlen(label), 9 };
	assert_int_equal(hash.at[0], '#');
	assert_int_equal(strspn(hash.at + 1, "0123456789abcdef"), 8);
	return hash;
}

static void test_text(void **state)
{
	struct scene s;
	const char *text;
	char want[1024];
	struct str query, echo;

	setup_scene(&s);
	text = text_of(&s);
	query = hash_after(text, "x?");
	echo = hash_after(text, "Ms-Echo-Reply: ");
	assert_true(str_eq(echo, hash_after(text, "Ms-Echo-Request: ")));
	assert_false(str_eq(echo, query));
	snprintf(want, sizeof(want),
		 "1994-11-06T08:49:37Z 10.0.0.1 GET http://a.example/x?%.*s -> 200 in 12 ms\n"
		 "  rule orders, family echo, replays 1, answered\n"
		 "  > Host: a.example\n"
		 "  > User-Agent: \"old\\client\"\n"
		 "  attempt 1: 449 after 5 ms, head 70, body 35 octets\n"
		 "    < HTTP/1.1 449 Retry With\n"
		 "    < Server: IIS\n"
		 "    < Ms-Echo-Request: %.*s\n"
		 "  attempt 2: 200 after 4 ms, head 43, body 0 octets, on a used connection\n"
		 "    > Ms-Echo-Reply: %.*s\n"
		 "    < HTTP/1.0 200 \n"
		 "    < Content-Type: text/plain\n",
		 STR_FMT(query), STR_FMT(echo), STR_FMT(echo));
	assert_string_equal(text, want);
}

static const char *string_at(const json_t *json, const char *name)
{
	return json_string_value(json_object_get(json, name));
}

static void test_json(void **state)
{
	struct scene s;
	json_t *json, *attempts, *second;

	setup_scene(&s);
	s.facts.unanswered = UNANSWERED_AGAIN;
	s.facts.with_query = true;
	json = json_of(&s);
	attempts = json_object_get(json, "attempts");
	second = json_array_get(attempts, 1);
	assert_string_equal(string_at(json, "time"), "1994-11-06T08:49:37Z");
	assert_string_equal(string_at(json, "url"), "http://a.example/x?q=1");
	assert_string_equal(string_at(json, "rule"), "orders");
	assert_string_equal(string_at(json, "family"), "echo");
	assert_string_equal(string_at(json, "unanswered"), "again");
	assert_string_equal(json_string_value(json_array_get(json_object_get(json, "request"), 1)),
			    "User-Agent: \"old\\client\"");
	assert_int_equal(json_array_size(attempts), 2);
	assert_int_equal(json_integer_value(json_object_get(second, "status")), 200);
	assert_true(json_is_true(json_object_get(second, "reused")));
	assert_int_equal(json_array_size(json_object_get(second, "added")), 1);
	assert_int_equal(json_array_size(json_object_get(second, "response")), 2);
	json_decref(json);
}

/* Request fields, response fields: none of their values may be seen. */
static const struct secret_row {
	const char *request, *response;
} secrets[] = {
	{ "Authorization: Basic " CANARY "\n", "" },
	{ "Proxy-Authorization: " CANARY "\n", "" },
	{ "Cookie: s=" CANARY "\n", "" },
	{ "Ms-Echo-Reply: " CANARY "\n", "" },
	{ "X-Auth-Token: " CANARY "\n", "" },
	{ "x-API-key: " CANARY "\n", "" },
	{ "X-Ms-Password: " CANARY "\n", "" },
	{ "Referer: http://b.example/?k=" CANARY "\n", "" },
	{ "Destination: http://b.example/?k=" CANARY "\n", "" },
	{ "", "Set-Cookie: s=" CANARY "; Path=/\n" },
	{ "", "Ms-Echo-Request: " CANARY "\n" },
	{ "", "Authentication-Info: nextnonce=" CANARY "\n" },
	{ "", "X-Session-Id: " CANARY "\n" },
	{ "", "X-CSRF: " CANARY "\n" },
	{ "", "Location: http://b.example/?k=" CANARY "\n" },
	{ "", "X-Plain: supplied-4711\n" },		/* see add[1] below */
};

static void test_secrets_are_not_shown(void **state)
{
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		struct recorder *r = recorder_new(1);
		const char *text, *json;
		struct scene s;

		setup_scene(&s);
		fill(&s.request.fields, secrets[i].request);
		fill(&s.challenge.fields, secrets[i].response);
		s.add[0].value = STR("another");	/* or it would be hidden as its copy */
		s.add[1] = (struct header){ .name = STR("X-Form"), .value = STR("supplied-4711") };
		s.attempts[1].add_n = 2;
		s.facts.url = STR("http://a.example/?k=" CANARY);
		recorder_note(r, &s.facts);
		text = dump(r, recorder_dump_text);
		json = dump(r, recorder_dump_json);
		assert_lacks(text, "0815");
		assert_lacks(json, "0815");
		assert_lacks(text, "supplied");
		assert_lacks(json, "supplied");
		assert_has(text, "X-Form: #");
		recorder_free(r);
		arena_reset(arena);
	}
}

static void test_what_is_no_secret_is_shown(void **state)
{
	struct scene s;
	const char *text;

	setup_scene(&s);
	fill(&s.challenge.fields, "WWW-Authenticate: NTLM\nLocation: http://b.example/x\n"
	     "X-Wants: X-Form\nX-Empty:\n");
	s.add[0].value = STR("");
	text = text_of(&s);
	assert_has(text, "WWW-Authenticate: NTLM\n");
	assert_has(text, "Location: http://b.example/x\n");
	assert_has(text, "X-Wants: X-Form\n");
	assert_has(text, "X-Empty: \n");		/* though the echo was empty, too */
	s.facts.with_query = true;
	fill(&s.challenge.fields, "Location: http://b.example/x?y\n");
	text = text_of(&s);
	assert_has(text, "GET http://a.example/x?q=1 ->");
	assert_has(text, "Location: http://b.example/x?y\n");
}

/* Nothing a peer says can start a line of its own, or reach the terminal. */
static void test_no_forged_lines(void **state)
{
	struct header evil = { .name = STR("X\nN"), .value = STR("a\r\n  > b\x1b[2J\x7f\xff\0c") };
	struct scene s;
	const char *text;
	json_t *json;

	setup_scene(&s);
	s.request.fields = (struct headers){ .at = &evil, .count = 1, .room = 1 };
	s.challenge.reason = STR("a\nb");
	s.facts.client = STR("\n");
	s.facts.url = STR("http://x/\n\"");
	text = text_of(&s);
	assert_has(text, "  > X\\x0aN: a\\x0d\\x0a  > b\\x1b[2J\\x7f\\xff\\x00c\n");
	assert_has(text, "    < HTTP/1.1 449 a\\x0ab\n");
	assert_has(text, "Z \\x0a GET http://x/\\x0a\" ->");
	json = json_of(&s);
	assert_string_equal(string_at(json, "url"), "http://x/\\x0a\"");
	json_decref(json);
}

static void test_long_ones_are_cut(void **state)
{
	static char big[70000];
	struct str long_value = { big, sizeof(big) };
	struct scene s;
	const char *text;
	json_t *json, *second;

	memset(big, '\xfe', sizeof(big));
	setup_scene(&s);
	s.facts.client = s.facts.url = s.rule.name = s.request.method = long_value;
	for (int i = 0; i < 300; i++) {
		headers_add(&s.request.fields, arena, STR("X-Long"), long_value);
		headers_add(&s.challenge.fields, arena, STR("X-Long"), long_value);
	}
	s.add[0].name = long_value;
	for (int i = 2; i < 12; i++)
		s.attempts[i] = s.attempts[i & 1];
	s.facts.attempts_n = 12;
	text = text_of(&s);
	assert_true(strlen(text) < 9000);
	assert_has(text, "[cut] -> 200");
	assert_has(text, "  > Host: a.example\n");
	assert_has(text, "[cut]\n  attempt 1: 449 after");
	assert_has(text, "\n  ... 8 attempts more\n");
	assert_has(text, "\n  attempt 12: 200");
	assert_lacks(text, "attempt 9:");
	json = json_of(&s);
	second = json_array_get(json_object_get(json, "attempts"), 1);
	assert_true(json_is_true(json_object_get(json, "url_cut")));
	assert_true(json_is_true(json_object_get(json, "request_cut")));
	assert_true(json_is_true(json_object_get(second, "added_cut")) ||
		    json_is_true(json_object_get(second, "response_cut")));
	assert_int_equal(json_integer_value(json_object_get(second, "number")), 10);
	assert_int_equal(json_integer_value(json_object_get(json, "attempts_made")), 12);
	json_decref(json);
}

static void test_a_long_value_does_not_hide_the_next(void **state)
{
	static char big[5000];
	struct scene s;
	const char *text;

	memset(big, 'b', sizeof(big));
	setup_scene(&s);
	s.challenge.fields = (struct headers){ 0 };
	headers_add(&s.challenge.fields, arena, STR("X-Long"), (struct str){ big, sizeof(big) });
	headers_add(&s.challenge.fields, arena, STR("X-Next"), STR("n"));
	text = text_of(&s);
	assert_has(text, "bbb...(5000 octets)\n    < X-Next: n\n");
}

static void test_no_response(void **state)
{
	struct scene s;
	const char *text;

	setup_scene(&s);
	s.attempts[1].status = 0;
	s.attempts[1].response = NULL;
	s.facts.status = 504;
	s.facts.unanswered = UNANSWERED_TOO_LATE;
	text = text_of(&s);
	assert_has(text, "-> 504");
	assert_has(text, "unanswered: too-late\n");
	assert_has(text, "  attempt 2: no answer, on a used connection\n    > Ms-Echo-Reply: #");
}

/* Of 10 exchanges in a ring of 4 the last 4, oldest first. */
static void test_ring(void **state)
{
	struct recorder *r = recorder_new(4);
	struct scene s;
	const char *text;

	setup_scene(&s);
	assert_string_equal(dump(r, recorder_dump_text), "");
	assert_string_equal(dump(r, recorder_dump_json), "");
	for (unsigned i = 0; i < 10; i++) {
		s.facts.url = arena_print(arena, "http://n/%u.", i);
		recorder_note(r, &s.facts);
		assert_int_equal(recorder_count(r), i < 4 ? i + 1 : 4);
	}
	text = dump(r, recorder_dump_text);
	assert_lacks(text, "http://n/5.");
	for (unsigned i = 6; i < 10; i++) {
		char url[16];

		snprintf(url, sizeof(url), "http://n/%u.", i);
		text = strstr(text, url);
		assert_non_null(text);
	}
	recorder_free(r);
	recorder_free(NULL);
}

static void test_one_line_a_json_object(void **state)
{
	struct recorder *r = recorder_new(3);
	struct str left, line;
	struct scene s;
	unsigned n = 0;

	setup_scene(&s);
	for (int i = 0; i < 3; i++)
		recorder_note(r, &s.facts);
	left = str_of(dump(r, recorder_dump_json));
	while (str_cut(left, '\n', &line, &left)) {
		json_error_t error;
		json_t *json = json_loadb(line.at, line.len, JSON_REJECT_DUPLICATES, &error);

		assert_non_null(json);
		json_decref(json);
		n++;
	}
	assert_int_equal(n, 3);
	assert_int_equal(left.len, 0);
	recorder_free(r);
}

static void test_brief(void **state)
{
	struct recorder *r = recorder_new(2);
	struct recorder_brief b;
	struct scene s;

	setup_scene(&s);
	assert_false(recorder_brief(r, 0, &b));
	for (unsigned i = 0; i < 3; i++) {	/* the first one is pushed out */
		s.facts.ms = i;
		recorder_note(r, &s.facts);
	}
	assert_true(recorder_brief(r, 0, &b));
	assert_int_equal(b.ms, 2);
	assert_true(str_eq(b.method, STR("GET")));
	assert_true(str_eq(b.rule, STR("orders")));
	assert_true(str_starts(b.url, STR("http://a.example/x?#")));
	assert_true(recorder_brief(r, 1, &b));
	assert_int_equal(b.ms, 1);
	assert_false(recorder_brief(r, 2, &b));
	recorder_free(r);
}

static void test_copy(void **state)
{
	struct recorder *r = recorder_new(2), *copy;
	struct scene s;
	const char *before;

	setup_scene(&s);
	recorder_note(r, &s.facts);
	before = dump(r, recorder_dump_text);
	copy = recorder_copy(r);
	recorder_note(r, &s.facts);
	assert_string_equal(dump(copy, recorder_dump_text), before);
	recorder_free(r);
	assert_string_equal(dump(copy, recorder_dump_text), before);
	recorder_free(copy);
}

static int setup(void **state)
{
	arena = arena_new(1 << 16, 1 << 26);
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
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_secrets_are_not_shown),
		cmocka_unit_test(test_what_is_no_secret_is_shown),
		cmocka_unit_test(test_no_forged_lines),
		cmocka_unit_test(test_long_ones_are_cut),
		cmocka_unit_test(test_a_long_value_does_not_hide_the_next),
		cmocka_unit_test(test_no_response),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_one_line_a_json_object),
		cmocka_unit_test(test_brief),
		cmocka_unit_test(test_copy),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
