/* Size lines, and bodies cut at every place. How bodies fare in messages is in
 * the rows of test_message.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "http/chunk.h"

static void test_size_lines(void **state)
{
	static const struct { struct str line; bool good; uint64_t size; } size[] = {
		{ STR("0"), true, 0 }, { STR("5"), true, 5 }, { STR("aF"), true, 0xaf },
		{ STR("000000000000000000000005"), true, 5 },
		{ STR("7FFFFFFFFFFFFFFF"), true, INT64_MAX },
		{ STR("8000000000000000"), false, 0 },
		{ STR("FFFFFFFFFFFFFFFFF5"), false, 0 }, { STR("10000000000000005"), false, 0 },
		{ STR(""), false, 0 }, { STR(" 5"), false, 0 }, { STR("5 "), false, 0 },
		{ STR("5\t"), false, 0 }, { STR("-5"), false, 0 }, { STR("+5"), false, 0 },
		{ STR("0x5"), false, 0 }, { STR("5g"), false, 0 }, { STR("5_"), false, 0 },
		{ STR("5,5"), false, 0 }, { STR("5."), false, 0 }, { STR("5\0"), false, 0 },
		{ STR("5;a"), true, 5 }, { STR("5;a=b"), true, 5 },
		{ STR("5;a=b;c;d=\"e\""), true, 5 }, { STR("5 ;a"), true, 5 },
		{ STR("5; a"), true, 5 }, { STR("5 \t; a = b ;c"), true, 5 },
		{ STR("5;a=\"\""), true, 5 }, { STR("5;a=\"x y;z=\t\xe9\""), true, 5 },
		{ STR("5;a=\"\\\"\""), true, 5 }, { STR("5;a=\"\\\\\";b"), true, 5 },
		{ STR("5;"), false, 0 }, { STR("5;;a"), false, 0 }, { STR("5;a;"), false, 0 },
		{ STR("5;a="), false, 0 }, { STR("5;=b"), false, 0 }, { STR("5;a b"), false, 0 },
		{ STR("5;a "), false, 0 }, { STR("5;a= "), false, 0 }, { STR("5;a=b c"), false, 0 },
		{ STR("5;a=\""), false, 0 }, { STR("5;a=\"\\\""), false, 0 },
		{ STR("5;a=\"b\"c"), false, 0 }, { STR("5;a=\"b\\"), false, 0 },
		{ STR("5;a\rb"), false, 0 }, { STR("5;a\nb"), false, 0 },
		{ STR("5;\0a"), false, 0 },
		{ STR("5;a=\"\x01\""), false, 0 }, { STR("5;a=\"\r\""), false, 0 },
		{ STR("5\r"), false, 0 }, { STR("5;a\x80"), false, 0 },
	};

	for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
		uint64_t n = 0;
		bool good = chunk_parse_size(size[i].line, &n);

		if (good != size[i].good || (good && n != size[i].size))
			fail_msg("\"%.*s\": %d, %llu", STR_FMT(size[i].line), good,
				 (unsigned long long)n);
	}
}

/* What comes of octets given in pieces: sizes, data, the trailer section and the
 * last event, as text. */
static enum chunk_event decode(struct arena *a, struct str raw, size_t first, size_t step,
			       const struct chunk_limits *l, char text[256], size_t *used)
{
	enum chunk_event event = CHUNK_MORE;
	size_t known = first, done = 0, n, len = 0;
	struct str data, trailer;
	struct chunks c;

	chunk_begin(&c, a, l);
	while (event <= CHUNK_DATA_END && known <= raw.len) {
		event = chunk_feed(&c, (struct str){ raw.at + done, known - done }, &n, &data);
		done += n;
		if (event == CHUNK_SIZE)
			len += (size_t)snprintf(text + len, 256 - len, "[%llu]",
						(unsigned long long)c.left);
		if (event == CHUNK_DATA)
			len += (size_t)snprintf(text + len, 256 - len, "%.*s", STR_FMT(data));
		if (event == CHUNK_MORE) {
			assert_int_equal(done, known);
			known = known == raw.len ? raw.len + 1 :
				known + step > raw.len ? raw.len : known + step;
		}
	}
	trailer = event == CHUNK_END ? chunk_trailer(&c) : STR("");
	snprintf(text + len, 256 - len, "<%.*s>", STR_FMT(trailer));
	*used = done;
	return event;
}

static void test_bodies(void **state)
{
	static const struct chunk_limits limits = { 64, 128, 4 };
	static const struct { struct str raw; enum chunk_event last; const char *text; } body[] = {
		{ STR("5\r\nabcde\r\n0\r\n\r\n"), CHUNK_END, "[5]abcde[0]<>" },
		{ STR("3\r\nabc\r\n2;x\r\nde\r\n00\r\nA: 1\r\nB: 2\r\n\r\n"), CHUNK_END,
		  "[3]abc[2]de[0]<A: 1\r\nB: 2\r\n>" },
		{ STR("1;an-extension-longer-than-the-first-room=yes\r\na\r\n0\r\n\r\n"), CHUNK_END,
		  "[1]a[0]<>" },
		{ STR("0\r\nA: a line longer than the first room, to be moved\r\n\r\n"), CHUNK_END,
		  "[0]<A: a line longer than the first room, to be moved\r\n>" },
		{ STR("5\r\nabc"), CHUNK_MORE, "[5]abc<>" },
		{ STR("5\r\nabcdeX"), CHUNK_BAD, "[5]abcde<>" },
		{ STR("5\r\nabcde\rX"), CHUNK_BAD, "[5]abcde<>" },
		{ STR("5\r\nabcde\n"), CHUNK_BAD, "[5]abcde<>" },
		{ STR("5\rX"), CHUNK_BAD, "<>" },
		{ STR("5\n"), CHUNK_BAD, "<>" },
		{ STR("\r\n"), CHUNK_BAD, "<>" },
		{ STR("0\r\n\n"), CHUNK_BAD, "[0]<>" },
		{ STR("0\r\n\rX"), CHUNK_BAD, "[0]<>" },
		{ STR("0\r\nA\n"), CHUNK_BAD, "[0]<>" },
		{ STR("0\r\na\r\na\r\na\r\na\r\na\r\n"), CHUNK_BIG_TRAILER, "[0]<>" },
	};
	struct arena *a = arena_new(4096, 1 << 20);

	for (size_t i = 0; i < sizeof body / sizeof body[0]; i++) {
		for (size_t first = 0; first <= body[i].raw.len; first++) {
			for (size_t step = 1; step <= 64; step += 63) {
				char text[256];
				size_t used;

				assert_int_equal(decode(a, body[i].raw, first, step, &limits,
							text, &used), body[i].last);
				assert_string_equal(text, body[i].text);
				arena_reset(a);
			}
		}
	}
	arena_free(a);
}

/* However extensions are spread, their sum counts; more digits than a size needs
 * are no better. */
static void test_extension_limit(void **state)
{
	static const struct chunk_limits limits = { 6, 64, 4 };
	static const struct { struct str raw; enum chunk_event last; } body[] = {
		{ STR("1;abcde\r\nA\r\n0\r\n\r\n"), CHUNK_END },
		{ STR("1;abcdef\r\nA\r\n0\r\n\r\n"), CHUNK_BIG_EXTENSIONS },
		{ STR("1;a\r\nA\r\n1;a\r\nA\r\n1;a\r\nA\r\n0\r\n\r\n"), CHUNK_END },
		{ STR("1;a\r\nA\r\n1;a\r\nA\r\n1;a\r\nA\r\n0;a\r\n\r\n"), CHUNK_BIG_EXTENSIONS },
		{ STR("0000000000000000000001\r\nA\r\n0\r\n\r\n"), CHUNK_END },
		{ STR("00000000000000000000001\r\nA\r\n0\r\n\r\n"), CHUNK_BIG_EXTENSIONS },
		{ STR("1   \t   "), CHUNK_BIG_EXTENSIONS },
	};
	struct arena *a = arena_new(4096, 1 << 20);
	char text[256];
	size_t used;

	for (size_t i = 0; i < sizeof body / sizeof body[0]; i++) {
		struct str raw = body[i].raw;

		assert_int_equal(decode(a, raw, raw.len, 1, &limits, text, &used), body[i].last);
		assert_int_equal(decode(a, raw, 1, 1, &limits, text, &used), body[i].last);
	}
	arena_free(a);
}

static void test_rest_is_not_ours(void **state)
{
	static const struct chunk_limits limits = { 64, 64, 4 };
	struct arena *a = arena_new(4096, 1 << 20);
	char text[256];
	size_t used;

	assert_int_equal(decode(a, STR("0\r\n\r\nGET /"), 10, 1, &limits, text, &used), CHUNK_END);
	assert_int_equal(used, 5);
	arena_free(a);
}

static void test_no_memory(void **state)
{
	static const struct chunk_limits limits = { 1024, 1024, 4 };
	struct arena *a = arena_new(16, 16);
	char text[256];
	size_t used;

	assert_int_equal(decode(a, STR("1;an-extension-longer-than-the-first-room"), 41, 1, &limits,
				text, &used), CHUNK_NO_MEMORY);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size_lines),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_extension_limit),
		cmocka_unit_test(test_rest_is_not_ours),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
