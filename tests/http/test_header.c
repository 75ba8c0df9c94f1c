/* The table of names, the list, and what a proxy takes off it. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "http/header.h"

static int set_up(void **state)
{
	*state = arena_new(4096, 1 << 20);
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	arena_free(*state);
	return 0;
}

static void assert_str(struct str s, const char *expect)
{
	if (!str_eq(s, str_of(expect)))
		fail_msg("\"%.*s\" instead of \"%s\"", STR_FMT(s), expect);
}

/* "Name: value" lines, each ended by "\n". */
static struct headers list_of(struct arena *a, const char *text)
{
	struct headers h = { 0 };
	struct str rest = str_of(text), line, name, value;

	while (str_cut(rest, '\n', &line, &rest)) {
		assert_true(str_cut(line, ':', &name, &value));
		assert_true(headers_add(&h, a, name, str_trim(value)));
	}
	return h;
}

/* The names of lines not dropped, each with a blank behind it. */
static struct str names_of(struct arena *a, const struct headers *h)
{
	struct str all = STR("");

	for (unsigned i = 0; i < h->count; i++)
		if (!h->at[i].dropped)
			all = arena_print(a, "%.*s%.*s ", STR_FMT(all), STR_FMT(h->at[i].name));
	return all;
}

#define ROW(id, name, traits) { HEADER_##id, name, traits },
static const struct { enum header_id id; const char *name; unsigned traits; } table[] = {
	HEADER_TABLE(ROW)
};

static void test_lookup(void **state)
{
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		size_t len = strlen(table[i].name);
		char *name = malloc(len);	/* exact: a sanitizer sees a read too far */

		assert_non_null(name);
		for (int spelling = 0; spelling < 3; spelling++) {
			for (size_t j = 0; j < len; j++) {
				int c = (unsigned char)table[i].name[j];

				c = spelling == 1 ? tolower(c) : spelling == 2 ? toupper(c) : c;
				name[j] = (char)c;
			}
			assert_int_equal(header_lookup((struct str){ name, len }), table[i].id);
		}
		free(name);
		assert_int_equal(header_traits(table[i].id), table[i].traits);
		assert_string_equal(header_name(table[i].id), table[i].name);
	}
	assert_string_equal(header_name(HEADER_OTHER), "");
	assert_int_equal(header_traits(HEADER_OTHER), 0);
}

/* One octet changed, one more, one less: never found. */
static void test_lookup_misses(void **state)
{
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		size_t len = strlen(table[i].name);
		char name[64];

		memcpy(name, table[i].name, len);
		name[len] = 'x';
		assert_int_equal(header_lookup((struct str){ name, len + 1 }), HEADER_OTHER);
		if (len > 2)
			assert_int_equal(header_lookup((struct str){ name, len - 1 }),
					 HEADER_OTHER);
		for (size_t j = 0; j < len; j++) {
			for (unsigned c = 0; c < 256; c++) {
				name[j] = (char)c;
				if (str_lower((char)c) != str_lower(table[i].name[j]) &&
				    header_lookup((struct str){ name, len }) == table[i].id)
					fail_msg("%s with octet %u at %zu", table[i].name, c, j);
			}
			name[j] = table[i].name[j];
		}
	}
	assert_int_equal(header_lookup(STR("")), HEADER_OTHER);
	assert_int_equal(header_lookup(STR("X")), HEADER_OTHER);
	assert_int_equal(header_lookup(STR("X-Something-Of-Thirty-Octets--")), HEADER_OTHER);
}

static void test_find(void **state)
{
	struct headers h = list_of(*state, "A: 1\nVia: 1\nb: 2\nvia: 2\na: 3\n"), none = { 0 };
	const struct header *f = headers_find(&h, HEADER_VIA);

	assert_str(f->value, "1");
	f = headers_next(&h, HEADER_VIA, f);
	assert_str(f->value, "2");
	assert_null(headers_next(&h, HEADER_VIA, f));
	assert_null(headers_find(&h, HEADER_HOST));
	assert_null(headers_find(&none, HEADER_VIA));
	assert_null(headers_find(&none, HEADER_OTHER));
	assert_str(headers_find_name(&h, STR("VIA"))->value, "1");
	assert_str(headers_find_name(&h, STR("B"))->value, "2");
	assert_null(headers_find_name(&h, STR("C")));
	h.at[1].dropped = h.at[2].dropped = true;
	assert_str(headers_find(&h, HEADER_VIA)->value, "2");
	assert_null(headers_find_name(&h, STR("b")));
	headers_drop(&h, HEADER_VIA);
	assert_null(headers_find(&h, HEADER_VIA));
}

static void test_many(void **state)
{
	struct headers h = { 0 };

	for (unsigned i = 0; i < 1000; i++)
		assert_true(headers_add(&h, *state, STR("X"), arena_print(*state, "%u", i)));
	assert_int_equal(h.count, 1000);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(strtoul(h.at[i].value.at, NULL, 10), i);
}

static void test_no_memory(void **state)
{
	struct arena *small = arena_new(64, 64);
	struct headers h = { 0 };

	assert_false(headers_add(&h, small, STR("X"), STR("1")));
	assert_int_equal(h.count, 0);
	assert_true(arena_full(small));
	arena_free(small);
}

static void test_join(void **state)
{
	struct headers h = list_of(*state, "Ms-Echo-Request: a\nX: y\nMs-Echo-Request:\n"
				   "ms-echo-request: c, d\nVia: one\nHost:\n");
	struct str host = headers_join(&h, HEADER_HOST, *state);

	assert_str(headers_join(&h, HEADER_MS_ECHO_REQUEST, *state), "a, , c, d");
	assert_true(headers_join(&h, HEADER_VIA, *state).at == h.at[4].value.at);
	assert_null(headers_join(&h, HEADER_COOKIE, *state).at);
	assert_non_null(host.at);
	assert_int_equal(host.len, 0);
	h.at[0].dropped = true;
	assert_str(headers_join(&h, HEADER_MS_ECHO_REQUEST, *state), ", c, d");
}

static void test_list_has(void **state)
{
	struct headers h = list_of(*state, "Connection: a\nConnection: , b ,Close\n");

	assert_true(headers_list_has(&h, HEADER_CONNECTION, STR("close")));
	assert_true(headers_list_has(&h, HEADER_CONNECTION, STR("A")));
	assert_false(headers_list_has(&h, HEADER_CONNECTION, STR("clos")));
	assert_false(headers_list_has(&h, HEADER_TE, STR("a")));
}

static void test_hop_by_hop(void **state)
{
	static const struct { const char *from, *left; } hop[] = {
		{ "Host: h\nX: 1\n", "Host X " },
		{ "Connection: a\nConnection: b\nA: 1\nB: 2\nC: 3\n", "C " },
		{ "Keep-Alive: 1\nTE: x\nProxy-Connection: y\nUpgrade: h2c\n"
		  "Proxy-Authorization: z\n", "" },
		{ "Connection: Connection\nX: 1\n", "X " },
		{ "Proxy-Connection: X\nX: 1\n", "X " },
		{ "Connection: proxy-connection, X\nProxy-Connection: Connection\n"
		  "X: 1\nx: 2\nY: 3\n", "Y " },
		{ "Connection: Host, Content-Length, Cache-Control, Cookie, date\nHost: h\n"
		  "Content-Length: 1\nCache-Control: x\nCookie: c\nDate: d\n",
		  "Host Content-Length Cache-Control Cookie Date " },
		{ "Connection: Transfer-Encoding\nTransfer-Encoding: chunked\nX: 1\n", "X " },
		{ "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: A\n", "" },
		{ "Connection: user-agent,trailer\nUser-Agent: u\nTrailer: t\n", "" },
	};

	for (size_t i = 0; i < sizeof hop / sizeof hop[0]; i++) {
		struct headers h = list_of(*state, hop[i].from);

		headers_drop_hop_by_hop(&h);
		assert_str(names_of(*state, &h), hop[i].left);
	}
}

static void test_trailer(void **state)
{
	struct headers h = list_of(*state, "X-T: 1\nContent-Length: 9\nHost: h\nSet-Cookie: c\n"
				   "Connection: close\nContent-Type: t\nMs-Echo-Reply: r\n"
				   "Max-Forwards: 0\nProxy-Status: p\nX-Hop: 2\n");

	headers_drop_from_trailer(&h);
	assert_str(names_of(*state, &h), "X-T Proxy-Status X-Hop ");
	headers_drop_listed(&h, STR("x-hop, proxy-status"));
	assert_str(names_of(*state, &h), "X-T Proxy-Status ");
}

static bool may_be_token(unsigned c)
{
	return c < 0x80 && (isalnum((int)c) || (c && strchr("!#$%&'*+-.^_`|~", (int)c)));
}

static bool may_be_value(unsigned c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* Each octet at each place of strings of several lengths: whole words and rest. */
static void test_octets(void **state)
{
	for (size_t len = 1; len <= 20; len++) {
		char *s = malloc(len);

		assert_non_null(s);
		memset(s, 'a', len);
		assert_int_equal(header_value_len((struct str){ s, len }), len);
		for (size_t at = 0; at < len; at++) {
			for (unsigned c = 0; c < 256; c++) {
				s[at] = (char)c;
				assert_int_equal(header_token_len((struct str){ s, len }),
						 may_be_token(c) ? len : at);
				assert_int_equal(header_value_len((struct str){ s, len }),
						 may_be_value(c) ? len : at);
			}
			s[at] = 'a';
		}
		free(s);
	}
}

static void test_two_odd_octets(void **state)
{
	char s[16];

	memset(s, 'a', sizeof s);
	for (unsigned c = 0; c < 256; c++) {
		for (unsigned d = 0; d < 256; d++) {
			size_t expect = !may_be_value(c) ? 3 : !may_be_value(d) ? 4 : 16;

			s[3] = (char)c;
			s[4] = (char)d;
			assert_int_equal(header_value_len((struct str){ s, 16 }), expect);
		}
	}
}

static void test_sentences(void **state)
{
	assert_true(header_is_token(STR("X-A")));
	assert_false(header_is_token(STR("")));
	assert_false(header_is_token(STR("a b")));
	assert_true(header_is_value(STR("")));
	assert_true(header_is_value(STR("a \t b\xe9")));
	assert_false(header_is_value(STR(" a")));
	assert_false(header_is_value(STR("a\t")));
	assert_false(header_is_value(STR("a\r\nb")));
	assert_false(header_is_value(STR("\0")));
}

#define WITH_ARENA(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup),
		cmocka_unit_test(test_lookup_misses),
		WITH_ARENA(test_find),
		WITH_ARENA(test_many),
		cmocka_unit_test(test_no_memory),
		WITH_ARENA(test_join),
		WITH_ARENA(test_list_has),
		WITH_ARENA(test_hop_by_hop),
		WITH_ARENA(test_trailer),
		cmocka_unit_test(test_octets),
		cmocka_unit_test(test_two_odd_octets),
		cmocka_unit_test(test_sentences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
