/* variation: each path refuses a bare request, and takes the one it asked for. */
#include "worker/variation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <event2/buffer.h>

#include "ground/arena.h"

#define ECHO "Ms-Echo-Reply: realm=\"demo, origin\";  token=\"a b%2Cc\", caf\xe9 = 100%\r\n"
#define SECOND "Ms-Echo-Reply: the second \"value\", still not the last\r\n"

static const struct reader_limits limits = {
	.head = 65536, .line = 16384, .fields = 100, .extensions = 100, .trailer = 1000
};

static bool satisfied(struct arena *a, const char *path, const char *fields)
{
	struct request q = { 0 };
	struct reader *r;
	struct str body, text;
	size_t used;

	arena_reset(a);
	r = reader_of_requests(a, &limits, &q);
	text = arena_print(a, "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", path, fields);
	assert_int_equal(reader_feed(r, text, &used, &body), STEP_HEAD);
	return variation_of(q.url.path)->satisfied(&q);
}

/* What a request must bring; NULL: nothing will ever do. */
static const struct {
	const char *path, *wanted;
} rows[] = {
	{ "/echo", ECHO }, { "/echo/deeper?x", ECHO }, { "/early", ECHO }, { "/early-keep", ECHO },
	{ "/late", ECHO }, { "/empty", "Ms-Echo-Reply:\r\n" }, { "/long?n=3", "Ms-Echo-Reply: xxx\r\n" },
	{ "/body", ECHO }, { "/huge-body", ECHO }, { "/chunked", ECHO }, { "/twice", SECOND },
	{ "/always", NULL }, { "/no-header", NULL }, { "/close", ECHO }, { "/http10", ECHO },
	{ "/cookies", ECHO "Cookie: mine=0; demo-session=1\r\n" },
	{ "/joined", "Ms-Echo-Reply: first;v=\"1, 2\", second\r\n" },
	{ "/bad-header", NULL }, { "/continue", ECHO },
	{ "/supply", "X-Session: demo-session-7f3a\r\nX-Token: demo-token-91c2\r\n" },
	{ "/activesync", NULL }, { "/Microsoft-Server-ActiveSync?Cmd=Sync", NULL }, { "/401", ECHO },
	{ "/redirect", ECHO }, { "/slow", ECHO }, { "/truncate", ECHO }, { "/head", ECHO },
};

/* Never enough for anybody but the one who asked for it. */
static const char *const wrong[] = {
	"", "Ms-Echo-Reply: something else\r\n", "Ms-Echo-Request: mixed up\r\n",
	ECHO ECHO, ECHO "Cookie: demo-session=1; demo-not-here=3\r\n", "X-Session: demo-session-7f3a\r\n",
};

static void test_each_path_wants_its_own(void **state)
{
	struct arena *a = arena_new(4096, 1 << 20);

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_false(satisfied(a, rows[i].path, ""));
		assert_false(satisfied(a, rows[i].path, wrong[1]));
		assert_false(satisfied(a, rows[i].path, wrong[3]));
		if (rows[i].wanted)
			assert_true(satisfied(a, rows[i].path, rows[i].wanted));
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_false(satisfied(a, "/cookies", wrong[i]));
		assert_false(satisfied(a, "/supply", wrong[i]));
	}
	arena_free(a);
}

static void test_plain_pages_want_nothing(void **state)
{
	struct arena *a = arena_new(4096, 1 << 20);

	assert_true(satisfied(a, "/plain", ""));
	assert_true(satisfied(a, "/", ""));
	assert_true(satisfied(a, "/?x", ""));
	assert_true(satisfied(a, "/nowhere", ""));
	assert_true(satisfied(a, "/ech", ""));
	assert_ptr_not_equal(variation_of(STR("/nowhere")), variation_of(STR("/")));
	arena_free(a);
}

static void test_backoff_lets_every_third_pass(void **state)
{
	struct arena *a = arena_new(4096, 1 << 20);

	for (int round = 0; round < 3; round++) {
		assert_false(satisfied(a, "/backoff", ""));
		assert_false(satisfied(a, "/backoff", ""));
		assert_true(satisfied(a, "/backoff", ""));
	}
	arena_free(a);
}

static bool contains(struct evbuffer *b, const char *text)
{
	return evbuffer_search(b, text, strlen(text), NULL).pos >= 0;
}

static void test_list_has_every_path(void **state)
{
	struct evbuffer *page = evbuffer_new();

	variation_list(page);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char name[32];
		size_t n = strcspn(rows[i].path + 1, "/?") + 1;

		if (strchr(rows[i].path, 'M'))
			continue;		/* another name of /activesync */
		memcpy(name, rows[i].path, n);
		memcpy(name + n, " ", 2);
		assert_true(contains(page, name));
	}
	evbuffer_free(page);
}

static void test_filler_is_exact(void **state)
{
	static const size_t sizes[] = { 0, 1, 55, 56, 57, 160, 1000, 1 << 20 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct evbuffer *b = evbuffer_new();

		variation_filler(b, sizes[i]);
		assert_int_equal(evbuffer_get_length(b), sizes[i]);
		evbuffer_free(b);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_path_wants_its_own),
		cmocka_unit_test(test_plain_pages_want_nothing),
		cmocka_unit_test(test_backoff_lets_every_third_pass),
		cmocka_unit_test(test_list_has_every_path),
		cmocka_unit_test(test_filler_is_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
