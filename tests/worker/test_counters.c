/* counters: names, sums, and the buckets of durations. */
#include "worker/counters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_names(void **state)
{
	for (unsigned i = 0; i < COUNTERS; i++) {
		const char *name = counter_name((enum counter)i);

		/* parts of the names of metrics */
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
		assert_true(*name);
		assert_true(*counter_text((enum counter)i));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(name, counter_name((enum counter)j));
	}
	assert_string_equal(counter_name(COUNT_REPLAYS_FINAL), "replays_final");
	assert_string_equal(counter_text(COUNT_TUNNELS), "tunnels opened");
	assert_string_equal(counted_method(COUNTED_PROPFIND), "PROPFIND");
	assert_string_equal(counted_method(COUNTED_OTHER), "other");
}

static void test_add(void **state)
{
	static struct counters sum, one;
	uint64_t *all = (uint64_t *)&one;
	size_t n = sizeof(one) / sizeof(*all);

	for (size_t i = 0; i < n; i++)		/* every member, whatever it is called */
		all[i] = i * i;
	counters_add(&sum, &one);
	counters_add(&sum, &one);
	one.clients = 0;
	counters_add(&sum, &one);
	all = (uint64_t *)&sum;
	for (size_t i = 0; i < n; i++)
		if (&all[i] != &sum.clients)
			assert_int_equal(all[i], 3 * i * i);
	assert_int_equal(sum.clients % 2, 0);
}

static void test_durations(void **state)
{
	static const struct { uint64_t ms; unsigned bucket; } row[] = {
		{ 0, 0 }, { 1, 0 }, { 2, 1 }, { 3, 2 }, { 5, 2 }, { 6, 3 }, { 10, 3 }, { 11, 4 },
		{ 1000, 9 }, { 1001, 10 }, { 60000, 12 }, { 60001, 13 }, { UINT32_MAX, 13 },
		{ UINT64_C(1) << 32, 13 }, { UINT64_MAX / 4, 13 },
	};

	assert_true(counter_bucket_ms[TIME_BUCKETS - 1] == UINT32_MAX);
	for (unsigned i = 1; i < TIME_BUCKETS; i++)
		assert_true(counter_bucket_ms[i - 1] < counter_bucket_ms[i]);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct times t = { .sum_ms = 7 };

		counters_took(&t, row[i].ms);
		assert_int_equal(t.sum_ms, 7 + row[i].ms);
		for (unsigned j = 0; j < TIME_BUCKETS; j++)
			assert_int_equal(t.bucket[j], j == row[i].bucket);
	}
}

static void test_answers(void **state)
{
	static const struct { const char *method; uint16_t status; enum counted m; unsigned code; }
	row[] = {
		{ "GET", 200, COUNTED_GET, 200 },
		{ "SEARCH", 207, COUNTED_SEARCH, 207 },
		{ "get", 200, COUNTED_OTHER, 200 },		/* methods have a case */
		{ "GETS", 200, COUNTED_OTHER, 200 },
		{ "", 400, COUNTED_OTHER, 400 },
		{ "BCOPY", 599, COUNTED_OTHER, 599 },
		{ "PUT", 600, COUNTED_PUT, 0 },
		{ "PUT", 65535, COUNTED_PUT, 0 },
		{ "PUT", 0, COUNTED_PUT, 0 },
	};
	static struct counters c;

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		uint64_t before = c.answers[row[i].m][row[i].code];

		counters_answered(&c, str_of(row[i].method), row[i].status);
		assert_int_equal(c.answers[row[i].m][row[i].code], before + 1);
	}
}

static void test_up_and_down(void **state)
{
	uint64_t n = 0;

	counter_add(&n, 3);
	counter_sub(&n, 1);
	assert_int_equal(n, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names), cmocka_unit_test(test_add),
		cmocka_unit_test(test_durations), cmocka_unit_test(test_answers),
		cmocka_unit_test(test_up_and_down),
	};

	return cmocka_run_group_tests_name("counters", tests, NULL, NULL);
}
