#include "net/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct addresses number(uint16_t port)
{
	struct addresses all = { .n = 1 };

	address_parse(STR("192.0.2.1"), port, &all.at[0]);
	return all;
}

static struct str name_of(unsigned i)
{
	static char room[32];

	snprintf(room, sizeof(room), "n%u.test", i);
	return str_of(room);
}

static bool has(struct names *n, unsigned i, uint64_t now)
{
	struct addresses out;

	if (names_find(n, name_of(i), now, &out) != WHY_DONE)
		return false;
	assert_int_equal(out.n, 1);
	assert_int_equal(out.at[0].in4.sin_port, htons((uint16_t)i));
	return true;
}

static void keep(struct names *n, unsigned i, uint64_t until)
{
	struct addresses all = number((uint16_t)i);

	names_keep(n, name_of(i), &all, WHY_DONE, until);
}

static void test_time(void **state)
{
	struct names *n = names_new(10);

	assert_false(has(n, 1, 0));
	keep(n, 1, 100);
	assert_true(has(n, 1, 99));
	assert_false(has(n, 1, 100));
	assert_false(has(n, 1, 0));		/* it is gone */
	names_free(n);
}

static void test_bound(void **state)
{
	struct names *n = names_new(100);

	for (unsigned i = 0; i < 1000; i++) {
		keep(n, i, 1);
		assert_true(has(n, 0, 0));	/* used all the time */
	}
	for (unsigned i = 1; i < 1000; i++)
		assert_int_equal(has(n, i, 0), i >= 1000 - 99);
	names_free(n);
}

static void test_replaced(void **state)
{
	struct names *n = names_new(2);
	struct addresses none = { .n = 0 }, out;

	keep(n, 1, 10);
	keep(n, 2, 10);
	names_keep(n, name_of(1), &none, WHY_NAME_NOT_FOUND, 20);
	assert_true(has(n, 2, 0));		/* it took no place of its own */
	assert_int_equal(names_find(n, name_of(1), 19, &out), WHY_NAME_NOT_FOUND);
	assert_int_equal(out.n, 0);
	assert_int_equal(names_find(n, name_of(1), 20, &out), WHY_COUNT);
	names_free(n);
}

static void test_none(void **state)
{
	struct names *n = names_new(0);

	keep(n, 1, 10);
	assert_false(has(n, 1, 0));
	names_free(n);
	names_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
