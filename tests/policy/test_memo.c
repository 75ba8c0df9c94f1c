/* memo: against a plain list that remembers everything, and at its bounds. */
#include "policy/memo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct memo_key *key2(struct str a, struct str b)
{
	static struct memo_key k;

	memo_key_begin(&k);
	memo_key_put(&k, a);
	memo_key_put(&k, b);
	return &k;
}

static const struct memo_key *key_number(unsigned n)
{
	char text[16];

	return key2(STR("k"), (struct str){ text, (size_t)sprintf(text, "%u", n) });
}

static void test_keys(void **state)
{
	struct memo_key k;
	size_t one;
	char big[MEMO_KEY_MOST + 1];

	memset(big, 'A', sizeof(big));
	memo_key_begin(&k);
	memo_key_put_nocase(&k, STR("AbC"));
	one = k.len;
	assert_memory_equal(k.text + one - 3, "abc", 3);
	memo_key_put(&k, STR("AbC"));
	assert_memory_equal(k.text + k.len - 3, "AbC", 3);
	memo_key_put(&k, (struct str){ big, MEMO_KEY_MOST - k.len - 4 });
	assert_int_equal(k.len, MEMO_KEY_MOST);		/* just fits */
	memo_key_put(&k, STR_NONE);
	assert_true(k.len == SIZE_MAX);
	memo_key_put_nocase(&k, STR("x"));
	assert_true(k.len == SIZE_MAX);
	memo_key_begin(&k);
	memo_key_put_nocase(&k, (struct str){ big, sizeof(big) });
	assert_true(k.len == SIZE_MAX);
}

static void check_parts(bool with_text)
{
	struct memo *m = memo_new(8, with_text);
	struct memo_entry *e = memo_add(m, key2(STR("ab"), STR("c")), STR("v"));

	e->until_ms = 10;
	assert_ptr_equal(memo_find(m, key2(STR("ab"), STR("c")), 9), e);
	assert_null(memo_find(m, key2(STR("a"), STR("bc")), 9));
	assert_null(memo_find(m, key2(STR("abc"), STR("")), 9));
	assert_null(memo_find(m, key2(STR("Ab"), STR("c")), 9));
	assert_int_equal(memo_count(m), 1);
	assert_null(memo_find(m, key2(STR("ab"), STR("c")), 10));	/* late: forgotten */
	assert_int_equal(memo_count(m), 0);
	memo_free(m);
}

static void test_parts_are_kept_apart(void **state)
{
	check_parts(false);
	check_parts(true);
}

static void test_too_long(void **state)
{
	static char big[MEMO_VALUE_MOST + 1];
	struct memo *m = memo_new(2, true);
	struct memo_key k;

	assert_null(memo_add(m, key_number(1), (struct str){ big, sizeof(big) }));
	assert_non_null(memo_add(m, key_number(1), (struct str){ big, sizeof(big) - 1 }));
	memo_key_begin(&k);
	memo_key_put(&k, (struct str){ big, sizeof(big) });
	assert_null(memo_add(m, &k, STR("v")));
	assert_null(memo_find(m, &k, 0));
	assert_int_equal(memo_count(m), 1);
	memo_free(m);
}

static void test_oldest_goes_first(void **state)
{
	struct memo *m = memo_new(3, false);

	for (unsigned n = 0; n < 3; n++)
		memo_add(m, key_number(n), STR_NONE)->until_ms = 10;
	memo_renew(m, memo_find(m, key_number(0), 1));
	memo_add(m, key_number(3), STR_NONE)->until_ms = 10;
	assert_non_null(memo_find(m, key_number(0), 1));
	assert_null(memo_find(m, key_number(1), 1));
	assert_non_null(memo_find(m, key_number(2), 1));
	assert_non_null(memo_find(m, key_number(3), 1));
	memo_renew(m, memo_find(m, key_number(3), 1));	/* the youngest already */
	memo_drop(m, memo_find(m, key_number(0), 1));	/* from the middle */
	memo_add(m, key_number(4), STR_NONE)->until_ms = 20;
	memo_sweep(m, 10);
	assert_int_equal(memo_count(m), 1);
	assert_non_null(memo_find(m, key_number(4), 10));
	memo_free(m);
}

/* 100,000 keys into a table of 64: the bound holds, and the last 64 are there. */
static void test_flood(void **state)
{
	struct memo *m = memo_new(64, false);

	for (unsigned n = 0; n < 100000; n++) {
		memo_add(m, key_number(n), STR_NONE)->until_ms = 1;
		assert_true(memo_count(m) <= 64);
	}
	for (unsigned n = 100000 - 65; n < 100000; n++)
		assert_true((memo_find(m, key_number(n), 0) != NULL) == (n >= 100000 - 64));
	memo_free(m);
}

enum { KEYS = 300, STEPS = 40000 };

static uint32_t seed = 449;

static uint32_t roll(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

/* The value that key n has in its version v: any length, and telling which. */
static struct str value_of(unsigned n, unsigned v)
{
	static char room[MEMO_VALUE_MOST];
	size_t len = (n * 2654435761u + v * 40503u) % (v % 5 ? 300 : MEMO_VALUE_MOST);

	for (size_t i = 0; i < len; i++)
		room[i] = (char)(n * 7 + v * 13 + i);
	return (struct str){ room, len };
}

/* Random adds and drops: what is found is what was last put there, and what was
 * put last is always found, whatever the ring had to throw away. */
static void test_ring_keeps_texts_whole(void **state)
{
	struct memo *m = memo_new(100, true);
	unsigned version[KEYS] = { 0 };
	unsigned found = 0;

	for (unsigned step = 1; step <= STEPS; step++) {
		unsigned n = roll(KEYS);
		struct memo_entry *e = memo_find(m, key_number(n), 0);

		if (e) {
			found++;
			assert_true(str_eq(memo_value(m, e), value_of(n, version[n])));
			memo_drop(m, e);
		}
		if (roll(8) == 0)
			continue;
		version[n] = step;
		e = memo_add(m, key_number(n), value_of(n, step));
		e->until_ms = 1;
		assert_true(str_eq(memo_value(m, e), value_of(n, step)));
		assert_ptr_equal(memo_find(m, key_number(n), 0), e);
		assert_true(memo_count(m) <= 100);
	}
	assert_true(found > STEPS / 20);
	memo_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_parts_are_kept_apart),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_oldest_goes_first),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_ring_keeps_texts_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
