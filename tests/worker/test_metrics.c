/* metrics: what a census looks like to Prometheus, and as JSON. That every line is
 * well-formed is shown by tests/flow/test_admin.py with readers of others. */
#include "worker/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "worker/stats.h"

static struct census *c;
static char *text;

static int make(void **state)
{
	c = calloc(1, sizeof *c);
	if (!c)
		return -1;
	c->workers = c->answering = 2;
	c->complete = c->reload_ok = true;
	return 0;
}

static int drop(void **state)
{
	free(c);
	free(text);
	text = NULL;
	return 0;
}

static const char *written(enum metrics_format f)
{
	size_t size;
	FILE *out;

	free(text);
	out = open_memstream(&text, &size);
	assert_non_null(out);
	metrics_write(c, f, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static bool has_line(const char *all, const char *line)
{
	struct str left = str_of(all), one;

	while (str_cut(left, '\n', &one, &left))
		if (str_eq(one, str_of(line)))
			return true;
	print_error("there is no line: %s\n", line);
	return false;
}

static void test_which_format(void **state)
{
	static const struct { const char *accept; enum metrics_format f; } rows[] = {
		{ NULL, METRICS_TEXT },
		{ "", METRICS_TEXT },
		{ "*/*", METRICS_TEXT },
		{ "text/plain;version=0.0.4", METRICS_TEXT },
		{ "application/openmetrics-text", METRICS_OPEN },
		{ "Application/OpenMetrics-Text; version=1.0.0", METRICS_OPEN },
		{ "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3", METRICS_OPEN },
		{ "text/plain, application/openmetrics-text;q=0", METRICS_TEXT },
		{ "application/openmetrics-textual", METRICS_TEXT },
	};

	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
		if (metrics_wanted(rows[i].accept) != rows[i].f)
			fail_msg("%s", rows[i].accept);
}

/* Every word of the closed lists is there from the start. */
static void test_closed_lists(void **state)
{
	const char *all = written(METRICS_TEXT);
	char line[128];

	for (enum family f = FAMILY_NONE + 1; f < FAMILY_COUNT; f++) {
		snprintf(line, sizeof line, "retrywith_challenges_total{family=\"%s\"} 0",
			 family_word(f));
		assert_true(has_line(all, line));
	}
	for (enum unanswered u = UNANSWERED_NONE + 1; u < UNANSWERED_COUNT; u++) {
		snprintf(line, sizeof line, "retrywith_unanswered_total{reason=\"%s\"} 0",
			 unanswered_word(u));
		assert_true(has_line(all, line));
	}
	assert_true(has_line(all, "retrywith_refused_total{reason=\"denied-target\"} 0"));
	assert_null(strstr(all, "reason=\"done\""));
	assert_null(strstr(all, "reason=\"answered-here\""));
	assert_null(strstr(all, "retrywith_requests_total{"));	/* none yet */
	assert_null(strstr(all, "retrywith_replays_final"));	/* it is a label */
}

static void test_numbers(void **state)
{
	const char *all;

	counters_answered(&c->sum, STR("PUT"), 201);
	counters_answered(&c->sum, STR("BREW"), 0);
	counters_took(&c->sum.duration, 3);
	counters_took(&c->sum.duration, 100000);
	c->sum.n[COUNT_REPLAYS_AGAIN] = 4;
	c->sum.n[COUNT_LOG_DROPPED] = 5;
	c->sum.why[WHY_LOOP] = 6;
	c->names.found = 7;
	all = written(METRICS_TEXT);
	assert_true(has_line(all, "retrywith_requests_total{method=\"PUT\",code=\"201\"} 1"));
	assert_true(has_line(all, "retrywith_requests_total{method=\"other\",code=\"none\"} 1"));
	assert_true(has_line(all, "retrywith_request_duration_seconds_bucket{le=\"0.002\"} 0"));
	assert_true(has_line(all, "retrywith_request_duration_seconds_bucket{le=\"0.005\"} 1"));
	assert_true(has_line(all, "retrywith_request_duration_seconds_bucket{le=\"60.0\"} 1"));
	assert_true(has_line(all, "retrywith_request_duration_seconds_bucket{le=\"+Inf\"} 2"));
	assert_true(has_line(all, "retrywith_request_duration_seconds_sum 100.003"));
	assert_true(has_line(all, "retrywith_request_duration_seconds_count 2"));
	assert_true(has_line(all, "retrywith_replays_total{result=\"again\"} 4"));
	assert_true(has_line(all, "retrywith_log_dropped_total 5"));
	assert_true(has_line(all, "retrywith_refused_total{reason=\"loop\"} 6"));
	assert_true(has_line(all, "retrywith_dns_lookups_total{result=\"found\"} 7"));
}

static void test_open_metrics(void **state)
{
	const char *all = written(METRICS_OPEN);

	assert_true(has_line(all, "# TYPE retrywith_replays counter"));
	assert_true(has_line(all, "retrywith_replays_total{result=\"final\"} 0"));
	assert_true(has_line(all, "# TYPE retrywith_build info"));
	assert_true(has_line(all, "retrywith_build_info{version=\"" RETRYWITH_VERSION "\"} 1"));
	assert_true(str_ends(str_of(all), STR("\n# EOF\n")));
	all = written(METRICS_TEXT);
	assert_true(has_line(all, "# TYPE retrywith_replays_total counter"));
	assert_true(has_line(all, "# TYPE retrywith_build_info gauge"));
	assert_null(strstr(all, "# EOF"));
}

/* A counter that goes down would look like a restart. */
static void test_what_was_not_seen_is_not_told(void **state)
{
	assert_non_null(strstr(written(METRICS_TEXT), "retrywith_dns_lookups_total"));
	c->complete = false;
	assert_null(strstr(written(METRICS_TEXT), "retrywith_dns_lookups_total"));
}

static json_t *stats(const struct history *h)
{
	size_t size;
	FILE *out;
	json_error_t error;
	json_t *json;

	free(text);
	out = open_memstream(&text, &size);
	assert_true(stats_write(c, h, out));
	assert_int_equal(fclose(out), 0);
	json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	assert_non_null(json);
	return json;
}

static const json_t *at(const json_t *json, const char *path)
{
	char copy[128], *rest = copy, *key;

	snprintf(copy, sizeof copy, "%s", path);
	while (json && (key = strsep(&rest, ".")))
		json = json_is_array(json) ? json_array_get(json, (size_t)atoi(key)) :
					     json_object_get(json, key);
	if (!json)
		fail_msg("there is no %s", path);
	return json;
}

static void test_json(void **state)
{
	static struct history h;
	const struct origin_cost cost = { .challenged = 2, .replays = 2, .final = 1, .again = 1,
					  .added_ms = 9, .octets = 1 << 20, .seen = 1000 };
	json_t *json;

	origins_note(&c->origins, STR("https://a.example:443"), &cost);
	origins_note(&c->origins, STR_NONE, &cost);
	c->last[0] = (struct last){ .at = 1000, .ms = 3, .status = 200, .family = FAMILY_ECHO,
				    .method = "PUT", .url = "https://a.example:443/\"x\"" };
	c->last_n = 1;
	c->sum.unanswered[UNANSWERED_OFF] = 8;
	history_note(&h, &c->sum, 1);
	c->sum.n[COUNT_REQUESTS] = 3;
	history_note(&h, &c->sum, 1);
	json = stats(&h);
	assert_int_equal(json_integer_value(at(json, "counters.requests_received")), 3);
	assert_string_equal(json_string_value(at(json, "unanswered.0.0")), "off");
	assert_int_equal(json_integer_value(at(json, "unanswered.0.1")), 8);
	assert_string_equal(json_string_value(at(json, "origins.0.origin")),
			    "https://a.example:443");
	assert_int_equal(json_integer_value(at(json, "origins.0.octets")), 1 << 20);
	assert_string_equal(json_string_value(at(json, "origins.1.origin")), "other");
	assert_string_equal(json_string_value(at(json, "last.0.url")),
			    "https://a.example:443/\"x\"");
	assert_string_equal(json_string_value(at(json, "last.0.family")), "echo");
	assert_int_equal(json_integer_value(at(json, "history.0.0")), 3);
	assert_int_equal(json_array_size(at(json, "bounds_ms")) + 1,
			 json_array_size(at(json, "added.buckets")));
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_which_format),
		cmocka_unit_test_setup_teardown(test_closed_lists, make, drop),
		cmocka_unit_test_setup_teardown(test_numbers, make, drop),
		cmocka_unit_test_setup_teardown(test_open_metrics, make, drop),
		cmocka_unit_test_setup_teardown(test_what_was_not_seen_is_not_told, make, drop),
		cmocka_unit_test_setup_teardown(test_json, make, drop),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
