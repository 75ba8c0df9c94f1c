/* census: several workers seen as one, also when one of them hangs. */
#include "worker/census.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quiet.h"
#include "worker/recorder.h"

enum { WORKERS = 3, LONG_MS = 60 * 1000 };

static struct spool spool;
static struct worker *w[WORKERS];
static struct census *c;

static void note(struct worker *to, const char *url, time_t at)
{
	const struct response response = { .status = 449 };
	const struct request request = { .method = STR("GET") };
	const struct rule rule = { .name = STR("r") };
	const struct recorder_attempt attempt = { .status = 449, .response = &response };
	const struct recorder_facts f = {
		.at = at, .client = STR("127.0.0.1"), .url = str_of(url), .with_query = true,
		.request = &request, .rule = &rule, .attempts = &attempt, .attempts_n = 1,
	};

	recorder_note(to->recorder, &f);
}

/* Worker 0 and 1 turn their loops, 2 does not: it hangs. */
static int begin(void **state)
{
	const struct origin_cost cost = { .challenged = 1, .seen = 1 };
	const char *why;

	for (unsigned i = 0; i < WORKERS; i++) {
		w[i] = i < 2 ? worker_start(i, config, &spool, NULL, 0, &why) :
			       worker_new(i, config, &spool, NULL, 0, &why);
		if (!w[i])
			return -1;
	}
	/* as long as nobody asks anything of them, their threads only wait */
	for (unsigned i = 0; i < WORKERS; i++) {
		counter_add(&w[i]->counters.n[COUNT_REQUESTS], i + 1);
		origins_note(&w[i]->origins, STR("http://a:80"), &cost);
	}
	note(w[0], "http://a/0", 1000);
	note(w[1], "http://a/1", 1001);
	note(w[0], "http://a/2", 1002);
	c = calloc(1, sizeof *c);
	return c ? 0 : -1;
}

static int end(void **state)
{
	for (unsigned i = 0; i < 2; i++)
		worker_tell(w[i], WORD_STOP);
	for (unsigned i = 0; i < WORKERS; i++)
		worker_free(w[i]);
	free(c);
	return 0;
}

static void test_all_answer(void **state)
{
	assert_true(census_take(c, w, 2, LONG_MS));
	assert_int_equal(c->workers, 2);
	assert_int_equal(c->answering, 2);
	assert_true(c->complete);
	assert_int_equal(c->sum.n[COUNT_REQUESTS], 1 + 2);
	assert_int_equal(c->origins.n, 1);
	assert_int_equal(c->origins.row[0].cost.challenged, 2);
	assert_int_equal(c->last_n, 3);
	assert_string_equal(c->last[0].url, "http://a/2");	/* newest first */
	assert_string_equal(c->last[2].url, "http://a/0");
	assert_int_equal(census_answering(w, 2, LONG_MS), 2);
}

static void test_one_hangs(void **state)
{
	assert_true(census_take(c, w, WORKERS, 50));
	assert_int_equal(c->answering, 2);
	assert_false(c->complete);
	assert_int_equal(c->sum.n[COUNT_REQUESTS], 1 + 2 + 3);	/* counters need no answer */
	assert_int_equal(census_answering(w, WORKERS, 50), 2);
}

static void test_one_has_ended(void **state)
{
	worker_tell(w[0], WORD_STOP);
	worker_join(w[0]);
	assert_true(census_take(c, w, 2, LONG_MS));
	assert_int_equal(c->answering, 2);	/* it did not hang */
	assert_false(c->complete);
	assert_int_equal(census_answering(w, 2, LONG_MS), 2);
}

static const char *recorders(bool json)
{
	static char text[8192];
	FILE *out = fmemopen(text, sizeof text, "w");

	assert_true(census_recorders(w, 2, LONG_MS, json, out));
	assert_int_equal(fclose(out), 0);
	return text;
}

static void test_recorders(void **state)
{
	const char *text = recorders(true), *first, *second, *third;

	first = strstr(text, "http://a/0");
	second = strstr(text, "http://a/1");
	third = strstr(text, "http://a/2");
	assert_true(first && second && third && first < second && second < third);
	assert_true(str_starts(str_of(text), STR("{\"time\":")));
	text = recorders(false);
	assert_true(strstr(text, "http://a/0") < strstr(text, "http://a/1"));
	assert_non_null(strstr(text, " GET http://a/2 -> "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_answer, begin, end),
		cmocka_unit_test_setup_teardown(test_one_hangs, begin, end),
		cmocka_unit_test_setup_teardown(test_one_has_ended, begin, end),
		cmocka_unit_test_setup_teardown(test_recorders, begin, end),
	};

	return cmocka_run_group_tests_name("census", tests, load, unload);
}
