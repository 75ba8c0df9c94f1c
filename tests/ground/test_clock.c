/* clock: the kernel's clocks are ours here. clock_gettime() below is the one
 * that clock.c is linked with, so time passes when a test says so, and every
 * reading is counted. */
#include "ground/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t mono_ms;
static time_t wall_s;
static unsigned readings;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	readings++;
	if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
		*ts = (struct timespec){ wall_s, 999999999 };
	else
		*ts = (struct timespec){ (time_t)(mono_ms / 1000),
					 (long)(mono_ms % 1000 * 1000000 + 999999) };
	return 0;
}

static void pass(uint64_t ms)
{
	mono_ms += ms;
	clock_turn();
}

static int begin(void **state)
{
	mono_ms = 1000000;
	wall_s = 784111777;
	clock_turn();
	readings = 0;
	return 0;
}

/* -- the clocks ----------------------------------------------------------------- */

static void test_one_reading_a_turn(void **state)
{
	readings = 0;				/* cmocka's own */
	assert_int_equal(clock_ms(), 1000000);
	mono_ms += 5000;
	wall_s += 5;
	for (int i = 0; i < 100; i++)
		assert_int_equal(clock_ms(), 1000000);
	assert_int_equal(readings, 1);
	assert_int_equal(clock_wall(), 784111782);
	clock_wall();
	clock_date();
	assert_int_equal(readings, 2);
	clock_turn();
	assert_int_equal(readings, 2);		/* nobody asked yet */
	assert_int_equal(clock_ms(), 1005000);
	assert_int_equal(readings, 3);
	assert_int_equal(clock_us(), 1005000999);
	mono_ms++;
	assert_int_equal(clock_us(), 1005001999);	/* never kept */
}

static void test_wall_clock_may_step_back(void **state)
{
	assert_int_equal(clock_wall(), 784111777);
	assert_string_equal(clock_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
	wall_s -= 3600;
	assert_string_equal(clock_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
	clock_turn();
	assert_int_equal(clock_wall(), 784108177);
	assert_string_equal(clock_date(), "Sun, 06 Nov 1994 07:49:37 GMT");
}

static void test_date(void **state)
{
	static const struct { time_t at; const char *text; } row[] = {
		{ 0, "Thu, 01 Jan 1970 00:00:00 GMT" },
		{ 784111777, "Sun, 06 Nov 1994 08:49:37 GMT" },	/* RFC 9110 5.6.7 */
		{ 951782399, "Mon, 28 Feb 2000 23:59:59 GMT" },
		{ 951782400, "Tue, 29 Feb 2000 00:00:00 GMT" },
		{ 2147483648, "Tue, 19 Jan 2038 03:14:08 GMT" },
		{ 4102444799, "Thu, 31 Dec 2099 23:59:59 GMT" },
	};

	setenv("TZ", "America/New_York", 1);
	tzset();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		wall_s = row[i].at;
		clock_turn();
		assert_string_equal(clock_date(), row[i].text);
		assert_int_equal(strlen(clock_date()), 29);
	}
	for (unsigned month = 0; month < 12; month++) {	/* all names, against libc's */
		char want[64];
		struct tm tm;

		wall_s = (time_t)month * 31 * 86400 + 5;
		clock_turn();
		gmtime_r(&wall_s, &tm);
		strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		assert_string_equal(clock_date(), want);
	}
}

/* -- deadlines ------------------------------------------------------------------ */

enum { MOST = 16 };

struct one {
	struct deadline d;			/* first: a deadline is a one */
	char name;
	void (*more)(struct one *o);
};

static struct deadlines all;
static struct one one[MOST];
static char order[256];

static void late(struct deadline *d)
{
	struct one *o = (struct one *)d;

	assert_false(deadline_is_set(d));	/* cleared before it is told */
	strncat(order, &o->name, 1);
	if (o->more)
		o->more(o);
}

static int begin_deadlines(void **state)
{
	begin(state);
	deadlines_init(&all);
	for (unsigned i = 0; i < DEADLINE_CLASSES; i++)
		all.length_ms[i] = 1000 * (i + 1);
	memset(one, 0, sizeof(one));
	for (unsigned i = 0; i < MOST; i++) {
		one[i].d.fn = late;
		one[i].name = (char)('a' + i);
	}
	order[0] = '\0';
	return 0;
}

static void set(unsigned i, enum deadline_class class)
{
	deadline_set(&all, &one[i].d, class);
}

static void ran(const char *want)
{
	deadlines_run(&all);
	assert_string_equal(order, want);
	order[0] = '\0';
}

static void test_none(void **state)
{
	ran("");
	deadline_clear(&all, &one[0].d);	/* not set: nothing happens */
	assert_int_equal(all.set, 0);
	pass(1 << 30);
	ran("");
}

static void test_order_of_a_class(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		set(i, DEADLINE_HEAD);		/* 1 s */
		pass(100);
	}
	assert_int_equal(all.set, 4);
	pass(599);				/* 999 ms after the first */
	ran("");
	pass(1);
	ran("a");
	assert_int_equal(all.set, 3);
	pass(150);
	ran("b");
	pass(10000);
	ran("cd");
	assert_int_equal(all.set, 0);
	ran("");				/* once each */
}

static void test_each_class_has_its_length(void **state)
{
	char want[DEADLINE_CLASSES + 1] = "";

	for (unsigned i = DEADLINE_CLASSES; i-- > 0;)
		set(i, (enum deadline_class)i);
	for (unsigned i = 0; i < DEADLINE_CLASSES; i++) {
		pass(999);
		ran("");
		pass(1);
		want[0] = (char)('a' + i);
		ran(want);
	}
}

static void test_setting_again_moves_to_the_end(void **state)
{
	set(0, DEADLINE_HEAD);
	set(1, DEADLINE_HEAD);
	pass(500);
	set(0, DEADLINE_HEAD);
	assert_int_equal(all.set, 2);
	pass(500);
	ran("b");
	assert_true(deadline_is_set(&one[0].d));
	pass(500);
	ran("a");
}

static void test_change_of_class(void **state)
{
	set(0, DEADLINE_HEAD);
	set(0, DEADLINE_BODY);
	assert_int_equal(all.set, 1);
	pass(1999);
	ran("");
	pass(1);
	ran("a");
}

static void test_clear(void **state)
{
	for (unsigned i = 0; i < 5; i++)
		set(i, DEADLINE_IDLE);
	deadline_clear(&all, &one[0].d);	/* the head, the middle, the tail */
	deadline_clear(&all, &one[2].d);
	deadline_clear(&all, &one[4].d);
	deadline_clear(&all, &one[4].d);
	assert_int_equal(all.set, 2);
	assert_false(deadline_is_set(&one[2].d));
	pass(1 << 20);
	ran("bd");
}

static void test_length_nought_is_never(void **state)
{
	all.length_ms[DEADLINE_WRITE] = 0;
	set(0, DEADLINE_WRITE);
	assert_false(deadline_is_set(&one[0].d));
	set(1, DEADLINE_HEAD);
	set(1, DEADLINE_WRITE);			/* and what was set is not any more */
	assert_false(deadline_is_set(&one[1].d));
	assert_int_equal(all.set, 0);
	pass(1 << 30);
	ran("");
}

/* A class made shorter is out of order for a while, as the head holds the others
 * back: later than they should be, but each is told. */
static void test_length_changes(void **state)
{
	set(0, DEADLINE_TUNNEL);		/* 8 s */
	all.length_ms[DEADLINE_TUNNEL] = 1000;
	set(1, DEADLINE_TUNNEL);
	pass(8000);
	ran("ab");
	assert_int_equal(all.set, 0);
}

static void again(struct one *o)
{
	deadline_set(&all, &o->d, DEADLINE_HEAD);
}

static void test_set_from_within(void **state)
{
	one[0].more = again;
	set(0, DEADLINE_HEAD);
	set(1, DEADLINE_HEAD);
	for (unsigned i = 0; i < 3; i++) {
		pass(1000);
		ran(i ? "a" : "ab");		/* not twice in one run */
		assert_true(deadline_is_set(&one[0].d));
	}
}

static void clear_next_two(struct one *o)
{
	deadline_clear(&all, &o[1].d);
	deadline_clear(&all, &o[2].d);
}

static void test_clear_of_others_from_within(void **state)
{
	one[0].more = clear_next_two;
	for (unsigned i = 0; i < 4; i++)
		set(i, DEADLINE_HEAD);
	pass(1000);
	ran("ad");
	assert_int_equal(all.set, 0);
	/* those of a class that is yet to run, too */
	one[0].more = clear_next_two;
	set(0, DEADLINE_HEAD);
	set(1, DEADLINE_LINGER);
	set(2, DEADLINE_TUNNEL);
	set(3, DEADLINE_LINGER);
	pass(1 << 20);
	ran("ad");
}

static void free_other(struct one *o)
{
	deadline_clear(&all, &o[1].d);
	memset(&o[1], 0xee, sizeof(o[1]));	/* its memory belongs to others now */
}

static void test_the_next_one_dies_within(void **state)
{
	one[0].more = free_other;
	set(0, DEADLINE_HEAD);
	set(1, DEADLINE_HEAD);
	set(2, DEADLINE_HEAD);
	pass(1000);
	ran("ac");
}

static void set_others(struct one *o)
{
	deadline_set(&all, &o[1].d, DEADLINE_HEAD);
	deadline_set(&all, &o[2].d, DEADLINE_LINGER);
}

static void test_others_set_from_within(void **state)
{
	one[0].more = set_others;
	set(0, DEADLINE_BODY);
	set(1, DEADLINE_BODY);			/* late as well, but gets a new chance */
	pass(2000);
	ran("a");
	assert_int_equal(all.set, 2);
	pass(1000);
	ran("b");
	pass(9000);
	ran("c");
}

/* Against a plain model: any mixture of setting, clearing and time. */
static unsigned dice(unsigned sides)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (unsigned)(x % sides);
}

static void test_against_a_model(void **state)
{
	uint64_t due[MOST] = { 0 };

	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = dice(MOST), class = dice(DEADLINE_CLASSES), held = 0;

		switch (dice(4)) {
		case 0:
			set(i, (enum deadline_class)class);
			due[i] = mono_ms + all.length_ms[class];
			break;
		case 1:
			deadline_clear(&all, &one[i].d);
			due[i] = 0;
			break;
		default:
			pass(dice(700));
			deadlines_run(&all);
		}
		for (i = 0; i < MOST; i++) {
			if (strchr(order, one[i].name)) {
				assert_true(due[i] && due[i] <= mono_ms);
				due[i] = 0;
			}
			held += due[i] != 0;
			assert_int_equal(deadline_is_set(&one[i].d), due[i] != 0);
		}
		order[0] = '\0';
		assert_int_equal(all.set, held);
	}
}

#define CLOCK(fn) cmocka_unit_test_setup(fn, begin)
#define TEST(fn) cmocka_unit_test_setup(fn, begin_deadlines)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLOCK(test_one_reading_a_turn), CLOCK(test_wall_clock_may_step_back),
		CLOCK(test_date), TEST(test_none), TEST(test_order_of_a_class),
		TEST(test_each_class_has_its_length), TEST(test_setting_again_moves_to_the_end),
		TEST(test_change_of_class), TEST(test_clear), TEST(test_length_nought_is_never),
		TEST(test_length_changes), TEST(test_set_from_within),
		TEST(test_clear_of_others_from_within), TEST(test_the_next_one_dies_within),
		TEST(test_others_set_from_within), TEST(test_against_a_model),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
