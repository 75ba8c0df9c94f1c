/* way: TLS that begins behind octets read too early, and TLS inside TLS. */
#include "net/way.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "certs.h"
#include "ground/buf.h"
#include "net/tls.h"

enum { BULK = 300000 };

static struct tls_ctx *client, *server;
static int fd[2];

static bool waits(enum io io)
{
	return io == IO_WANT_READ || io == IO_WANT_WRITE;
}

static void shake(struct tls *a, struct tls *b)
{
	enum io of_a = IO_WANT_READ, of_b = IO_WANT_READ;

	for (int i = 0; i < 200 && (waits(of_a) || waits(of_b)); i++) {
		if (waits(of_a))
			of_a = tls_handshake(a);
		if (waits(of_b))
			of_b = tls_handshake(b);
	}
	if (of_a != IO_DONE || of_b != IO_DONE)
		fail_msg("%d (%s), %d (%s)", of_a, tls_detail(a), of_b, tls_detail(b));
}

/* What one end writes the other reads, in the same order, to the last octet. */
static void carry(struct tls *from, struct tls *to, size_t len)
{
	char *out = malloc(len), *in = malloc(len);
	size_t put_all = 0, got_all = 0;

	for (size_t i = 0; i < len; i++)
		out[i] = (char)(i * 31 + i / 7);
	for (int rounds = 0; rounds < 100000 && got_all < len; rounds++) {
		struct iovec v = { out + put_all, len - put_all };
		size_t put = 0, got = 0;

		if (put_all < len)
			assert_int_not_equal(tls_write(from, &v, 1, &put), IO_FAILED);
		put_all += put;
		if (tls_read(to, (struct iovec){ in + got_all, len - got_all }, &got) == IO_FAILED)
			fail_msg("%s", tls_detail(to));
		got_all += got;
	}
	assert_int_equal(got_all, len);
	assert_memory_equal(in, out, len);
	free(out);
	free(in);
}

static void pair_open(void)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
}

static void pair_close(void)
{
	close(fd[0]);
	close(fd[1]);
}

/* -- octets read too early --------------------------------------------------------- */

/* The server has read `n` octets of the ClientHello before it knew what they are. */
static void test_behind_early_octets(void **state)
{
	static const size_t row[] = { 1, 2, 5, 6, 100, 4096 };

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		char early[4096];
		struct tls *a, *b;
		ssize_t n;

		pair_open();
		a = tls_new(client, fd[0], STR("localhost"));
		assert_int_equal(tls_handshake(a), IO_WANT_READ);
		n = recv(fd[1], early, row[i], 0);
		assert_true(n > 0);
		b = tls_new(server, fd[1], STR_NONE);
		assert_true(tls_unread(b, (struct str){ early, (size_t)n }));
		shake(a, b);
		carry(a, b, BULK);
		carry(b, a, BULK);
		tls_free(a);
		tls_free(b);
		pair_close();
	}
}

static void test_early_octets_in_two_pieces(void **state)
{
	char early[64];
	struct tls *a, *b;

	pair_open();
	a = tls_new(client, fd[0], STR("localhost"));
	assert_int_equal(tls_handshake(a), IO_WANT_READ);
	assert_int_equal(recv(fd[1], early, 64, 0), 64);
	b = tls_new(server, fd[1], STR_NONE);
	assert_true(tls_unread(b, (struct str){ early + 10, 54 }));
	assert_true(tls_unread(b, (struct str){ early, 10 }));	/* goes before */
	shake(a, b);
	tls_free(a);
	tls_free(b);
	pair_close();
}

static void test_early_octets_that_are_no_tls(void **state)
{
	struct tls *b;

	pair_open();
	b = tls_new(server, fd[1], STR_NONE);
	assert_true(tls_unread(b, STR("GET / HTTP/1.1\r\n\r\n")));
	assert_int_equal(tls_handshake(b), IO_FAILED);
	assert_string_equal(tls_detail(b), "plain HTTP on a TLS port");
	tls_free(b);
	pair_close();
}

/* -- inside ---------------------------------------------------------------------------- */

struct nest {
	struct tls *a, *b;		/* the inner ones: they own the outer */
};

static struct nest nest_open(void)
{
	struct nest n;
	struct tls *outer_a, *outer_b;

	pair_open();
	outer_a = tls_new(client, fd[0], STR("localhost"));
	outer_b = tls_new(server, fd[1], STR_NONE);
	shake(outer_a, outer_b);
	n.a = tls_new_inside(client, outer_a, STR("localhost"));
	n.b = tls_new_inside(server, outer_b, STR_NONE);
	assert_non_null(n.a);
	assert_non_null(n.b);
	shake(n.a, n.b);
	return n;
}

static void nest_close(struct nest *n)
{
	tls_free(n->a);
	tls_free(n->b);
	pair_close();
}

static void test_inside(void **state)
{
	static const size_t row[] = { 1, 100, 16384, 16385, BULK };
	struct nest n = nest_open();

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		carry(n.a, n.b, row[i]);
		carry(n.b, n.a, row[i]);
	}
	nest_close(&n);
}

static void test_an_end_inside(void **state)
{
	struct nest n = nest_open();
	char room[8];
	size_t got;

	assert_int_equal(tls_read(n.a, (struct iovec){ room, sizeof(room) }, &got), IO_WANT_READ);
	assert_int_equal(tls_shut(n.b), IO_DONE);
	assert_int_equal(tls_read(n.a, (struct iovec){ room, sizeof(room) }, &got), IO_EOF);
	nest_close(&n);
}

/* The outer one ends properly, the inner one never did: that is a truncation. */
static void test_a_truncation_inside(void **state)
{
	static const bool row[] = { false, true };

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		struct tls *outer_a, *outer_b, *inner;

		pair_open();
		outer_a = tls_new(client, fd[0], STR("localhost"));
		outer_b = tls_new(server, fd[1], STR_NONE);
		shake(outer_a, outer_b);
		inner = tls_new_inside(client, outer_a, STR("localhost"));
		assert_int_equal(tls_handshake(inner), IO_WANT_READ);
		if (row[i])
			tls_shut(outer_b);
		shutdown(fd[1], SHUT_RDWR);
		assert_int_equal(tls_handshake(inner), IO_FAILED);
		tls_free(inner);
		tls_free(outer_b);
		pair_close();
	}
}

/* One record of the outer connection may hold several of the inner one, of which
 * the kernel will not tell again. */
static void test_pending_inside(void **state)
{
	struct nest n = nest_open();
	struct iovec v = { "x", 1 };
	char octet;
	size_t put, got;
	int more = 0;

	assert_int_equal(tls_read(n.b, (struct iovec){ &octet, 1 }, &got), IO_WANT_READ);
	for (int i = 0; i < 20; i++)
		assert_int_equal(tls_write(n.a, &v, 1, &put), IO_DONE);
	assert_int_equal(tls_read(n.b, (struct iovec){ &octet, 1 }, &got), IO_DONE);
	while (tls_has_pending(n.b) &&
	       tls_read(n.b, (struct iovec){ &octet, 1 }, &got) == IO_DONE)
		more++;
	assert_int_equal(more, 19);
	nest_close(&n);
}

static void test_wrong_name_inside(void **state)
{
	struct tls *outer_a, *outer_b, *a, *b;
	enum io io = IO_WANT_READ, of_b = IO_WANT_READ;

	pair_open();
	outer_a = tls_new(client, fd[0], STR("localhost"));
	outer_b = tls_new(server, fd[1], STR_NONE);
	shake(outer_a, outer_b);
	a = tls_new_inside(client, outer_a, STR("other.test"));
	b = tls_new_inside(server, outer_b, STR_NONE);
	for (int i = 0; i < 50 && (waits(io) || waits(of_b)); i++) {
		if (waits(io))
			io = tls_handshake(a);
		if (waits(of_b))
			of_b = tls_handshake(b);
	}
	assert_int_equal(io, IO_FAILED);
	assert_int_equal(tls_why(a), WHY_TLS_CERTIFICATE);
	tls_free(a);
	tls_free(b);
	pair_close();
}

static int set_up(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	certs_open("DNS:localhost");
	client = certs_context(TLS_CLIENT);
	server = certs_context(TLS_SERVER);
	return 0;
}

static int tear_down(void **state)
{
	tls_ctx_free(client);
	tls_ctx_free(server);
	certs_close();
	block_sweep();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_behind_early_octets),
		cmocka_unit_test(test_early_octets_in_two_pieces),
		cmocka_unit_test(test_early_octets_that_are_no_tls),
		cmocka_unit_test(test_inside),
		cmocka_unit_test(test_an_end_inside),
		cmocka_unit_test(test_a_truncation_inside),
		cmocka_unit_test(test_pending_inside),
		cmocka_unit_test(test_wrong_name_inside),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
