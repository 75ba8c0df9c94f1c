/* ticket: keys that come and go. */
#include "net/ticket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const time_t NOON = 1700000000;

static void test_a_key_is_one_for_all_while_it_lasts(void **state)
{
	struct ticket_key a, b;

	assert_true(ticket_seal(NOON, &a));
	assert_true(ticket_seal(NOON + TICKET_SECONDS - 1, &b));
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(ticket_open(NOON + 1, a.name, &b), TICKET_FRESH);
	assert_memory_equal(&a, &b, sizeof(a));
}

static void test_a_key_grows_old_and_goes(void **state)
{
	time_t t = NOON + 10 * TICKET_SECONDS;
	struct ticket_key a, b, c;

	assert_true(ticket_seal(t, &a));
	assert_true(ticket_seal(t + TICKET_SECONDS, &b));
	assert_memory_not_equal(a.name, b.name, sizeof(a.name));
	assert_memory_not_equal(a.cipher, b.cipher, sizeof(a.cipher));
	assert_memory_not_equal(a.mac, b.mac, sizeof(a.mac));
	assert_int_equal(ticket_open(t + TICKET_SECONDS, a.name, &c), TICKET_OLD);
	assert_memory_equal(&a, &c, sizeof(a));
	assert_int_equal(ticket_open(t + 2 * TICKET_SECONDS - 1, a.name, &c), TICKET_OLD);
	assert_int_equal(ticket_open(t + 2 * TICKET_SECONDS, a.name, &c), TICKET_UNKNOWN);
	assert_int_equal(ticket_open(t + TICKET_SECONDS, b.name, &c), TICKET_FRESH);
}

static void test_what_nobody_sealed_is_unknown(void **state)
{
	unsigned char name[TICKET_NAME] = { 1, 2, 3 };
	struct ticket_key k;

	assert_int_equal(ticket_open(NOON, name, &k), TICKET_UNKNOWN);
	memset(name, 0, sizeof(name));
	assert_int_equal(ticket_open(0, name, &k), TICKET_UNKNOWN);
}

/* The wall clock was set back: what is from the future is not believed. */
static void test_a_clock_set_back(void **state)
{
	struct ticket_key a, b;

	assert_true(ticket_seal(NOON + 50 * TICKET_SECONDS, &a));
	assert_true(ticket_seal(NOON, &b));
	assert_memory_not_equal(a.name, b.name, sizeof(a.name));
	assert_int_equal(ticket_open(NOON, a.name, &b), TICKET_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_nobody_sealed_is_unknown),
		cmocka_unit_test(test_a_key_is_one_for_all_while_it_lasts),
		cmocka_unit_test(test_a_key_grows_old_and_goes),
		cmocka_unit_test(test_a_clock_set_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
