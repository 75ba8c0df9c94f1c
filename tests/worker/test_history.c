/* history: what came in which second. */
#include "worker/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct history h;
static struct counters sum;

static int empty(void **state)
{
	memset(&h, 0, sizeof h);
	memset(&sum, 0, sizeof sum);
	return 0;
}

static void test_differences(void **state)
{
	sum.n[COUNT_REQUESTS] = 1000;		/* before anybody looked: in no second */
	history_note(&h, &sum, 0);
	assert_int_equal(h.n, 0);
	sum.n[COUNT_REQUESTS] += 7;
	sum.family[FAMILY_ECHO] += 3;
	sum.family[FAMILY_OTHER] += 1;
	sum.n[COUNT_REPLAYS] += 3;
	sum.unanswered[UNANSWERED_NO_HEADER] += 1;
	history_note(&h, &sum, 1);
	history_note(&h, &sum, 1);
	assert_int_equal(h.n, 2);
	assert_int_equal(history_at(&h, 0)->requests, 7);
	assert_int_equal(history_at(&h, 0)->challenged, 4);
	assert_int_equal(history_at(&h, 0)->replayed, 3);
	assert_int_equal(history_at(&h, 0)->unanswered, 1);
	assert_int_equal(history_at(&h, 1)->requests, 0);
}

static void test_a_late_look_is_spread(void **state)
{
	unsigned all = 0;

	history_note(&h, &sum, 1);
	sum.n[COUNT_REQUESTS] += 10;
	history_note(&h, &sum, 4);
	assert_int_equal(h.n, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_in_range(history_at(&h, i)->requests, 2, 3);
		all += history_at(&h, i)->requests;
	}
	assert_int_equal(all, 10);
}

static void test_ring(void **state)
{
	history_note(&h, &sum, 1);
	for (unsigned i = 1; i <= HISTORY_MOST + 5; i++) {
		sum.n[COUNT_REQUESTS] += i;
		history_note(&h, &sum, 1);
	}
	assert_int_equal(h.n, HISTORY_MOST);
	assert_int_equal(history_at(&h, 0)->requests, 6);
	assert_int_equal(history_at(&h, HISTORY_MOST - 1)->requests, HISTORY_MOST + 5);
	history_note(&h, &sum, 10 * HISTORY_MOST);	/* a long sleep */
	assert_int_equal(h.n, HISTORY_MOST);
	assert_int_equal(history_at(&h, 0)->requests, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_differences, empty),
		cmocka_unit_test_setup(test_a_late_look_is_spread, empty),
		cmocka_unit_test_setup(test_ring, empty),
	};

	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
