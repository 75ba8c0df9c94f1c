/* learn: plays on a clock of the test's own. */
#include "policy/learn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define A STR("http://a.example:80")
#define B STR("http://b.example:80")
#define GET STR("GET")

static struct learn *new_learn(uint32_t entries)
{
	const struct learn_options o = { .entries_most = entries, .challenger_ttl_ms = 1000,
					 .breaker_trips = 3, .breaker_pause_ms = 500 };
	struct learn *l = learn_new(&o);

	assert_non_null(l);
	return l;
}

#define assert_none(got) assert_null((got).at)

static void assert_str(struct str got, const char *want)
{
	assert_non_null(got.at);
	assert_int_equal(got.len, strlen(want));
	assert_memory_equal(got.at, want, got.len);
}

static void test_challenger(void **state)
{
	static const struct {
		const char *origin, *path;
		uint64_t at;
		bool known;
	} rows[] = {
		{ "http://a.example:80", "/app/orders/1?x=1", 10, true },
		{ "http://a.example:80", "/app/orders", 10, true },
		{ "http://a.example:80", "/app/orders?/other", 10, true },
		{ "HTTP://A.Example:80", "/app/orders/2", 10, true },
		{ "http://a.example:80", "/app/orders/", 999, true },
		{ "http://a.example:80", "/app/ORDERS/2", 10, false },
		{ "http://a.example:80", "/app/other/1", 10, false },
		{ "http://a.example:80", "/app", 10, false },
		{ "http://a.example:80", "", 10, false },
		{ "https://a.example:80", "/app/orders/1", 10, false },
		{ "http://a.example:81", "/app/orders/1", 10, false },
		{ "http://b.example:80", "/app/orders/1", 10, false },
		{ "http://a.example:80", "/app/orders/1", 1000, false },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct learn *l = new_learn(16);

		learn_challenged(l, A, STR("/app/orders/1/line?q"), 0);
		assert_int_equal(learn_is_challenger(l, str_of(rows[i].origin),
						     str_of(rows[i].path), rows[i].at),
				 rows[i].known);
		learn_free(l);
	}
}

static void test_challenger_renews_and_forgets(void **state)
{
	struct learn *l = new_learn(16);

	learn_challenged(l, A, STR("/x"), 0);
	learn_challenged(l, A, STR("/x"), 900);
	assert_int_equal(learn_entries(l), 1);
	assert_true(learn_is_challenger(l, A, STR("/x"), 1899));
	learn_not_challenged(l, A, STR("/y"), 1899);
	assert_true(learn_is_challenger(l, A, STR("/x"), 1899));
	learn_not_challenged(l, A, STR("/x"), 1899);
	assert_false(learn_is_challenger(l, A, STR("/x"), 1899));
	assert_int_equal(learn_entries(l), 0);
	learn_free(l);
}

static void test_expect(void **state)
{
	struct learn *l = new_learn(16);

	assert_true(learn_may_expect(l, A, 0));
	learn_no_expect(l, A, 0);
	assert_false(learn_may_expect(l, A, 999));
	assert_true(learn_may_expect(l, B, 999));
	assert_true(learn_may_expect(l, A, 1000));
	learn_free(l);
}

/* A play: at each time a replay's result (a: again, ok, -: none), whether it
 * tripped just then, and whether the breaker is open afterwards. */
static void test_breaker(void **state)
{
	static const struct {
		uint64_t at;
		char result;
		bool tripped, open;
	} play[] = {
		{ 0, 'a', false, false },
		{ 1, 'a', false, false },
		{ 2, 'o', false, false },	/* a success: from the start again */
		{ 3, 'a', false, false },
		{ 4, 'a', false, false },
		{ 5, 'a', true, true },		/* the third in a row */
		{ 6, 'a', false, true },	/* was under way: the pause is not prolonged */
		{ 504, '-', false, true },
		{ 505, '-', false, false },	/* half open */
		{ 506, 'a', true, true },	/* one is enough now */
		{ 1005, '-', false, true },
		{ 99999, '-', false, false },	/* still half open, however late */
		{ 99999, 'a', true, true },
		{ 100499, 'o', false, false },	/* a success resets */
		{ 100500, 'a', false, false },
		{ 100501, 'a', false, false },
		{ 100502, 'a', true, true },
	};
	struct learn *l = new_learn(16);

	for (size_t i = 0; i < sizeof(play) / sizeof(play[0]); i++) {
		bool tripped = play[i].result != '-' &&
			learn_replay_result(l, A, play[i].result == 'a', play[i].at);

		assert_int_equal(tripped, play[i].tripped);
		assert_int_equal(learn_breaker_open(l, A, play[i].at), play[i].open);
		assert_false(learn_breaker_open(l, B, play[i].at));
	}
	learn_free(l);
}

static void test_breaker_can_be_none(void **state)
{
	const struct learn_options o = { .entries_most = 4, .breaker_pause_ms = 500 };
	struct learn *l = learn_new(&o);

	for (int i = 0; i < 100; i++)
		assert_false(learn_replay_result(l, A, true, 1));
	assert_false(learn_breaker_open(l, A, 1));
	learn_free(l);
}

static void accept(struct learn *l, const char *client, const char *value, uint64_t now)
{
	learn_value_accepted(l, str_of(client), A, GET, STR("/app/x/1"), str_of(value), 300, now);
}

static struct str value(struct learn *l, const char *client, uint64_t now)
{
	return learn_value(l, str_of(client), A, GET, STR("/app/x/2?q"), now);
}

static void test_value(void **state)
{
	struct learn *l = new_learn(16);

	accept(l, "10.0.0.1", "v1", 0);
	assert_none(value(l, "10.0.0.1", 1));		/* once is no proof */
	accept(l, "10.0.0.1", "v2", 2);
	assert_none(value(l, "10.0.0.1", 3));		/* another value: once again */
	accept(l, "10.0.0.1", "v2", 4);
	assert_str(value(l, "10.0.0.1", 5), "v2");
	accept(l, "10.0.0.1", "v2", 200);		/* its time is not prolonged */
	assert_str(value(l, "10.0.0.1", 303), "v2");
	assert_none(value(l, "10.0.0.1", 304));

	accept(l, "10.0.0.1", "", 400);			/* an empty value is one */
	accept(l, "10.0.0.1", "", 401);
	assert_str(value(l, "10.0.0.1", 402), "");
	learn_value_refused(l, STR("10.0.0.1"), A, GET, STR("/app/x"));
	assert_none(value(l, "10.0.0.1", 403));

	accept(l, "10.0.0.1", "v3", 500);
	accept(l, "10.0.0.1", "v3", 501);
	accept(l, "10.0.0.1", "v4", 502);		/* changed: neither is used */
	assert_none(value(l, "10.0.0.1", 503));
	accept(l, "10.0.0.1", "v4", 802);		/* too late to be in a row */
	assert_none(value(l, "10.0.0.1", 803));
	learn_free(l);
}

static void test_value_belongs_to_its_place(void **state)
{
	struct learn *l = new_learn(16);
	const struct str c = STR("10.0.0.1"), p = STR("/app/x");

	accept(l, "10.0.0.1", "v", 0);
	accept(l, "10.0.0.1", "v", 0);
	assert_str(learn_value(l, c, A, GET, p, 1), "v");
	assert_str(learn_value(l, c, STR("HTTP://A.example:80"), GET, p, 1), "v");
	assert_none(learn_value(l, STR("10.0.0.2"), A, GET, p, 1));
	assert_none(learn_value(l, c, B, GET, p, 1));
	assert_none(learn_value(l, c, A, STR("get"), p, 1));
	assert_none(learn_value(l, c, A, STR("POST"), p, 1));
	assert_none(learn_value(l, c, A, GET, STR("/app/y"), 1));
	/* parts do not run into each other */
	assert_none(learn_value(l, STR("10.0.0.1GE"), A, STR("T"), p, 1));
	assert_none(learn_value(l, STR(""), A, STR("10.0.0.1GET"), p, 1));
	learn_free(l);
}

static void test_sticky(void **state)
{
	struct learn *l = new_learn(16);
	const struct str u = STR("http://a.example/x?y=1");

	learn_challenged(l, A, STR("/app/x"), 0);
	assert_false(learn_sticks(l));
	learn_not_challenged(l, A, STR("/app/x"), 0);
	learn_stick(l, STR("s1"), GET, u, STR("first"), 60, 0);
	assert_true(learn_sticks(l));
	learn_stick(l, STR("s1"), GET, u, STR("second"), 60, 1);	/* replaces */
	learn_stick(l, STR("s2"), GET, u, STR("other"), 60, 1);
	assert_int_equal(learn_entries(l), 2);
	assert_none(learn_unstick(l, STR("s3"), GET, u, 2));
	assert_none(learn_unstick(l, STR("s1"), STR("PUT"), u, 2));
	assert_none(learn_unstick(l, STR("s1"), GET, STR("http://a.example/x?y=2"), 2));
	assert_str(learn_unstick(l, STR("s1"), GET, u, 60), "second");
	assert_none(learn_unstick(l, STR("s1"), GET, u, 60));		/* one use */
	assert_none(learn_unstick(l, STR("s2"), GET, u, 61));		/* too late */
	learn_stick(l, STR("s1"), GET, u, STR(""), 60, 70);
	assert_str(learn_unstick(l, STR("s1"), GET, u, 71), "");
	assert_int_equal(learn_entries(l), 0);
	learn_free(l);
}

static void test_sticky_bounds(void **state)
{
	static char big[8193];
	struct learn *l = new_learn(16);
	struct str got;

	memset(big, 'v', sizeof(big));
	learn_stick(l, STR("s"), GET, STR("u"), (struct str){ big, 8193 }, 60, 0);
	learn_stick(l, STR("s"), GET, (struct str){ big, 8193 }, STR("v"), 60, 0);
	assert_int_equal(learn_entries(l), 0);
	learn_stick(l, STR("s"), GET, STR("u"), (struct str){ big, 8192 }, 60, 0);
	got = learn_unstick(l, STR("s"), GET, STR("u"), 1);
	assert_true(str_eq(got, (struct str){ big, 8192 }));
	/* too long: the old value must not stay in the new one's place */
	learn_stick(l, STR("s"), GET, STR("u"), STR("old"), 60, 0);
	learn_stick(l, STR("s"), GET, STR("u"), (struct str){ big, 8193 }, 60, 0);
	assert_none(learn_unstick(l, STR("s"), GET, STR("u"), 1));
	learn_free(l);
}

/* Whatever comes, in whatever number: five tables of 50 entries. */
static void test_flood(void **state)
{
	struct learn *l = new_learn(50);

	for (unsigned i = 0; i < 100000; i++) {
		char text[64];
		struct str s = { text, (size_t)sprintf(text, "http://h%u.example:80", i * 40503u) };

		learn_challenged(l, s, STR("/"), i);
		learn_no_expect(l, s, i);
		learn_replay_result(l, s, true, i);
		learn_value_accepted(l, STR("c"), s, GET, STR("/"), s, 1000, i);
		learn_stick(l, s, GET, s, s, 1000, i);
		assert_true(learn_entries(l) <= 250);
	}
	assert_int_equal(learn_entries(l), 250);
	learn_free(l);
}

/* 200 clients, few places, values that name their owner. */
static void test_no_value_is_shared(void **state)
{
	struct learn *l = new_learn(128);
	uint32_t seed = 1;
	unsigned seen = 0;

	for (uint64_t now = 1; now <= 100000; now++) {
		char who[32], path[32], own[64];
		struct str c, p, v, got;

		seed = seed * 1664525 + 1013904223;
		c = (struct str){ who, (size_t)sprintf(who, "10.0.0.%u", seed >> 8 & 0x3f) };
		p = (struct str){ path, (size_t)sprintf(path, "/a/%u", seed >> 16 & 3) };
		v = (struct str){ own, (size_t)sprintf(own, "%s %s", who, path) };
		got = learn_value(l, c, A, GET, p, now);
		assert_true(!got.at || str_eq(got, v));
		seen += got.at != NULL;
		got = learn_unstick(l, c, GET, p, now);
		assert_true(!got.at || str_eq(got, v));
		seen += got.at != NULL;
		learn_value_accepted(l, c, A, GET, p, v, 1000, now);
		learn_stick(l, c, GET, p, v, 1000, now);
	}
	assert_true(seen > 1000);
	learn_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_challenger),
		cmocka_unit_test(test_challenger_renews_and_forgets),
		cmocka_unit_test(test_expect),
		cmocka_unit_test(test_breaker),
		cmocka_unit_test(test_breaker_can_be_none),
		cmocka_unit_test(test_value),
		cmocka_unit_test(test_value_belongs_to_its_place),
		cmocka_unit_test(test_sticky),
		cmocka_unit_test(test_sticky_bounds),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_no_value_is_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
