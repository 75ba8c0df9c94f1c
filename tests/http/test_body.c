/* body: random sequences of operations against a model in which octet p of a
 * body is pattern(p), so that every octet delivered can be checked by place. */
#include "http/body.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "ground/buf.h"

enum { K = 1024, M = 1024 * K };

static char dir[] = "/tmp/test-body-XXXXXX";
static uint32_t seed;

static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % sides;
}

static char pattern(uint64_t p)
{
	return (char)((p * UINT64_C(0x9e3779b97f4a7c15)) >> 56);
}

static void fill(char *at, size_t n, uint64_t from)
{
	for (size_t i = 0; i < n; i++)
		at[i] = pattern(from + i);
}

static void check_octets(const char *at, size_t n, uint64_t from)
{
	for (size_t i = 0; i < n; i++)
		if (at[i] != pattern(from + i))
			fail_msg("octet %llu is wrong", (unsigned long long)(from + i));
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Adds up to n octets by body_room(), as a socket would: often fewer than the
 * room. Returns those added. */
static size_t put(struct body *b, size_t n, bool short_reads)
{
	struct iovec v[BODY_IOV];
	uint64_t at = body_length(b);
	int k = body_room(b, n, v);
	size_t room = 0, done = 0;

	for (int i = 0; i < k; i++) {
		assert_true(v[i].iov_len > 0);
		room += v[i].iov_len;
	}
	assert_true(room <= n);
	if (short_reads && room > 0)
		room = dice((uint32_t)room + 1);
	for (int i = 0; i < k && done < room; i++) {
		size_t part = v[i].iov_len;

		if (part > room - done)
			part = room - done;
		fill(v[i].iov_base, part, at + done);
		done += part;
	}
	body_filled(b, room);
	assert_int_equal(body_length(b), at + room);
	return room;
}

static size_t append(struct body *b, size_t n)
{
	char *at = malloc(n + 1);
	size_t done;

	fill(at, n, body_length(b));
	done = body_append(b, (struct str){ at, n });
	assert_true(done <= n);
	free(at);
	return done;
}

static void check_span(const struct body_span *s, uint64_t from)
{
	size_t sum = 0;

	if (s->fd >= 0) {
		char *at = malloc(s->len);

		assert_int_equal(s->n, 0);
		assert_int_equal(pread(s->fd, at, s->len, s->at), s->len);
		check_octets(at, s->len, from);
		free(at);
		return;
	}
	for (int i = 0; i < s->n; i++) {
		assert_true(s->v[i].iov_len > 0);
		check_octets(s->v[i].iov_base, s->v[i].iov_len, from + sum);
		sum += s->v[i].iov_len;
	}
	assert_int_equal(sum, s->len);
}

/* Looks at all that is offered, takes up to n of it. */
static size_t take(struct body *b, size_t n)
{
	struct body_span s;
	uint64_t at = body_taken_length(b);

	body_next(b, &s);
	check_span(&s, at);
	if (s.len == 0)
		assert_int_equal(at, body_length(b));
	if (n > s.len)
		n = s.len;
	body_taken(b, n);
	assert_int_equal(body_taken_length(b), at + n);
	return n;
}

static void take_all(struct body *b)
{
	while (take(b, SIZE_MAX) > 0)
		;
	assert_int_equal(body_taken_length(b), body_length(b));
}

struct bench {
	struct arena *arena;
	struct spool spool;
	unsigned fds;
};

static void bench_open(struct bench *t, uint64_t total)
{
	t->arena = arena_new(4096, M);
	t->spool = (struct spool){ .dir = dir, .total = total };
	t->fds = open_fds();
}

static void bench_close(struct bench *t)
{
	arena_free(t->arena);
	assert_int_equal(block_held(), 0);
	assert_int_equal(atomic_load(&t->spool.used), 0);
	assert_int_equal(atomic_load(&t->spool.files), 0);
	assert_int_equal(open_fds(), t->fds);
}

static struct body *new_body(struct bench *t, size_t memory, uint64_t record)
{
	struct body_limits l = { .memory = memory, .record = record };
	struct body *b = body_new(t->arena, &l, &t->spool);

	assert_non_null(b);
	return b;
}

static void test_empty(void **state)
{
	struct bench t;
	struct body *b;
	struct body_span s;

	bench_open(&t, M);
	b = new_body(&t, 64 * K, M);
	body_next(b, &s);
	assert_int_equal(s.len, 0);
	assert_int_equal(s.fd, -1);
	assert_false(body_has_ended(b));
	assert_false(body_all_taken(b));
	body_end(b);
	assert_true(body_has_ended(b));
	assert_true(body_all_taken(b));
	assert_true(body_rewind(b));
	assert_int_equal(block_held(), 0);
	bench_close(&t);
}

static void test_small_costs_one_block(void **state)
{
	struct bench t;
	struct body *b;
	struct iovec v[BODY_IOV];

	bench_open(&t, M);
	b = new_body(&t, 64 * K, M);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(append(b, 7), 7);
	assert_int_equal(block_held(), BUF_BLOCK);
	/* Room beyond the block is lent, and goes back. */
	assert_int_equal(body_room(b, 64 * K, v), 4);
	body_filled(b, 0);
	assert_int_equal(block_held(), BUF_BLOCK);
	body_end(b);
	take_all(b);
	assert_true(body_all_taken(b));
	assert_int_equal(block_held(), BUF_BLOCK);	/* it may be asked for again */
	assert_true(body_rewind(b));
	take_all(b);
	bench_close(&t);
}

/* Memory to its limit, then the file, sent as a span of it. */
static void test_spills(void **state)
{
	struct bench t;
	struct body *b;
	struct body_span s;

	bench_open(&t, 8 * M);
	b = new_body(&t, 64 * K, 4 * M);
	assert_int_equal(append(b, 64 * K), 64 * K);
	assert_int_equal(body_filed(b), 0);
	assert_int_equal(append(b, M), M);
	assert_int_equal(body_filed(b), M);
	assert_int_equal(atomic_load(&t.spool.used), M);
	assert_int_equal(atomic_load(&t.spool.files), 1);
	assert_int_equal(block_held(), 64 * K);
	body_end(b);
	for (int round = 0; round < 3; round++) {
		assert_true(body_rewind(b));
		while (body_taken_length(b) < 64 * K)
			take(b, 30000);
		body_next(b, &s);
		assert_true(s.fd >= 0);
		assert_int_equal(s.at, 0);
		assert_int_equal(s.len, M);
		take(b, 12345);
		body_next(b, &s);
		assert_int_equal(s.at, 12345);
		take_all(b);
	}
	/* Nothing more is wanted: all goes back before the arena ends. */
	body_forget(b);
	assert_int_equal(block_held(), 0);
	assert_int_equal(atomic_load(&t.spool.files), 0);
	assert_false(body_can_rewind(b));
	assert_false(body_spool_failed(b));
	bench_close(&t);
}

static void test_forget_keeps_untaken(void **state)
{
	struct bench t;
	struct body *b;

	bench_open(&t, 8 * M);
	b = new_body(&t, 64 * K, 4 * M);
	append(b, M);
	take(b, 20000);
	body_forget(b);
	assert_int_equal(block_held(), 4 * BUF_BLOCK - BUF_BLOCK);
	assert_int_equal(atomic_load(&t.spool.files), 1);
	append(b, 10000);
	body_end(b);
	take_all(b);
	assert_true(body_all_taken(b));
	assert_int_equal(body_length(b), M + 10000);
	assert_int_equal(block_held(), 0);
	assert_int_equal(atomic_load(&t.spool.files), 0);
	bench_close(&t);
}

static void test_window_is_bounded(void **state)
{
	struct bench t;
	struct body *b;
	struct iovec v[BODY_IOV];

	bench_open(&t, M);
	b = new_body(&t, 64 * K, M);
	body_forget(b);
	assert_int_equal(append(b, M), 64 * K);
	assert_int_equal(block_held(), 64 * K);
	assert_int_equal(body_room(b, 1, v), 0);
	assert_false(body_failed(b));		/* full, not failed */
	assert_int_equal(take(b, BUF_BLOCK - 1), BUF_BLOCK - 1);
	assert_int_equal(body_room(b, 1, v), 0);
	take(b, 1);
	assert_int_equal(append(b, M), BUF_BLOCK);
	take_all(b);
	assert_int_equal(block_held(), 0);
	bench_close(&t);
}

/* A slow reader keeps its span while the writer goes on, into the file and
 * beyond it. */
static void test_span_outlives_writing(void **state)
{
	static const size_t memories[] = { 0, 64 * K };

	for (int i = 0; i < 2; i++) {
		struct bench t;
		struct body *b;
		struct body_span s;

		bench_open(&t, 8 * M);
		b = new_body(&t, memories[i], 8 * M);
		append(b, 64 * K);
		take_all(b);
		append(b, 3 * BUF_BLOCK - 100);
		body_next(b, &s);
		assert_true(s.len > 0);
		for (int n = 0; n < 50; n++) {
			append(b, 30000);
			check_span(&s, 64 * K);
		}
		body_taken(b, 1);
		check_span(&s, 64 * K);
		body_taken(b, s.len - 1);
		take_all(b);
		bench_close(&t);
	}
}

/* A body of exactly the limit is recorded; one octet more is not. */
static void test_limit(void **state)
{
	static const struct { size_t memory; uint64_t record; } row[] = {
		{ 64 * K, 100 * K }, { 64 * K, 64 * K }, { 64 * K, 1000 }, { 64 * K, 1 },
		{ 0, 100 * K }, { 1, 100001 }, { 128 * K, 128 * K }, { 0, 5 },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct bench t;
		struct body *b;

		bench_open(&t, M);
		b = new_body(&t, row[i].memory, row[i].record);
		assert_int_equal(append(b, row[i].record), row[i].record);
		take(b, SIZE_MAX);
		assert_true(body_can_rewind(b));
		assert_int_equal(append(b, 1), 1);
		assert_false(body_can_rewind(b));
		assert_false(body_rewind(b));
		assert_false(body_spool_failed(b));
		body_end(b);
		take_all(b);
		assert_int_equal(body_length(b), row[i].record + 1);
		bench_close(&t);
	}
}

/* Recording stopped, but nothing was sent yet: it is still whole. */
static void test_untouched_is_whole(void **state)
{
	struct bench t;
	struct body *b;

	bench_open(&t, M);
	b = new_body(&t, 64 * K, 1000);
	append(b, 5000);
	assert_true(body_rewind(b));
	take(b, 1);
	assert_false(body_rewind(b));
	take_all(b);
	bench_close(&t);
}

static void play_after_failure(struct bench *t, struct body *b)
{
	uint64_t sent = 0;

	take(b, 10);
	for (int i = 0; i < 500 && sent < 3 * M; i++) {
		sent += append(b, 100000);
		take(b, 150000);
	}
	assert_true(body_length(b) >= 3 * M);
	assert_false(body_can_rewind(b));
	assert_true(body_spool_failed(b));
	assert_false(body_failed(b));
	assert_true(atomic_load(&t->spool.failed) == 1);
	body_end(b);
	take_all(b);
	assert_true(body_all_taken(b));
	assert_int_equal(block_held(), 0);
}

static void test_spool_total(void **state)
{
	static const uint64_t total[] = { 0, 1, BUF_BLOCK, 200000, M };

	for (size_t i = 0; i < sizeof(total) / sizeof(total[0]); i++) {
		struct bench t;

		bench_open(&t, total[i]);
		play_after_failure(&t, new_body(&t, 64 * K, 16 * M));
		bench_close(&t);
	}
}

static void test_spool_is_shared(void **state)
{
	struct bench t;
	struct body *a, *b;

	bench_open(&t, 100 * K);
	a = new_body(&t, 0, M);
	b = new_body(&t, 0, M);
	append(a, 80 * K);
	append(b, 80 * K);
	take(a, 1);
	take(b, 1);
	assert_true(body_can_rewind(a));
	assert_false(body_can_rewind(b));
	assert_true(atomic_load(&t.spool.used) <= 100 * K);
	take_all(a);
	body_forget(a);
	take_all(b);
	bench_close(&t);
}

static void test_no_directory(void **state)
{
	struct bench t;

	bench_open(&t, M);
	t.spool.dir = "/nonexistent/spool";
	play_after_failure(&t, new_body(&t, 64 * K, 16 * M));
	bench_close(&t);
}

/* The file may grow to a size in the middle of a write. */
static void test_file_too_big(void **state)
{
	static const rlim_t most[] = { 0, 5000, 100001, 20 * BUF_BLOCK };
	struct rlimit old;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		struct rlimit now = { most[i], old.rlim_max };
		struct bench t;

		bench_open(&t, 64 * M);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
		play_after_failure(&t, new_body(&t, 64 * K, 16 * M));
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		bench_close(&t);
	}
}

/* A stand-in for libc's: it writes no more than this at once, is interrupted in
 * between, and finds the disk full behind so many octets. */
static size_t write_most = SIZE_MAX, disk_room = SIZE_MAX;
static bool interrupts;

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	static unsigned calls;
	size_t done = 0;

	if (interrupts && calls++ % 3 == 1) {
		errno = EINTR;
		return -1;
	}
	errno = ENOSPC;
	for (int i = 0; i < n && done < write_most && disk_room; i++) {
		size_t len = v[i].iov_len;
		ssize_t r;

		if (len > write_most - done)
			len = write_most - done;
		if (len > disk_room)
			len = disk_room;
		r = pwrite(fd, v[i].iov_base, len, at + (off_t)done);
		if (r <= 0)
			break;
		disk_room -= disk_room == SIZE_MAX ? 0 : (size_t)r;
		done += (size_t)r;
	}
	return done ? (ssize_t)done : -1;
}

/* The file takes a piece at a time: nothing is lost, and nothing stands twice. */
static void test_short_writes(void **state)
{
	static const size_t most[] = { 100, BUF_BLOCK - 1, BUF_BLOCK, BUF_BLOCK + 1, 3 * BUF_BLOCK };

	interrupts = true;
	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		struct bench t;
		struct body *b;

		write_most = most[i];
		bench_open(&t, 64 * M);
		b = new_body(&t, 16 * K, 16 * M);
		while (body_length(b) < 500000)
			append(b, 100000);
		assert_true(body_filed(b) > 400000);
		body_end(b);
		for (int turn = 0; turn < 3; turn++) {
			take_all(b);
			assert_true(body_rewind(b));
		}
		assert_false(body_spool_failed(b));
		bench_close(&t);
	}
	write_most = SIZE_MAX;
	interrupts = false;
}

/* The disk is full in the middle of a write: what is half in the file is still whole
 * in memory, and goes on from there. */
static void test_disk_full_midway(void **state)
{
	static const size_t room[] = { 1, BUF_BLOCK - 1, BUF_BLOCK + 1, 5 * BUF_BLOCK + 7 };

	for (size_t i = 0; i < sizeof(room) / sizeof(room[0]); i++) {
		struct bench t;

		disk_room = room[i];
		write_most = BUF_BLOCK / 2;
		bench_open(&t, 64 * M);
		play_after_failure(&t, new_body(&t, 16 * K, 16 * M));
		assert_int_equal(disk_room, 0);
		bench_close(&t);
	}
	write_most = disk_room = SIZE_MAX;
}

/* The arena has no room for another block's link. */
static void test_no_memory(void **state)
{
	struct bench t;
	struct body *b;
	struct iovec v[BODY_IOV];
	size_t got;

	bench_open(&t, 64 * M);
	b = new_body(&t, 16 * M, 64 * M);
	arena_free(t.arena);
	t.arena = arena_new(512, 512);
	b = new_body(&t, 16 * M, 64 * M);
	got = append(b, M);
	assert_true(got > 0 && got < M);
	assert_true(body_spool_failed(b));
	assert_false(body_failed(b));		/* taking some will help */
	take(b, got - BUF_BLOCK);
	assert_false(body_can_rewind(b));
	assert_int_equal(append(b, 20000), 20000);
	take_all(b);
	bench_close(&t);

	bench_open(&t, M);
	t.arena = (arena_free(t.arena), arena_new(512, 512));
	b = new_body(&t, 64 * K, M);
	while (arena_get(t.arena, 16))
		;
	assert_int_equal(body_room(b, 1, v), 0);
	assert_true(body_failed(b));
	bench_close(&t);
}

/* Others hold much: from the next block on the file takes it all. */
static void test_memory_is_short(void **state)
{
	struct body_limits l = { .memory = M, .record = M, .held = 4 * BUF_BLOCK };
	void *others[5];

	for (unsigned before = 0; before <= 3 * BUF_BLOCK; before += 20000) {
		struct bench t;
		struct body *b;

		bench_open(&t, M);
		b = body_new(t.arena, &l, &t.spool);
		assert_non_null(b);
		assert_int_equal(append(b, before), before);
		assert_int_equal(body_filed(b), 0);
		for (unsigned i = 0; i < 5; i++)
			others[i] = block_take();
		assert_int_equal(append(b, 200000), 200000);
		assert_true(body_filed(b) > 150000);
		assert_true(block_held() < 10 * BUF_BLOCK);
		assert_true(body_rewind(b));
		body_end(b);
		take_all(b);
		assert_true(body_rewind(b));
		take_all(b);
		for (unsigned i = 0; i < 5; i++)
			block_give(others[i]);
		bench_close(&t);
	}
}

static void test_huge_limits(void **state)
{
	struct bench t;
	struct body *b;

	bench_open(&t, UINT64_MAX);
	b = new_body(&t, SIZE_MAX, UINT64_MAX);
	assert_int_equal(append(b, M), M);
	assert_int_equal(body_filed(b), 0);
	assert_int_equal(block_held(), M);
	bench_close(&t);
}

/* Looks, lets the writer go on, and only then takes up to n. */
static void take_late(struct body *b, size_t n, uint32_t most)
{
	struct body_span s;
	uint64_t at = body_taken_length(b);

	body_next(b, &s);
	for (uint32_t turns = dice(4); turns > 0; turns--)
		put(b, 1 + dice(most), true);
	check_span(&s, at);
	body_taken(b, n < s.len ? n : s.len);
}

/* One random life of a body. */
static void live(struct bench *t)
{
	static const size_t memories[] = { 0, 1, 16 * K, 64 * K, 100000 };
	static const uint64_t records[] = { 0, 1000, 64 * K, 300000, 8 * M };
	struct body *b = new_body(t, memories[dice(5)], records[dice(5)]);
	bool forgotten = false;
	uint32_t most = 1u << (1 + dice(18));

	for (int i = 0; i < 120; i++) {
		switch (dice(9)) {
		case 8:
			take_late(b, dice(most), most);
			break;
		case 0: case 1:
			append(b, dice(most));
			break;
		case 2: case 3:
			put(b, 1 + dice(most), true);
			break;
		case 4: case 5:
			take(b, dice(most));
			break;
		case 6:
			take(b, SIZE_MAX);
			break;
		default:
			if (forgotten && body_taken_length(b) > 0)
				assert_false(body_can_rewind(b));
			assert_int_equal(body_can_rewind(b), body_rewind(b));
			if (dice(20) == 0) {
				body_forget(b);
				forgotten = true;
			}
		}
		assert_true(body_taken_length(b) <= body_length(b));
	}
	body_end(b);
	take_all(b);
	assert_true(body_all_taken(b));
	if (body_rewind(b))
		take_all(b);
}

static void test_random_lives(void **state)
{
	static const uint64_t totals[] = { 0, 50000, 200000, 64 * M };

	for (seed = 1; seed < 1500; seed += 2) {
		uint32_t first = seed;
		struct bench t;

		bench_open(&t, totals[dice(4)]);
		for (unsigned n = 1 + dice(3); n > 0; n--)
			live(&t);
		arena_reset(t.arena);
		assert_int_equal(block_held(), 0);
		live(&t);
		bench_close(&t);
		seed = first;
	}
}

static int make_dir(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

/* rmdir also proves that no file was left behind. */
static int remove_dir(void **state)
{
	block_sweep();
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_small_costs_one_block),
		cmocka_unit_test(test_spills),
		cmocka_unit_test(test_forget_keeps_untaken),
		cmocka_unit_test(test_window_is_bounded),
		cmocka_unit_test(test_span_outlives_writing),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_untouched_is_whole),
		cmocka_unit_test(test_spool_total),
		cmocka_unit_test(test_spool_is_shared),
		cmocka_unit_test(test_no_directory),
		cmocka_unit_test(test_file_too_big),
		cmocka_unit_test(test_short_writes),
		cmocka_unit_test(test_disk_full_midway),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_memory_is_short),
		cmocka_unit_test(test_huge_limits),
		cmocka_unit_test(test_random_lives),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
