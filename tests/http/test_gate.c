/* The end of a head, folds, trailers: what the gate says of octets alone. How
 * whole messages fare is in the rows of test_message.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "http/gate.h"

static const struct reader_limits limits = {
	.head = 200, .line = 80, .fields = 4, .extensions = 64, .trailer = 64, .interim = 2,
};

#define RAW(literal) { literal, sizeof(literal) - 1 }

/* n > 0: the head has n octets; else why, WHY_DONE for "not there yet". `at`: the
 * number of octets after which that can be said. */
struct find {
	struct str in;
	bool is_request;
	size_t n;
	enum why why;
	size_t at;
};

#define FIELD_20 "abcdefgh: 123456789\r\n"

static const struct find finds[] = {
	{ RAW("GET / HTTP/1.1\r\n\r\nrest"), true, 18, WHY_DONE, 18 },
	{ RAW("GET / HTTP/1.1\r\na: b\r\n\r\n\r\n"), true, 24, WHY_DONE, 24 },
	{ RAW("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), true, 22, WHY_DONE, 22 },
	{ RAW("\r\n\r\n\r\n"), true, 0, WHY_BAD_LINE, 5 },
	{ RAW("\rG"), true, 0, WHY_BAD_LINE, 2 },
	{ RAW("\n"), true, 0, WHY_BAD_LINE, 1 },
	{ RAW(" GET"), true, 0, WHY_BAD_LINE, 1 },
	{ RAW("\x16\x03\x01\x02"), true, 0, WHY_BAD_LINE, 1 },
	{ RAW("GET / HTTP/1.1\r\n"), true, 0, WHY_DONE, 0 },
	{ RAW("GET / HTTP/1.1\r\n\r"), true, 0, WHY_DONE, 0 },
	{ RAW("GET / HTTP/1.1\n"), true, 0, WHY_BAD_LINE, 15 },
	{ RAW("GET /\r\nHost: x\r\n\r\n"), true, 0, WHY_BAD_LINE, 7 },
	{ RAW("HTTP/1.1\r\n\r\n"), true, 0, WHY_BAD_LINE, 10 },
	{ RAW("GET / HTTP/2.0\r\n\r\n"), true, 18, WHY_DONE, 18 },
	{ RAW("GET / HTTP/1.1\r\na: b\n\r\n"), true, 0, WHY_BAD_FIELD, 21 },
	{ RAW("GET / HTTP/1.1\r\n\n"), true, 0, WHY_BAD_FIELD, 17 },
	{ RAW("GET / HTTP/1.1\r\n\rX\r\n\r\n"), true, 22, WHY_DONE, 22 },
	{ RAW("GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n"), true, 34, WHY_DONE, 34 },
	{ RAW("GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\n"), true, 0, WHY_HEAD_TOO_BIG, 36 },
	{ RAW("GET /567890123456789012345678901234567890123456789012345678901234567890"
	      " HTTP/1.1\r\n\r\n"), true, 84, WHY_DONE, 84 },
	{ RAW("GET /5678901234567890123456789012345678901234567890123456789012345678901"
	      " HTTP/1.1\r\n\r\n"), true, 0, WHY_TARGET_TOO_LONG, 81 },
	{ RAW("M23456789012345678901234567890123456789012345678901234567890123456"
	      " / HTTP/1.1 1234\r\n"), true, 0, WHY_NO_METHOD, 81 },
	{ RAW("GET / HTTP/1.1\r\n" FIELD_20 FIELD_20 "long: 9012345678901234567890123456789012345"
	      "6789012345678901234567890123456789012345678901234567890123456789012345678901234567"
	      "8901234567890123456"), true, 0, WHY_HEAD_TOO_BIG, 201 },
	{ RAW("HTTP/1.1 200 OK\r\n\r\n"), false, 19, WHY_DONE, 19 },
	{ RAW("HTTP/1.1 200\r\na: b\r\n c\r\n\r\nbody"), false, 26, WHY_DONE, 26 },
	{ RAW("HTTP/1.9 200 OK\r\n\r\n"), false, 19, WHY_DONE, 19 },
	{ RAW("HTTP/2 200\r\n\r\n"), false, 0, WHY_BAD_RESPONSE, 6 },
	{ RAW("http/1.1 200 OK\r\n\r\n"), false, 0, WHY_BAD_RESPONSE, 1 },
	{ RAW("HTT\r"), false, 0, WHY_BAD_RESPONSE, 4 },
	{ RAW("\r\nHTTP/1.1 200 OK\r\n\r\n"), false, 0, WHY_BAD_RESPONSE, 1 },
	{ RAW("HTTP/1.1 200 OK\n"), false, 0, WHY_BAD_RESPONSE, 16 },
	{ RAW("HTTP/1.1 200 OK\r\na: b\n"), false, 0, WHY_BAD_RESPONSE, 22 },
	{ RAW("HTTP/1.1 200 12345678901234567890123456789012345678901234567890123456789012345678"
	      "\r\n"), false, 0, WHY_RESPONSE_HEAD_TOO_BIG, 81 },
};

/* As an allocation of its own, so that a sanitizer sees a read too far. */
static size_t find(struct str in, size_t known, struct gate_scan *s, bool is_request,
		   enum why *why)
{
	char *at = malloc(known ? known : 1);
	size_t n;

	assert_non_null(at);
	memcpy(at, in.at, known);
	n = gate_find_head((struct str){ at, known }, s, &limits, is_request, why);
	free(at);
	return n;
}

static void test_find_head(void **state)
{
	for (size_t i = 0; i < sizeof finds / sizeof finds[0]; i++) {
		const struct find *f = &finds[i];
		struct gate_scan whole = { 0 }, bit = { 0 };
		size_t said = 0, n = 0;
		enum why why;

		n = find(f->in, f->in.len, &whole, f->is_request, &why);
		if (n != f->n || why != f->why)
			fail_msg("%zu: %zu, %s instead of %zu, %s", i, n, why_name(why), f->n,
				 why_name(f->why));
		n = 0;
		why = WHY_DONE;
		for (size_t known = 0; known <= f->in.len && !said; known++) {
			n = find(f->in, known, &bit, f->is_request, &why);
			said = n || why != WHY_DONE ? known : 0;
		}
		if (n != f->n || why != f->why || said != f->at)
			fail_msg("%zu in octets: %zu, %s after %zu instead of %zu, %s after %zu",
				 i, n, why_name(why), said, f->n, why_name(f->why), f->at);
	}
}

static void test_folded(void **state)
{
	static const struct { struct str in; bool folded; } fold[] = {
		{ RAW("HTTP/1.1 200 OK\r\na: b\r\n\r\n"), false },
		{ RAW("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n"), true },
		{ RAW("HTTP/1.1 200 OK\r\na: b\r\n\tc\r\nd: e\r\n\r\n"), true },
		{ RAW("HTTP/1.1 200 OK\r\n a: b\r\n\r\n"), true },
	};

	for (size_t i = 0; i < sizeof fold / sizeof fold[0]; i++) {
		for (size_t cut = 0; cut < fold[i].in.len; cut++) {
			struct gate_scan s = { 0 };
			enum why why;

			assert_int_equal(find(fold[i].in, cut, &s, false, &why), 0);
			assert_int_equal(find(fold[i].in, fold[i].in.len, &s, false, &why),
					 fold[i].in.len);
			assert_int_equal(s.folded, fold[i].folded);
		}
	}
}

static void test_unfold(void **state)
{
	static const struct { const char *from, *to; } fold[] = {
		{ "S\r\na: b\r\n c\r\n\r\n", "S\r\na: b   c\r\n\r\n" },
		{ "S\r\na: b\r\n\tc\r\n d\r\n\r\n", "S\r\na: b  \tc   d\r\n\r\n" },
		{ "S\r\na:\r\n \r\n\r\n", "S\r\na:   \r\n\r\n" },
		{ "S\r\n a: b\r\n c\r\n\r\n", "S\r\n a: b   c\r\n\r\n" },
		{ "S\r\na: b\r\n\r\n", "S\r\na: b\r\n\r\n" },
		{ "S\r\n", "S\r\n" }, { "", "" }, { "S", "S" },
	};

	for (size_t i = 0; i < sizeof fold / sizeof fold[0]; i++) {
		char *head = strdup(fold[i].from);

		gate_unfold(head, strlen(head));
		assert_string_equal(head, fold[i].to);
		free(head);
	}
}

static void test_trailer(void **state)
{
	static const struct { struct str section; enum why why; unsigned count; } trailer[] = {
		{ RAW(""), WHY_DONE, 0 },
		{ RAW("a:b\r\n"), WHY_DONE, 1 },
		{ RAW("a:\r\nB: \t c \r\n"), WHY_DONE, 2 },
		{ RAW("a : b\r\n"), WHY_BAD_TRAILER, 0 },
		{ RAW(" a: b\r\n"), WHY_BAD_TRAILER, 0 },
		{ RAW("a: b\r\n c\r\n"), WHY_BAD_TRAILER, 0 },
		{ RAW("a: b"), WHY_BAD_TRAILER, 0 },
		{ RAW("a: b\r"), WHY_BAD_TRAILER, 0 },
		{ RAW("a: b\n"), WHY_BAD_TRAILER, 0 },
		{ RAW("a: \0\r\n"), WHY_BAD_TRAILER, 0 },
		{ RAW("a\r\n"), WHY_BAD_TRAILER, 0 },
		{ RAW("a\r\nb: c\r\n"), WHY_BAD_TRAILER, 0 },
		{ RAW(": b\r\n"), WHY_BAD_TRAILER, 0 },
		{ RAW("\r\n"), WHY_BAD_TRAILER, 0 },
	};
	struct arena *a = arena_new(4096, 1 << 16);

	for (size_t i = 0; i < sizeof trailer / sizeof trailer[0]; i++) {
		size_t len = trailer[i].section.len;
		char *at = malloc(len ? len : 1);
		struct headers h;

		memcpy(at, trailer[i].section.at, len);
		assert_int_equal(gate_trailer((struct str){ at, len }, a, &h), trailer[i].why);
		if (trailer[i].why == WHY_DONE)
			assert_int_equal(h.count, trailer[i].count);
		free(at);
	}
	arena_free(a);
}

/* What is not a whole head is refused, whoever asks. */
static void test_no_head(void **state)
{
	static const struct str piece[] = {
		RAW(""), RAW("\r\n"), RAW("\r\n\r\n"), RAW("\n"), RAW("GET / HTTP/1.1"),
		RAW("GET / HTTP/1.1\r\n"), RAW("GET / HTTP/1.1\n\n"), RAW("HTTP/1.1 200 OK\r\n"),
		RAW("HTTP/1.1 200 OK\r\na: b\r\n"), RAW("HTTP/1.1 200 OK\r\n\n\r\n"),
	};
	struct arena *a = arena_new(4096, 1 << 16);

	for (size_t i = 0; i < sizeof piece / sizeof piece[0]; i++) {
		char *at = malloc(piece[i].len ? piece[i].len : 1);
		struct str head = { at, piece[i].len };
		struct request q;
		struct response p;

		memcpy(at, piece[i].at, piece[i].len);
		assert_int_not_equal(gate_request(head, a, &q), WHY_DONE);
		assert_int_not_equal(gate_response(head, a, METHOD_GET, &p), WHY_DONE);
		free(at);
	}
	arena_free(a);
}

/* Connection options are looked for in every line: there may not be too many. */
static void test_many_options(void **state)
{
	struct arena *a = arena_new(4096, 1 << 20);

	for (unsigned n = 256; n <= 257; n++) {
		struct str list = STR("x");
		struct request q;
		struct response p;

		for (unsigned i = 1; i < n; i++)
			list = arena_print(a, "%.*s,x", STR_FMT(list));
		list = arena_print(a, "Connection: %.*s\r\n\r\n", STR_FMT(list));
		assert_int_equal(gate_request(arena_print(a, "GET / HTTP/1.0\r\n%.*s",
							  STR_FMT(list)), a, &q),
				 n > 256 ? WHY_HEAD_TOO_BIG : WHY_DONE);
		assert_int_equal(gate_response(arena_print(a, "HTTP/1.1 204 N\r\n%.*s",
							   STR_FMT(list)), a, METHOD_GET, &p),
				 n > 256 ? WHY_RESPONSE_HEAD_TOO_BIG : WHY_DONE);
		arena_reset(a);
	}
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find_head),
		cmocka_unit_test(test_folded),
		cmocka_unit_test(test_unfold),
		cmocka_unit_test(test_trailer),
		cmocka_unit_test(test_no_head),
		cmocka_unit_test(test_many_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
