/* capture: rows of body and place -> value, and what the limits refuse. */
#include "policy/capture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

static void assert_value(struct str got, const char *want, const char *what)
{
	bool same = want ? got.at && str_eq(got, str_of(want)) : !got.at;

	if (!same)
		print_error("%s: got %s\"%.*s\", want \"%s\"\n", what, got.at ? "" : "none ",
			    STR_FMT(got), want ? want : "(none)");
	assert_true(same);
}

#define RFC6901 "{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4," \
	"\"i\\\\j\":5,\"k\\\"l\":6,\" \":7,\"m~n\":8}"

static const struct pointer_row {
	const char *body, *pointer, *want;
} pointer_rows[] = {
	/* RFC 6901 section 5 */
	{ RFC6901, "", NULL },
	{ RFC6901, "/foo", NULL },
	{ RFC6901, "/foo/0", "bar" },
	{ RFC6901, "/", "0" },
	{ RFC6901, "/a~1b", "1" },
	{ RFC6901, "/c%d", "2" },
	{ RFC6901, "/e^f", "3" },
	{ RFC6901, "/i\\j", "5" },
	{ RFC6901, "/k\"l", "6" },
	{ RFC6901, "/ ", "7" },
	{ RFC6901, "/m~0n", "8" },
	/* what is not there, and what is no pointer */
	{ RFC6901, "/foo/2", NULL },
	{ RFC6901, "/foo/-", NULL },
	{ RFC6901, "/foo/01", NULL },
	{ RFC6901, "/foo/1x", NULL },
	{ RFC6901, "/foo/99999999999999999999", NULL },
	{ RFC6901, "/foo/0/x", NULL },
	{ RFC6901, "/m~n", NULL },
	{ RFC6901, "/m~2n", NULL },
	{ RFC6901, "/m~", NULL },
	{ RFC6901, "foo/0", NULL },
	{ "{\"foo\":{\"\":\"deep\"}}", "/foo/", "deep" },
	/* kinds of value */
	{ "{\"missing\":{\"token\":\"abc\"}}", "/missing/token", "abc" },
	{ "\"top\"", "", "top" },
	{ "{\"t\":\"\"}", "/t", "" },
	{ "{\"t\":true}", "/t", "true" },
	{ "{\"t\":false}", "/t", "false" },
	{ "{\"t\":null}", "/t", NULL },
	{ "{\"t\":{}}", "/t", NULL },
	{ "{\"t\":[]}", "/t", NULL },
	{ "{\"t\":-7}", "/t", "-7" },
	{ "{\"t\":9007199254740993}", "/t", "9007199254740993" },
	{ "{\"t\":0.1}", "/t", "0.1" },
	{ "{\"t\":3.141592653589793}", "/t", "3.141592653589793" },
	{ "{\"t\":1e3}", "/t", "1000" },
	{ "{\"t\":\"caf\xc3\xa9\"}", "/t", "caf\xc3\xa9" },
	{ "{\"t\":\"a\\u0009b\"}", "/t", "a\tb" },
	{ "\xef\xbb\xbf{\"t\":\"bom\"}", "/t", "bom" },
	/* the whole body must be JSON */
	{ "", "", NULL },
	{ "\xef\xbb\xbf", "", NULL },
	{ "{\"t\":\"x\"", "/t", NULL },
	{ "{\"t\":\"x\"} trailing", "/t", NULL },
	{ "<html>", "/t", NULL },
	{ "{\"t\":\"a\\u0000b\"}", "/t", NULL },
	{ "{\"t\":\"\xff\"}", "/t", NULL },
};

static void test_pointer(void **state)
{
	struct arena *a = arena_new(4096, 65536);

	for (size_t i = 0; i < sizeof(pointer_rows) / sizeof(pointer_rows[0]); i++) {
		const struct pointer_row *r = &pointer_rows[i];

		assert_value(capture_pointer(str_of(r->body), str_of(r->pointer), a), r->want,
			     r->pointer);
		assert_false(arena_full(a));
		arena_reset(a);
	}
	arena_free(a);
}

/* "[[[...[7]...]]]", and the pointer into it */
static struct str nested(char *room, unsigned depth, char *pointer)
{
	memset(room, '[', depth);
	room[depth] = '7';
	memset(room + depth + 1, ']', depth);
	for (unsigned i = 0; i < depth; i++)
		memcpy(pointer + 2 * i, "/0", 2);
	pointer[2 * depth] = '\0';
	return (struct str){ room, 2 * depth + 1 };
}

static void test_depth(void **state)
{
	static char room[65536], pointer[65536];
	struct arena *a = arena_new(4096, 65536);
	struct str body = nested(room, 64, pointer);

	assert_value(capture_pointer(body, str_of(pointer), a), "7", "64 deep");
	body = nested(room + 3, 64, pointer);
	memcpy(room, "[8,", 3);
	room[3 + body.len] = ']';
	body = (struct str){ room, body.len + 4 };
	assert_value(capture_pointer(body, STR("/0"), a), NULL, "65 deep");
	body = nested(room, 30000, pointer);
	assert_value(capture_pointer(body, STR(""), a), NULL, "30000 deep");

	/* brackets in a string, and closed ones, are no depth */
	memset(room, '[', 1000);
	memcpy(room, "{\"t\":\"x\\\"", 9);
	memcpy(room + 1000, "\"}", 2);
	assert_true(capture_pointer((struct str){ room, 1002 }, STR("/t"), a).len > 900);
	room[0] = '[';
	for (int i = 0; i < 500; i++)
		memcpy(room + 1 + 3 * i, "[],", 3);
	memcpy(room + 1501, "7]", 2);
	assert_value(capture_pointer((struct str){ room, 1503 }, STR("/500"), a), "7", "wide");
	arena_free(a);
}

static pcre2_code *compile(const char *regex)
{
	PCRE2_SIZE where;
	int error;
	pcre2_code *code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, 0, &error,
					 &where, NULL);

	assert_non_null(code);
	return code;
}

static const struct regex_row {
	const char *body, *regex, *want;
} regex_rows[] = {
	{ "<input name=token value=\"t-1\">", "value=\"([^\"]+)\"", "t-1" },
	{ "token=abc;", "token=\\w+", "token=abc" },
	{ "a=1 b=2", "(\\w)=2", "b" },
	{ "a=1 b=2", "(?:\\w)=(\\d)", "1" },
	{ "nothing here", "token=(\\w+)", NULL },
	{ "", "token", NULL },
	{ "", "^$", "" },
	{ "ab", "a(x)?", NULL },			/* the group is there, but unset */
	{ "ab", "a(x)?(b)", NULL },
	{ "ab", "a(x*)b", "" },
	{ "abc", "(?=ab\\K)", NULL },			/* ends before it starts */
	{ "line\r\nnext", "(?m)^(next)$", "next" },
};

static void test_regex(void **state)
{
	for (size_t i = 0; i < sizeof(regex_rows) / sizeof(regex_rows[0]); i++) {
		const struct regex_row *r = &regex_rows[i];
		uint32_t extra = PCRE2_EXTRA_ALLOW_LOOKAROUND_BSK;
		pcre2_compile_context *c = pcre2_compile_context_create(NULL);
		PCRE2_SIZE where;
		int error;
		pcre2_code *code;

		pcre2_set_compile_extra_options(c, extra);
		code = pcre2_compile((PCRE2_SPTR)r->regex, PCRE2_ZERO_TERMINATED, 0, &error,
				     &where, c);
		assert_non_null(code);
		assert_value(capture_regex(str_of(r->body), code), r->want, r->regex);
		pcre2_code_free(code);
		pcre2_compile_context_free(c);
	}
}

static void test_empty_body_without_address(void **state)
{
	pcre2_code *code = compile("^$");

	assert_value(capture_regex(STR_NONE, code), "", "no body at all");
	pcre2_code_free(code);
}

/* The first alternative fails after millions of steps, PCRE2's own limit is
 * above that, and the second would match. */
static void test_steps_are_bounded(void **state)
{
	static char body[40];
	pcre2_code *code = compile("(?:(?:a|aa)+!)|ok");

	memset(body, 'a', sizeof(body));
	memcpy(body + 27, ". ok", 4);
	assert_value(capture_regex((struct str){ body, 31 }, code), NULL, "27 times a");
	assert_value(capture_regex((struct str){ body + 17, 14 }, code), "ok", "10 times a");
	pcre2_code_free(code);
}

static void test_backtracking_is_bounded(void **state)
{
	static char body[12000];
	pcre2_code *code = compile("^(?:a|b)*c");

	memset(body, 'a', sizeof(body));
	body[sizeof(body) - 1] = 'c';
	assert_value(capture_regex((struct str){ body, sizeof(body) }, code), NULL, "too deep");
	assert_int_equal(capture_regex((struct str){ body + 11000, 1000 }, code).len, 1000);
	pcre2_code_free(code);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pointer),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_regex),
		cmocka_unit_test(test_empty_body_without_address),
		cmocka_unit_test(test_steps_are_bounded),
		cmocka_unit_test(test_backtracking_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
