#include "policy/cookie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NOW = 1700000000 };		/* Tue, 14 Nov 2023 22:13:20 GMT */

struct bench {
	struct arena *arena;
	struct request q;
	struct response p;
};

static void bench_open(struct bench *b, const char *url)
{
	memset(b, 0, sizeof(*b));
	b->arena = arena_new(1000, 1 << 20);
	assert_int_equal(url_parse_target(str_of(url), false, &b->q.url), WHY_DONE);
}

static void sends(struct bench *b, const char *cookie)
{
	assert_true(headers_add(&b->q.fields, b->arena, STR("Cookie"), str_of(cookie)));
}

static void gets(struct bench *b, const char *set_cookie)
{
	assert_true(headers_add(&b->p.fields, b->arena, STR("Set-Cookie"), str_of(set_cookie)));
}

/* expected NULL: nothing changes. */
static void check(struct bench *b, bool https, const char *expected)
{
	struct str out = STR_NONE;
	bool any = cookie_merge(&b->q, &b->p, https, NOW, b->arena, &out);

	if (any != (expected != NULL))
		fail_msg("%s: %d", expected ? expected : "nothing", any);
	if (any && !str_eq(out, str_of(expected)))
		fail_msg("\"%.*s\", not \"%s\"", STR_FMT(out), expected);
	arena_free(b->arena);
}

static void test_merge(void **state)
{
	static const struct { const char *sent, *set, *more, *merged; } row[] = {
		{ NULL, "a=1", NULL, "a=1" },
		{ NULL, "a=1", "b=2", "a=1; b=2" },
		{ "x=0", "a=1", NULL, "x=0; a=1" },
		{ "a=0; x=0", "a=1", NULL, "a=1; x=0" },
		{ "x=0; a=0; y=0", "a=1", "y=2", "x=0; a=1; y=2" },
		{ "A=0", "a=1", NULL, "A=0; a=1" },		/* names have case */
		{ "aa=0; b=a", "a=1", NULL, "aa=0; b=a; a=1" },
		{ "a=0; x=0; a=00", "a=1", NULL, "a=1; x=0" },
		{ "x=0", "a=1", "a=2", "x=0; a=2" },
		{ "x=0;y=0 ; z", "a=1", NULL, "x=0; y=0; z; a=1" },
		{ "x=\"q q\"; y=a=b", "a=1", NULL, "x=\"q q\"; y=a=b; a=1" },
		{ "; ;x=0;", "a=1", NULL, "x=0; a=1" },
		{ NULL, "a=", NULL, "a=" },
		{ NULL, "  a =  1 2  ; Path=/", NULL, "a=1 2" },
		{ NULL, "a=\"1;2\"", NULL, "a=\"1" },
		{ NULL, "a=b=c==", NULL, "a=b=c==" },
		{ NULL, "a=\xe4", NULL, "a=\xe4" },
		{ NULL, "a=1; HttpOnly; SameSite=Strict; Foo=bar;;", NULL, "a=1" },
		/* removed */
		{ "a=0; x=0", "a=; Max-Age=0", NULL, "x=0" },
		{ "a=0", "a=; Max-Age=0", NULL, "" },
		{ "x=0", "a=1; Max-Age=0", NULL, "x=0" },
		{ NULL, "a=1", "a=; Max-Age=-1", "" },
		{ NULL, "a=; Max-Age=0", "a=2", "a=2" },
		/* no cookie at all */
		{ "x=0", "a", NULL, NULL }, { "x=0", "=1", NULL, NULL }, { "x=0", "", NULL, NULL },
		{ "x=0", "; a=1", NULL, NULL }, { "x=0", "a=1\x01", NULL, NULL },
		{ "x=0", "a\x7f=1", NULL, NULL }, { "x=0", "a\x0d\x0a=1", NULL, NULL },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct bench b;

		bench_open(&b, "http://www.a.test/dir/file?q");
		if (row[i].sent)
			sends(&b, row[i].sent);
		gets(&b, row[i].set);
		if (row[i].more)
			gets(&b, row[i].more);
		check(&b, false, row[i].merged);
	}
}

static void test_several_lines(void **state)
{
	struct bench b;

	bench_open(&b, "http://a.test/");
	check(&b, false, NULL);
	bench_open(&b, "http://a.test/");
	sends(&b, "x=0; a=0");
	sends(&b, "y=0; a=00");
	gets(&b, "a=1");
	check(&b, false, "x=0; a=1; y=0");
}

static void test_matching(void **state)
{
	static const struct { const char *url, *attributes; bool yes; } row[] = {
		{ "http://www.a.test/", "", true },
		/* domain, 5.1.3 */
		{ "http://www.a.test/", "; Domain=www.a.test", true },
		{ "http://www.a.test/", "; Domain=a.test", true },
		{ "http://www.a.test/", "; domain=.A.Test", true },
		{ "http://WWW.A.TEST/", "; Domain=a.test", true },
		{ "http://www.a.test:8080/", "; Domain=a.test", true },
		{ "http://www.a.test/", "; Domain=", true },
		{ "http://www.a.test/", "; Domain=.", true },
		{ "http://www.a.test/", "; Domain=b.test; Domain=a.test", true },
		{ "http://www.a.test/", "; Domain=a.test; Domain=b.test", false },
		{ "http://www.a.test/", "; Domain=x.www.a.test", false },
		{ "http://www.a.test/", "; Domain=ww.a.test", false },
		{ "http://wwwa.test/", "; Domain=a.test", false },
		{ "http://www.a.test/", "; Domain=b.test", false },
		{ "http://www.a.test/", "; Domain=test", false },
		{ "http://www.a.test/", "; Domain=.test", false },
		{ "http://www.a.test/", "; Domain=..test", false },
		{ "http://intranet/", "; Domain=intranet", true },
		{ "http://1.2.3.4/", "; Domain=1.2.3.4", true },
		{ "http://1.2.3.4/", "; Domain=2.3.4", false },
		{ "http://1.2.3.4/", "; Domain=.3.4", false },
		{ "http://a.srv1.b2/", "; Domain=srv1.b2", true },
		{ "http://[::1]/", "", true },
		{ "http://[::1.2.3.4]/", "; Domain=2.3.4", false },
		/* path, 5.1.4 */
		{ "http://a.test/dir/file", "; Path=/", true },
		{ "http://a.test/dir/file", "; Path=/dir", true },
		{ "http://a.test/dir/file", "; Path=/dir/", true },
		{ "http://a.test/dir/file", "; Path=/dir/file", true },
		{ "http://a.test/dir/file?x", "; Path=/dir/file", true },
		{ "http://a.test/dir/file", "; Path=/dir/fil", false },
		{ "http://a.test/dir/file", "; Path=/dir/file/", false },
		{ "http://a.test/dir/file", "; Path=/DIR", false },
		{ "http://a.test/dir/file", "; Path=/d", false },
		{ "http://a.test/x?/dir/", "; Path=/x?/dir", false },
		{ "http://a.test/dir/file", "; Path=dir", true },
		{ "http://a.test/dir/file", "; Path", true },
		{ "http://a.test/dir/file", "; Path=/other; Path=", true },
		{ "http://a.test/dir/file", "; Path=/; Path=/other", false },
		{ "http://a.test", "; Path=/", true },
		{ "http://a.test?q", "; Path=/", true },
		{ "http://a.test", "; Path=/x", false },
		/* Secure */
		{ "http://a.test/", "; Secure", false }, { "http://a.test/", ";secure=no", false },
		{ "https://a.test/", "; Secure", true }, { "https://a.test/", "", true },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		char line[200] = "a=1";
		struct bench b;

		bench_open(&b, row[i].url);
		gets(&b, strcat(line, row[i].attributes));
		if (!row[i].yes && cookie_merge(&b.q, &b.p, str_starts(str_of(row[i].url), STR("https")),
						NOW, b.arena, &(struct str){ 0 }))
			fail_msg("%s %s", row[i].url, line);
		check(&b, str_starts(str_of(row[i].url), STR("https")), row[i].yes ? "a=1" : NULL);
	}
}

/* Origin-form: the host is the one of the Host field. */
static void test_origin_form(void **state)
{
	static const struct { const char *host, *domain; bool yes; } row[] = {
		{ "www.a.test:8080", "a.test", true }, { "www.a.test", "b.test", false },
		{ "[::1]:80", "a.test", false }, { "", "a.test", false },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		char line[100] = "a=1; Domain=";
		struct bench b;

		bench_open(&b, "/dir/file");
		b.q.host = str_of(row[i].host);
		gets(&b, strcat(line, row[i].domain));
		check(&b, false, row[i].yes ? "a=1" : NULL);
	}
}

static void test_expiry(void **state)
{
	static const struct { const char *attributes; bool lives; } row[] = {
		{ "; Max-Age=1", true }, { "; Max-Age=0", false }, { "; Max-Age=-1", false },
		{ "; max-age = 60 ", true }, { "; Max-Age=99999999999999999999999", true },
		{ "; Max-Age=-99999999999999999999999", false },
		{ "; Max-Age=", true }, { "; Max-Age=x", true }, { "; Max-Age=0x", true },
		{ "; Max-Age=-", true }, { "; Max-Age=+0", true }, { "; Max-Age=1; Max-Age=0", false },
		/* Max-Age decides over Expires. */
		{ "; Max-Age=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", true },
		{ "; Expires=Thu, 01 Jan 2099 00:00:00 GMT; Max-Age=0", false },
		/* NOW is Tue, 14 Nov 2023 22:13:20 GMT */
		{ "; Expires=Tue, 14 Nov 2023 22:13:20 GMT", false },
		{ "; Expires=Tue, 14 Nov 2023 22:13:21 GMT", true },
		{ "; Expires=Tue, 14-Nov-2023 22:13:21 GMT", true },
		{ "; Expires=Tuesday, 14-Nov-23 22:13:21 GMT", true },
		{ "; Expires=Tuesday, 14-Nov-23 22:13:19 GMT", false },
		{ "; Expires=Tue Nov 14 22:13:21 2023", true },
		{ "; Expires=Tue Nov 14 22:13:19 2023", false },
		{ "; Expires=14 nov 2023 22:13:21", true },
		{ "; Expires=14-NOVember-2023 22:13:19", false },
		{ "; Expires=22:13:21 2023 14 Nov", true },
		{ "; Expires=22:13:19 14 2023 Nov", false },
		{ "; Expires=Thu, 01 Jan 1970 00:00:00 GMT", false },
		{ "; Expires=Thu, 1 Jan 1970 0:0:0 GMT", false },
		{ "; Expires=Thu, 01-Jan-70 00:00:00 GMT", false },
		{ "; Expires=Thu, 01-Jan-69 00:00:00 GMT", true },
		{ "; Expires=Mon, 01 Jan 1601 00:00:00 GMT", false },
		{ "; Expires=Thu, 29 Feb 2024 00:00:00 GMT", true },
		{ "; Expires=Sat, 29 Feb 2020 00:00:00 GMT", false },
		{ "; Expires=Thu, 31 Dec 9999 23:59:59 GMT", true },
		/* No date: as if it were not there. */
		{ "; Expires=", true }, { "; Expires=0", true }, { "; Expires=-1", true },
		{ "; Expires=Thu, 01 Jan 1600 00:00:00 GMT", true },
		{ "; Expires=Sat, 29 Feb 2019 00:00:00 GMT", true },
		{ "; Expires=Thu, 29 Feb 1900 00:00:00 GMT", true },
		{ "; Expires=Thu, 31 Apr 2019 00:00:00 GMT", true },
		{ "; Expires=Thu, 00 Jan 1970 00:00:00 GMT", true },
		{ "; Expires=Thu, 32 Jan 1970 00:00:00 GMT", true },
		{ "; Expires=Thu, 01 Jan 1970 24:00:00 GMT", true },
		{ "; Expires=Thu, 01 Jan 1970 00:60:00 GMT", true },
		{ "; Expires=Thu, 01 Jan 1970 00:00:60 GMT", true },
		{ "; Expires=Thu, 01 Jan 1970 00:00 GMT", true },
		{ "; Expires=Thu, 01 Jan 19700 00:00:00 GMT", true },
		{ "; Expires=Thu, 01 Foo 1970 00:00:00 GMT", true },
		{ "; Expires=01 Jan 1970", true },
		/* A bad one does not undo a good one. */
		{ "; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=soon", false },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		char line[200] = "a=1";
		struct bench b;
		struct str out;

		bench_open(&b, "http://a.test/");
		sends(&b, "x=0");
		gets(&b, strcat(line, row[i].attributes));
		assert_true(cookie_merge(&b.q, &b.p, false, NOW, b.arena, &out));
		if (!str_eq(out, row[i].lives ? STR("x=0; a=1") : STR("x=0")))
			fail_msg("%s: \"%.*s\"", line, STR_FMT(out));
		arena_free(b.arena);
	}
}

static void test_value(void **state)
{
	struct bench b;

	bench_open(&b, "http://a.test/");
	assert_null(cookie_set_value(&b.p, STR("a")).at);
	gets(&b, "b=x; Domain=other.test");
	gets(&b, "a=1; Path=/");
	gets(&b, "a = \"2\" ; Secure");
	gets(&b, "c=");
	gets(&b, "bad");
	assert_true(str_eq(cookie_set_value(&b.p, STR("a")), STR("\"2\"")));
	assert_true(str_eq(cookie_set_value(&b.p, STR("b")), STR("x")));
	assert_non_null(cookie_set_value(&b.p, STR("c")).at);
	assert_int_equal(cookie_set_value(&b.p, STR("c")).len, 0);
	assert_null(cookie_set_value(&b.p, STR("A")).at);
	assert_null(cookie_set_value(&b.p, STR("bad")).at);
	assert_null(cookie_set_value(&b.p, STR("Path")).at);
	arena_free(b.arena);
}

static void test_full_arena(void **state)
{
	struct bench b;
	struct str out;

	bench_open(&b, "http://a.test/");
	gets(&b, "a=1");
	while (arena_get(b.arena, 16))
		;
	assert_false(cookie_merge(&b.q, &b.p, false, NOW, b.arena, &out));
	arena_free(b.arena);
}

/* Octets at random, from those that matter: to be run under sanitizers. */
static void test_noise(void **state)
{
	static const char octets[] = "a=; \t,.-:/0199jan2000GMTexpiresdomainpathmax-age\"=;;";
	uint32_t seed = 1;

	for (int i = 0; i < 20000; i++) {
		char line[64];
		struct bench b;
		struct str out;
		size_t n = 0, len = (size_t)i % sizeof(line);

		while (n < len) {
			seed = seed * 1664525u + 1013904223u;
			line[n++] = octets[(seed >> 8) % (sizeof(octets) - 1)];
		}
		bench_open(&b, "http://a.test/dir/");
		headers_add(&b.q.fields, b.arena, STR("Cookie"), (struct str){ line, len / 2 });
		headers_add(&b.p.fields, b.arena, STR("Set-Cookie"), (struct str){ line, len });
		if (cookie_merge(&b.q, &b.p, false, NOW, b.arena, &out) && out.len > 0)
			assert_true(header_is_value(out));
		cookie_set_value(&b.p, STR("a"));
		arena_free(b.arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_several_lines),
		cmocka_unit_test(test_matching),
		cmocka_unit_test(test_origin_form),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_value),
		cmocka_unit_test(test_full_arena),
		cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
