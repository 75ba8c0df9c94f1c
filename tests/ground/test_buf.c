/* buf: the three facts, growth, and the slab that blocks come from. */
#include "ground/buf.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int nothing_is_held(void **state)
{
	size_t held = block_held();

	block_sweep();
	assert_int_equal(held, 0);
	return 0;
}

static void fill(struct buf *b, const char *s)
{
	struct iovec room = buf_room(b);

	assert_true(room.iov_len >= strlen(s));
	memcpy(room.iov_base, s, strlen(s));
	buf_filled(b, strlen(s));
}

static void holds(const struct buf *b, const char *s)
{
	assert_true(buf_sane(b));
	if (!str_eq(buf_unread(b), str_of(s)))
		fail_msg("\"%.*s\" is not \"%s\"", STR_FMT(buf_unread(b)), s);
}

static void test_empty(void **state)
{
	struct buf b = { NULL, 0, 0, 0 };

	holds(&b, "");
	assert_int_equal(buf_room(&b).iov_len, 0);
	buf_settle(&b);
	buf_compact(&b);
	buf_give(&b);				/* nothing to give */
	assert_null(b.base);
	assert_int_equal(block_held(), 0);
}

static void test_take_fill_use_give(void **state)
{
	struct buf b = { NULL, 0, 0, 0 };
	char *base;

	assert_true(buf_take(&b));
	base = b.base;
	assert_true(buf_take(&b));		/* has one: the same */
	assert_ptr_equal(b.base, base);
	assert_int_equal(block_held(), BUF_BLOCK);
	assert_int_equal(buf_room(&b).iov_len, BUF_BLOCK);
	fill(&b, "hello");
	holds(&b, "hello");
	buf_used(&b, 2);
	holds(&b, "llo");
	assert_int_equal(buf_room(&b).iov_len, BUF_BLOCK - 5);
	buf_settle(&b);				/* something is unread: stays */
	assert_ptr_equal(b.base, base);
	buf_used(&b, 3);
	assert_int_equal(buf_room(&b).iov_len, BUF_BLOCK);	/* all used: all room */
	buf_settle(&b);
	assert_null(b.base);
	assert_int_equal(b.cap, 0);
	assert_int_equal(block_held(), 0);
}

static void test_compact(void **state)
{
	struct buf b = { NULL, 0, 0, 0 };

	assert_true(buf_take(&b));
	fill(&b, "abcdef");
	buf_compact(&b);
	holds(&b, "abcdef");
	buf_used(&b, 4);
	buf_compact(&b);
	holds(&b, "ef");
	assert_int_equal(b.head, 0);
	assert_int_equal(buf_room(&b).iov_len, BUF_BLOCK - 2);
	buf_give(&b);
}

static void test_grow(void **state)
{
	static const struct { uint32_t size, cap; } row[] = {
		{ 0, BUF_BLOCK }, { 1, BUF_BLOCK }, { BUF_BLOCK, BUF_BLOCK },
		{ BUF_BLOCK + 1, BUF_BLOCK + 1 }, { 100000, 100000 }, { 5, 100000 },
	};
	struct buf b = { NULL, 0, 0, 0 };

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		assert_true(buf_grow(&b, row[i].size));
		assert_int_equal(b.cap, row[i].cap);
		if (i == 0) {
			fill(&b, "xxkept");
			buf_used(&b, 2);
		}
		holds(&b, "kept");
	}
	assert_int_equal(block_held(), 0);	/* larger ones are no blocks */
	buf_give(&b);
}

/* A full block of which a part was used has room again after buf_grow(). */
static void test_grow_makes_room(void **state)
{
	struct buf b = { NULL, 0, 0, 0 };

	assert_true(buf_take(&b));
	memset(b.base, 'a', BUF_BLOCK);
	buf_filled(&b, BUF_BLOCK);
	buf_used(&b, BUF_BLOCK - 3);
	assert_int_equal(buf_room(&b).iov_len, 0);
	assert_true(buf_grow(&b, BUF_BLOCK));
	holds(&b, "aaa");
	assert_int_equal(buf_room(&b).iov_len, BUF_BLOCK - 3);
	buf_give(&b);
}

static void test_give_whatever_is_in_it(void **state)
{
	struct buf b = { NULL, 0, 0, 0 };

	assert_true(buf_take(&b));
	fill(&b, "unread");
	buf_give(&b);
	holds(&b, "");
	assert_int_equal(block_held(), 0);
}

static void test_blocks_are_used_again(void **state)
{
	void *first = block_take(), *second = block_take();

	assert_non_null(first);
	assert_non_null(second);
	assert_ptr_not_equal(first, second);
	assert_int_equal(block_held(), 2 * BUF_BLOCK);
	block_give(first);
	assert_ptr_equal(block_take(), first);
	block_give(second);
	block_give(first);
	block_give(NULL);
	assert_int_equal(block_held(), 0);
}

/* More than the slab keeps: the rest goes back to malloc. */
static void test_slab_is_bounded(void **state)
{
	enum { MANY = 600 };
	static void *block[MANY];

	for (int i = 0; i < MANY; i++)
		assert_non_null(block[i] = block_take());
	assert_int_equal(block_held(), MANY * (size_t)BUF_BLOCK);
	for (int i = 0; i < MANY; i++)
		block_give(block[i]);
	assert_int_equal(block_held(), 0);
	memset(block, 0, sizeof(block));	/* what is not kept or freed is a leak now */
}

static void *other_thread(void *arg)
{
	void *mine = block_take();
	bool apart = block_held() == BUF_BLOCK && mine != arg;

	block_give(mine);
	block_sweep();
	return apart ? arg : NULL;
}

static void test_a_slab_belongs_to_its_thread(void **state)
{
	void *block = block_take(), *said;
	pthread_t t;

	block_give(block);			/* spare, but not for the other thread */
	assert_int_equal(pthread_create(&t, NULL, other_thread, block), 0);
	assert_int_equal(pthread_join(t, &said), 0);
	assert_ptr_equal(said, block);
	assert_int_equal(block_held(), 0);
}

#define TEST(fn) cmocka_unit_test_teardown(fn, nothing_is_held)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty), TEST(test_take_fill_use_give), TEST(test_compact),
		TEST(test_grow), TEST(test_grow_makes_room), TEST(test_give_whatever_is_in_it),
		TEST(test_blocks_are_used_again), TEST(test_slab_is_bounded),
		TEST(test_a_slab_belongs_to_its_thread),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
