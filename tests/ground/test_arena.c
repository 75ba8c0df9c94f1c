/* arena: alignment, the limit and its stickiness, duties, and what a reset
 * leaves. Run under a sanitizer it also tells of overlap and leaks. */
#include "ground/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { FIRST = 256, LIMIT = 32768 };

static struct arena *a;

static int open_arena(void **state)
{
	a = arena_new(FIRST, LIMIT);
	return a == NULL;
}

static int close_arena(void **state)
{
	arena_free(a);
	return 0;
}

static void test_pieces_are_apart_and_aligned(void **state)
{
	static const size_t sizes[] = { 1, 16, 0, 17, 100, 255, 3, 4096, 9000, 31, 1 };
	unsigned char *at[11];

	for (size_t i = 0; i < 11; i++) {
		at[i] = arena_get(a, sizes[i]);
		assert_non_null(at[i]);
		assert_int_equal((uintptr_t)at[i] % 16, 0);
		memset(at[i], (int)i + 1, sizes[i]);
	}
	for (size_t i = 0; i < 11; i++)
		for (size_t j = 0; j < sizes[i]; j++)
			assert_int_equal(at[i][j], i + 1);
	assert_false(arena_full(a));
}

static void test_zero(void **state)
{
	char *at = arena_get(a, 64);

	memset(at, 'x', 64);
	arena_reset(a);
	at = arena_zero(a, 64);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(at[i], 0);
}

static void test_copies(void **state)
{
	char source[] = "abc";
	struct str kept = arena_keep(a, str_of(source)), printed;
	const char *z = arena_keepz(a, (struct str){ source, 2 });

	source[0] = 'X';
	assert_true(str_eq(kept, STR("abc")));
	assert_string_equal(z, "ab");
	printed = arena_print(a, "%s-%d", "x", 42);
	assert_true(str_eq(printed, STR("x-42")));
	assert_int_equal(printed.at[printed.len], '\0');
	assert_int_equal(arena_keep(a, STR_NONE).len, 0);
	assert_string_equal(arena_keepz(a, STR_NONE), "");
	/* The NUL has room of its own, whatever the length. */
	for (size_t n = 0; n < 40; n++) {
		static const char xs[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

		z = arena_keepz(a, (struct str){ xs, n });
		printed = arena_print(a, "%.*s", (int)n, xs);
		memset(arena_get(a, 16), '#', 16);
		assert_int_equal(strlen(z), n);
		assert_int_equal(strlen(printed.at), n);
	}
	assert_int_equal(arena_print(a, "%s", "").len, 0);
	assert_true(str_eq(arena_join(a, 4, (const struct str[]){
		STR("one"), STR(""), STR_NONE, STR("-two") }), STR("one-two")));
	assert_int_equal(arena_join(a, 0, NULL).len, 0);
	assert_false(arena_full(a));
	printed = arena_print(a, "%*d", 5000, 1);	/* larger than the first block */
	assert_int_equal(printed.len, 5000);
	assert_int_equal(printed.at[4999], '1');
}

static void test_limit_is_sticky(void **state)
{
	static const char big[LIMIT] = "x";

	assert_null(arena_get(a, LIMIT));
	assert_true(arena_full(a));
	assert_non_null(arena_get(a, 16));	/* what fits is still given ... */
	assert_true(arena_full(a));		/* ... and the fact stays */
	assert_int_equal(arena_keep(a, (struct str){ big, sizeof(big) }).len, 0);
	assert_string_equal(arena_keepz(a, (struct str){ big, sizeof(big) }), "");
	assert_int_equal(arena_print(a, "%*d", LIMIT, 1).len, 0);
	assert_int_equal(arena_join(a, 1, &(const struct str){ big, sizeof(big) }).len, 0);
	arena_reset(a);
	assert_false(arena_full(a));
}

static void test_never_more_than_the_limit(void **state)
{
	size_t n = 0;

	while (arena_get(a, 160) && n < LIMIT) {
		n += 160;
		assert_true(arena_held(a) <= LIMIT);
	}
	assert_true(arena_full(a));
	/* The last block is as small as need be: nothing is wasted. */
	assert_true(arena_held(a) > LIMIT - 160);
}

static void test_absurd_sizes(void **state)
{
	static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 16,
					SIZE_MAX - 17, SIZE_MAX / 2 };

	for (size_t i = 0; i < 6; i++) {
		assert_null(arena_get(a, sizes[i]));
		assert_null(arena_zero(a, sizes[i]));
		assert_true(arena_full(a));
		arena_reset(a);
	}
}

static void test_reset_keeps_the_first_block(void **state)
{
	void *first = arena_get(a, 16);

	assert_int_equal(arena_held(a), FIRST);
	assert_non_null(arena_get(a, 10000));
	assert_true(arena_held(a) > FIRST);
	arena_reset(a);
	assert_int_equal(arena_held(a), FIRST);
	assert_ptr_equal(arena_get(a, 16), first);
}

static char told[16];

static void tell(void *arg)
{
	strcat(told, arg);
}

static void test_duties(void **state)
{
	told[0] = '\0';
	assert_true(arena_at_end(a, tell, "a"));
	assert_non_null(arena_get(a, 10000));
	assert_true(arena_at_end(a, tell, "b"));
	assert_true(arena_at_end(a, tell, "c"));
	assert_string_equal(told, "");
	arena_reset(a);
	assert_string_equal(told, "cba");
	arena_reset(a);				/* once only */
	assert_string_equal(told, "cba");
	assert_true(arena_at_end(a, tell, "d"));
	arena_free(a);
	assert_string_equal(told, "cbad");
	a = NULL;
}

static void test_duty_past_the_limit_is_done_at_once(void **state)
{
	told[0] = '\0';
	while (arena_get(a, 16))
		;
	assert_false(arena_at_end(a, tell, "x"));
	assert_string_equal(told, "x");
	arena_reset(a);
	assert_string_equal(told, "x");
}

/* A duty may use the arena while it ends. */
static void allocate(void *arg)
{
	assert_non_null(arena_get(arg, 10000));
}

static void test_duty_that_allocates(void **state)
{
	assert_true(arena_at_end(a, allocate, a));
	arena_reset(a);
	assert_int_equal(arena_held(a), FIRST);
}

static void test_small_limit(void **state)
{
	struct arena *small = arena_new(64, 10);	/* the first block is a must */

	assert_non_null(small);
	assert_non_null(arena_get(small, 64));
	assert_null(arena_get(small, 1));
	arena_free(small);
	arena_free(NULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_arena, close_arena)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pieces_are_apart_and_aligned), TEST(test_zero), TEST(test_copies),
		TEST(test_limit_is_sticky), TEST(test_never_more_than_the_limit),
		TEST(test_absurd_sizes), TEST(test_reset_keeps_the_first_block),
		TEST(test_duties), TEST(test_duty_past_the_limit_is_done_at_once),
		TEST(test_duty_that_allocates), TEST(test_small_limit),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
