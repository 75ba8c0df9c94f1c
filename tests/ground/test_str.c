/* str: tables of input and output. */
#include "ground/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROWS(a) (sizeof(a) / sizeof((a)[0]))

static void same(struct str got, const char *want)
{
	if (!str_eq(got, str_of(want)))
		fail_msg("\"%.*s\" is not \"%s\"", STR_FMT(got), want);
}

static void test_of(void **state)
{
	assert_int_equal(str_of(NULL).len, 0);
	assert_int_equal(str_of("").len, 0);
	assert_int_equal(str_of("abc").len, 3);
	assert_int_equal(STR("a\0b").len, 3);
	same(str_first(STR("abc"), 2), "ab");
	same(str_first(STR("abc"), 9), "abc");
	same(str_from(STR("abc"), 1), "bc");
	same(str_from(STR("abc"), 3), "");
}

static void test_compare(void **state)
{
	static const struct {
		const char *s, *other;
		bool eq, eq_nocase, starts, starts_nocase, ends, ends_nocase;
	} row[] = {
		{ "", "", 1, 1, 1, 1, 1, 1 },
		{ "a", "", 0, 0, 1, 1, 1, 1 },
		{ "", "a", 0, 0, 0, 0, 0, 0 },
		{ "Host", "Host", 1, 1, 1, 1, 1, 1 },
		{ "Host", "hOST", 0, 1, 0, 1, 0, 1 },
		{ "Hosts", "Host", 0, 0, 1, 1, 0, 0 },
		{ "hosts", "Host", 0, 0, 0, 1, 0, 0 },
		{ "x-Host", "Host", 0, 0, 0, 0, 1, 1 },
		{ "x-HOST", "Host", 0, 0, 0, 0, 0, 1 },
		/* 0x20 apart, yet no letters; and beyond ASCII */
		{ "@[", "`{", 0, 0, 0, 0, 0, 0 },
		{ "\xc4", "\xe4", 0, 0, 0, 0, 0, 0 },
		{ "\xe4", "\xe4", 1, 1, 1, 1, 1, 1 },
	};

	for (size_t i = 0; i < ROWS(row); i++) {
		struct str s = str_of(row[i].s), o = str_of(row[i].other);

		if (str_eq(s, o) != row[i].eq || str_eq_nocase(s, o) != row[i].eq_nocase ||
		    str_starts(s, o) != row[i].starts || str_ends(s, o) != row[i].ends ||
		    str_starts_nocase(s, o) != row[i].starts_nocase ||
		    str_ends_nocase(s, o) != row[i].ends_nocase)
			fail_msg("\"%s\" and \"%s\"", row[i].s, row[i].other);
	}
	assert_true(str_eq(STR_NONE, STR("")));
	assert_true(str_eq_nocase(STR_NONE, STR("")));
	assert_true(str_starts(STR("a"), STR_NONE));
	assert_true(str_ends_nocase(STR("a"), STR_NONE));
	assert_false(str_eq(STR("a\0b"), STR("a\0c")));
}

/* Several octets are compared at once: every pair of them, in every place of a
 * text of every length that is taken apart differently. */
static void test_compare_every_octet(void **state)
{
	char a[20], b[20];

	for (size_t len = 1; len <= sizeof(a); len++) {
		for (size_t place = 0; place < len; place++) {
			memset(a, 'K', len);
			memset(b, 'k', len);
			for (unsigned x = 0; x < 256; x++)
				for (unsigned y = 0; y < 256; y++) {
					bool same;

					a[place] = (char)x;
					b[place] = (char)y;
					same = x == y || ((x ^ y) == 0x20 && (x | 0x20) >= 'a' &&
							  (x | 0x20) <= 'z');
					if (str_eq_nocase((struct str){ a, len },
							  (struct str){ b, len }) != same)
						fail_msg("%02x and %02x at %zu of %zu",
							 x, y, place, len);
				}
		}
	}
}

static void test_number(void **state)
{
	static const struct { uint64_t n; const char *text; } rows[] = {
		{ 0, "0" }, { 9, "9" }, { 10, "10" }, { 65535, "65535" },
		{ UINT64_MAX, "18446744073709551615" },
	};
	char room[STR_NUMBER_ROOM];

	for (size_t i = 0; i < ROWS(rows); i++)
		assert_true(str_eq(str_number(room, rows[i].n), str_of(rows[i].text)));
}

static void test_trim(void **state)
{
	static const struct { const char *in, *out; } row[] = {
		{ "", "" }, { " ", "" }, { " \t ", "" }, { "a", "a" }, { " a", "a" },
		{ "a\t", "a" }, { "\t a b \t", "a b" }, { "\ra\n", "\ra\n" }, { "\va", "\va" },
	};

	for (size_t i = 0; i < ROWS(row); i++)
		same(str_trim(str_of(row[i].in)), row[i].out);
	assert_int_equal(str_trim(STR_NONE).len, 0);
}

static void test_cut(void **state)
{
	static const struct { const char *in, *before, *after; } row[] = {
		{ "a=b", "a", "b" }, { "a=b=c", "a", "b=c" }, { "=b", "", "b" },
		{ "a=", "a", "" }, { "=", "", "" }, { "ab", NULL, NULL }, { "", NULL, NULL },
	};

	for (size_t i = 0; i < ROWS(row); i++) {
		struct str before = STR("untouched"), after = STR("untouched");
		bool hit = str_cut(str_of(row[i].in), '=', &before, &after);

		assert_int_equal(hit, row[i].before != NULL);
		same(before, hit ? row[i].before : "untouched");
		same(after, hit ? row[i].after : "untouched");
	}
}

static void test_cut_in_place(void **state)
{
	struct str s = STR("a=b"), rest = s;

	assert_true(str_cut(s, '=', &s, &rest));
	same(s, "a");
	same(rest, "b");
	s = STR("a=b");
	assert_true(str_cut(s, '=', &rest, &s));
	same(s, "b");
	same(rest, "a");
}

static void test_to_u64(void **state)
{
	static const struct { const char *in; bool fine; uint64_t out; } row[] = {
		{ "0", true, 0 }, { "7", true, 7 }, { "007", true, 7 }, { "1234567890", true, 1234567890 },
		{ "18446744073709551615", true, UINT64_MAX },
		{ "00000000000000000000000000000018446744073709551615", true, UINT64_MAX },
		{ "18446744073709551616", false, 0 }, { "18446744073709551620", false, 0 },
		{ "99999999999999999999", false, 0 }, { "", false, 0 }, { " 1", false, 0 },
		{ "1 ", false, 0 }, { "+1", false, 0 }, { "-1", false, 0 }, { "0x1", false, 0 },
		{ "1a", false, 0 }, { "1.0", false, 0 }, { "\xb2", false, 0 }, { ":", false, 0 },
		{ "/", false, 0 },
	};

	for (size_t i = 0; i < ROWS(row); i++) {
		uint64_t n = 42;
		bool fine = str_to_u64(str_of(row[i].in), &n);

		if (fine != row[i].fine || n != (fine ? row[i].out : 42))
			fail_msg("\"%s\": %d %llu", row[i].in, fine, (unsigned long long)n);
	}
	assert_false(str_to_u64(STR_NONE, &(uint64_t){ 0 }));
	assert_false(str_to_u64(STR("1\0"), &(uint64_t){ 0 }));
}

static void test_list(void **state)
{
	static const struct { const char *in; const char *items[4]; } row[] = {
		{ "", { NULL } }, { " , ,, \t", { NULL } }, { "a", { "a" } },
		{ "a,b", { "a", "b" } }, { " a ,\tb\t", { "a", "b" } },
		{ ",a,,b,", { "a", "b" } }, { "a b, c", { "a b", "c" } },
		{ "\"x,y\"", { "\"x", "y\"" } },	/* quotes are not understood */
	};

	for (size_t i = 0; i < ROWS(row); i++) {
		struct str list = str_of(row[i].in), item;
		size_t n = 0;

		while (str_list_next(&list, &item)) {
			assert_non_null(row[i].items[n]);
			same(item, row[i].items[n++]);
		}
		assert_null(row[i].items[n]);
		assert_int_equal(list.len, 0);
	}
}

static void test_list_has(void **state)
{
	static const struct { const char *list, *token; bool has; } row[] = {
		{ "close", "close", true }, { "Keep-Alive, CLOSE", "close", true },
		{ "a , close\t,b", "close", true }, { "closed", "close", false },
		{ "xclose", "close", false }, { "close x", "close", false }, { "", "close", false },
		{ ",,", "", false },
	};

	for (size_t i = 0; i < ROWS(row); i++)
		if (str_list_has(str_of(row[i].list), str_of(row[i].token)) != row[i].has)
			fail_msg("\"%s\" in \"%s\"", row[i].token, row[i].list);
}

static struct str exact(const char *z)
{
	struct str s = { malloc(strlen(z)), strlen(z) };

	if (s.len)
		memcpy((char *)s.at, z, s.len);
	return s;
}

static void test_glob(void **state)
{
	static const struct { const char *pattern, *s; bool fits; } row[] = {
		{ "", "", true }, { "", "a", false }, { "*", "", true }, { "*", "a", true },
		{ "**", "", true }, { "?", "", false }, { "?", "a", true }, { "?", "ab", false },
		{ "a", "A", true }, { "abc", "abd", false }, { "abc", "ab", false },
		{ "ab", "abc", false }, { "a*", "a", true }, { "a*", "abc", true }, { "a*", "ba", false },
		{ "*a", "ba", true }, { "*a", "ab", false }, { "*.example.com", "a.b.Example.com", true },
		{ "*.example.com", "example.com", false }, { "*.example.com", "a.example.com.evil", false },
		{ "a*b*c", "a-b-b-c", true }, { "a*b*c", "a-c-b", false }, { "*ab", "aab", true },
		{ "*aab", "aaaab", true }, { "a?c*e", "abcde", true }, { "a?c*e", "acde", false },
		{ "[ab]", "a", false }, { "[ab]", "[AB]", true }, { "\\*", "\\x", true },
		{ "*?", "", false }, { "*?", "x", true }, { "?*?", "x", false }, { "?*?", "xy", true },
	};

	for (size_t i = 0; i < ROWS(row); i++) {
		/* copies without a NUL: not an octet beyond is looked at */
		struct str pattern = exact(row[i].pattern), s = exact(row[i].s);

		if (str_glob(pattern, s) != row[i].fits)
			fail_msg("\"%s\" on \"%s\"", row[i].pattern, row[i].s);
		free((char *)pattern.at);
		free((char *)s.at);
	}
	assert_true(str_glob(STR("a?b"), STR("a\0b")));
}

/* What the star pattern costs must not explode: 2^24 steps would show. */
static void test_glob_is_not_exponential(void **state)
{
	static char as[4096];

	memset(as, 'a', sizeof(as));
	assert_false(str_glob(STR("*a*a*a*a*a*a*a*a*a*a*a*a*b"), (struct str){ as, sizeof(as) }));
}

static void test_hash(void **state)
{
	/* FNV-1a, of the reference vectors */
	assert_true(str_hash_nocase(STR(""), STR_HASH_SEED) == UINT64_C(0xcbf29ce484222325));
	assert_true(str_hash_nocase(STR("a"), STR_HASH_SEED) == UINT64_C(0xaf63dc4c8601ec8c));
	assert_true(str_hash_nocase(STR("foobar"), STR_HASH_SEED) == UINT64_C(0x85944171f73967e8));
	assert_true(str_hash_nocase(STR("FooBAR"), STR_HASH_SEED) == UINT64_C(0x85944171f73967e8));
	assert_true(str_hash_nocase(STR("foobaz"), STR_HASH_SEED) != UINT64_C(0x85944171f73967e8));
	/* In two steps as in one. */
	assert_true(str_hash_nocase(STR("bar"), str_hash_nocase(STR("foo"), STR_HASH_SEED)) ==
		    UINT64_C(0x85944171f73967e8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_of), cmocka_unit_test(test_compare),
		cmocka_unit_test(test_compare_every_octet), cmocka_unit_test(test_number),
		cmocka_unit_test(test_trim), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_cut_in_place), cmocka_unit_test(test_to_u64),
		cmocka_unit_test(test_list), cmocka_unit_test(test_list_has),
		cmocka_unit_test(test_glob), cmocka_unit_test(test_glob_is_not_exponential),
		cmocka_unit_test(test_hash),
	};

	return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
