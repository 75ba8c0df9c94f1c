/* lane: order and account of octets, over short writes and files. */
#include "worker/lane.h"

#include "../net/loop.h"

static struct conn *to;
static int peer;
static bool may_write;			/* WRITABLE came */
static char got[1 << 20];
static size_t got_n;

static void hear(void *owner, struct conn *c, enum conn_event ev)
{
	if (ev == CONN_WRITABLE)
		may_write = true;
	else
		conn_pause(c);
}

static void join(int room)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	if (room)
		setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	to = conn_accept(&net, fd[0], hear, NULL);
	peer = fd[1];
	got_n = 0;
}

static void part(void)
{
	conn_close(to);
	close(peer);
	turn();
}

static int begin(void **state)
{
	loop_open();
	return 0;
}

static int end(void **state)
{
	loop_close();
	return 0;
}

static void receive(void)
{
	ssize_t n;

	while ((n = read(peer, got + got_n, sizeof(got) - got_n)) > 0)
		got_n += (size_t)n;
}

static void check_got(const char *want)
{
	receive();
	assert_int_equal(got_n, strlen(want));
	assert_memory_equal(got, want, got_n);
	got_n = 0;
}

static void test_slices(void **state)
{
	static const char text[] = "abcdef";
	struct lane l;

	join(0);
	lane_init(&l);
	assert_true(lane_is_empty(&l));
	assert_int_equal(lane_flush(&l, to), IO_DONE);
	lane_add(&l, STR(""));
	lane_add(&l, STR_NONE);
	assert_true(lane_is_empty(&l));
	lane_add(&l, (struct str){ text, 2 });
	assert_false(lane_is_empty(&l));
	lane_add(&l, (struct str){ text + 2, 2 });	/* goes on where the other ended */
	assert_int_equal(l.n, 1);
	lane_add(&l, (struct str){ text, 1 });
	assert_int_equal(l.n, 2);
	assert_int_equal(lane_flush(&l, to), IO_DONE);
	assert_true(lane_is_empty(&l));
	assert_int_equal(l.moved, 5);
	check_got("abcda");
	lane_add(&l, STR("more"));
	assert_int_equal(lane_flush(&l, to), IO_DONE);
	assert_int_equal(l.moved, 9);
	check_got("more");
	part();
}

static void test_room(void **state)
{
	static const char text[] = "-a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p";
	struct lane l;

	join(0);
	lane_init(&l);
	for (unsigned i = 0; i < LANE_IOV; i++) {
		assert_true(lane_has_room(&l, LANE_IOV - i));
		assert_false(lane_has_room(&l, LANE_IOV - i + 1));
		lane_add(&l, (struct str){ text + 2 * i + 1, 1 });
	}
	assert_int_equal(lane_flush(&l, to), IO_DONE);
	check_got("abcdefghijklmnop");
	assert_true(lane_has_room(&l, LANE_IOV));
	lane_add_file(&l, 0, 0, 1, STR_NONE);
	assert_false(lane_has_room(&l, 1));	/* nothing goes behind a file */
	lane_drop(&l);
	assert_true(lane_has_room(&l, LANE_IOV));
	part();
}

static void test_drop(void **state)
{
	struct lane l;

	join(0);
	lane_init(&l);
	lane_add(&l, STR("sent"));
	lane_flush(&l, to);
	lane_add(&l, STR("never"));
	lane_add_file(&l, 0, 0, 5, STR("nor this"));
	lane_drop(&l);
	assert_true(lane_is_empty(&l));
	assert_int_equal(l.moved, 4);		/* what moved has moved */
	assert_int_equal(lane_flush(&l, to), IO_DONE);
	check_got("sent");
	part();
}

/* A file of octets that tell where they belong. */
static int file_of(size_t n)
{
	FILE *f = tmpfile();
	int fd;

	for (size_t i = 0; i < n; i++)
		putc((int)(i % 251), f);
	fflush(f);
	fd = dup(fileno(f));
	fclose(f);
	return fd;
}

/* Slices, then a piece of a file, then what comes after it: whatever the kernel
 * takes at a time. */
static void test_order(void **state)
{
	static const struct { int room; size_t slice, file_at, file, after; } row[] = {
		{ 0, 5, 0, 0, 0 }, { 0, 5, 3, 10, 2 }, { 0, 0, 3, 10, 2 }, { 0, 0, 3, 10, 0 },
		{ 0, 5, 3, 0, 2 }, { 4096, 100000, 0, 0, 0 }, { 4096, 5, 0, 200000, 2 },
		{ 4096, 100000, 7, 100000, 100000 }, { 4096, 0, 0, 0, 100000 },
	};
	static char slices[200000], after[100000];

	memset(slices, 's', sizeof(slices));
	memset(after, 'a', sizeof(after));
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		size_t all = 2 * row[i].slice + row[i].file + row[i].after, at = 0;
		int fd = file_of(row[i].file_at + row[i].file);
		unsigned short_ones = 0;
		struct lane l;
		enum io io;

		join(row[i].room);
		lane_init(&l);
		lane_add(&l, (struct str){ slices, row[i].slice });
		lane_add(&l, (struct str){ slices + 1, row[i].slice });
		if (row[i].file || row[i].after)
			lane_add_file(&l, fd, (off_t)row[i].file_at, row[i].file,
				      (struct str){ after, row[i].after });
		while ((io = lane_flush(&l, to)) == IO_WANT_WRITE) {
			assert_false(lane_is_empty(&l));
			assert_true(conn_write_waits(to));
			short_ones++;
			receive();
			assert_int_equal(got_n, l.moved);
			may_write = false;
			TURN_UNTIL(may_write);
		}
		assert_int_equal(io, IO_DONE);
		assert_true(lane_is_empty(&l));
		assert_true(row[i].room == 0 || short_ones > 2);
		receive();
		assert_int_equal(got_n, all);
		assert_int_equal(l.moved, all);
		while (at < 2 * row[i].slice)
			assert_int_equal(got[at++], 's');
		for (size_t f = row[i].file_at; f < row[i].file_at + row[i].file; f++)
			assert_int_equal((unsigned char)got[at++], f % 251);
		while (at < all)
			assert_int_equal(got[at++], 'a');
		close(fd);
		part();
	}
}

/* More may be added while some waits. */
static void test_adding_while_some_waits(void **state)
{
	static char much[50000];
	struct lane l;
	unsigned added = 0;

	memset(much, 'm', sizeof(much));
	join(4096);
	lane_init(&l);
	for (int i = 0; i < TURNS_MOST && (added < 40 || !lane_is_empty(&l)); i++) {
		while (added < 40 && lane_has_room(&l, 2)) {
			lane_add(&l, (struct str){ much, 1000 + added });
			lane_add(&l, STR("|"));
			added++;
		}
		assert_int_not_equal(lane_flush(&l, to), IO_FAILED);
		receive();
		turn();
	}
	assert_true(lane_is_empty(&l));
	assert_int_equal(l.moved, got_n);
	for (size_t n = 0, at = 0; n < 40; n++) {
		for (size_t j = 0; j < 1000 + n; j++)
			assert_int_equal(got[at++], 'm');
		assert_int_equal(got[at++], '|');
	}
	part();
}

static void test_failures(void **state)
{
	int fd = file_of(10);
	struct lane l;
	enum io io;

	join(0);
	lane_init(&l);
	lane_add_file(&l, fd, 0, 11, STR("end"));	/* the file is shorter than was said */
	while ((io = lane_flush(&l, to)) == IO_WANT_WRITE) {
		may_write = false;
		TURN_UNTIL(may_write);
	}
	assert_int_equal(io, IO_FAILED);
	receive();
	assert_true(got_n <= 10);		/* and what comes after it is not sent */
	assert_int_equal(l.moved, got_n);
	part();
	join(0);
	shutdown(peer, SHUT_RDWR);
	lane_init(&l);
	lane_add(&l, STR("x"));
	lane_add_file(&l, fd, 0, 10, STR("end"));
	assert_int_equal(lane_flush(&l, to), IO_FAILED);
	assert_int_equal(l.moved, 0);
	assert_false(lane_is_empty(&l));
	part();
	close(fd);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_slices), TEST(test_room), TEST(test_drop), TEST(test_order),
		TEST(test_adding_while_some_waits), TEST(test_failures),
	};

	return cmocka_run_group_tests_name("lane", tests, NULL, NULL);
}
