/* top_view: what stands on the screen, on small ones too. */
#include "worker/top_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *text;

static const char *view(const char *stats, unsigned lines, unsigned columns)
{
	json_error_t error;
	json_t *json = json_loads(stats, 0, &error);
	size_t size;
	FILE *out;

	assert_non_null(json);
	free(text);
	out = open_memstream(&text, &size);
	top_view(json, (struct top_size){ lines, columns }, out);
	assert_int_equal(fclose(out), 0);
	json_decref(json);
	return text;
}

static int drop(void **state)
{
	free(text);
	text = NULL;
	return 0;
}

static void assert_has(const char *part)
{
	if (!strstr(text, part))
		fail_msg("no \"%s\" in\n%s", part, text);
}

static const char stats[] =
	"{\"version\":\"1.2.3\",\"time\":1100.0,\"started\":1000.0,\"reload_ok\":true,\"workers\":4,"
	"\"answering\":4,\"clients\":7,\"in_progress\":2,\"tunnels\":1,"
	"\"counters\":{\"requests_received\":1000,\"replays_final\":9,\"replays_again\":1,"
	"\"replays_lost\":2,\"replay_upload_bytes\":1572864},"
	"\"challenges\":[[\"echo\",12,\"\"],[\"other\",3,\"\"]],"
	"\"unanswered\":[[\"off\",0,\"\"],[\"again\",1,\"\"],[\"no-header\",3,\"\"]],"
	"\"history\":[[100,9,9,9],[10,1,0,0],[10,1,0,0],[10,0,0,0],[10,0,0,0],[10,0,0,0]],"
	"\"origins\":[{\"origin\":\"https://a.example:443\",\"challenged\":12,\"replays\":12,\"final\":9,"
	"\"again\":1,\"lost\":2,\"unanswered\":1,\"added_ms\":1200,\"octets\":1572864,\"seen\":1099},"
	"{\"origin\":\"http://b.example:80\",\"challenged\":3,\"replays\":0,\"unanswered\":3,"
	"\"added_ms\":0,\"seen\":1040}],"
	"\"last\":[{\"time\":1099,\"method\":\"PUT\",\"url\":\"https://a.example:443/\\u001b[2Jx\","
	"\"status\":200,\"ms\":31,\"attempts\":2,\"unanswered\":\"\"},"
	"{\"time\":1040,\"method\":\"GET\",\"url\":\"http://b.example:80/\",\"status\":449,\"ms\":5,"
	"\"attempts\":1,\"unanswered\":\"no-header\"},"
	"{\"time\":1041,\"method\":\"GET\",\"url\":\"http://c.example:80/\",\"status\":502,\"ms\":5,"
	"\"attempts\":2,\"unanswered\":\"\"}]}";

static void test_all(void **state)
{
	view(stats, 0, 0);
	assert_has("retrywith 1.2.3, up 1 m 40 s, 4 workers\n");
	assert_has("requests 1000 (10.0/s)   449 15 (0.4/s)");
	assert_has("replays: final 9, again 1, lost 2, 1.5 MiB sent again");
	assert_has("passed on unanswered: again 1, no-header 3\n");
	assert_has("https://a.example:443                          12        9      1      2      1"
		   "   100 ms       1 s   1.5 MiB       now\n");
	assert_has("http://b.example:80                             3        0      0      0      3"
		   "        -         -         -       1 m\n");
	assert_has("   200    2 answered        PUT https://a.example:443/");
	assert_has("   449    1 no-header       GET http://b.example:80/\n");
	assert_has("   502    2 failed          GET http://c.example:80/\n");
}

static void test_nothing_steers_the_terminal(void **state)
{
	view(stats, 0, 0);
	assert_has("PUT https://a.example:443/?[2Jx\n");
	assert_null(strchr(text, '\033'));
}

static void test_states(void **state)
{
	view("{\"workers\":4,\"answering\":3}", 0, 0);
	assert_has("NOT ALL ANSWER");
	view("{\"workers\":4,\"answering\":4,\"draining\":true,\"reload_ok\":false}", 0, 0);
	assert_has(", draining, the configuration last read is bad\n");
	view("{}", 0, 0);			/* whatever is missing */
	assert_has("passed on unanswered: none\n");
	assert_has("no origin has challenged yet\n");
	view("[]", 0, 0);
}

static void test_small_screens(void **state)
{
	for (unsigned lines = 1; lines < 20; lines++)
		for (unsigned columns = 1; columns < 200; columns += 7) {
			unsigned n = 0;
			char *left, *line;

			view(stats, lines, columns);
			left = text;
			while (*left && (line = strsep(&left, "\n"))) {
				n++;
				assert_true(strlen(line) <= columns);
			}
			assert_true(n <= lines);
		}
}

static void test_words(void **state)
{
	static const struct { double s; const char *text; } spans[] = {
		{ 0, "0 ms" }, { 0.0314, "31 ms" }, { 1, "1 s" }, { 59.9, "59 s" }, { 60, "1 m" },
		{ 3725, "1 h 2 m" }, { 90061, "1 d 1 h" }, { 8640000, "100 d" },
	};
	static const struct { double n; const char *text; } octets[] = {
		{ 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1.0 KiB" }, { 1 << 20, "1.0 MiB" },
		{ 500.0 * 1024, "500 KiB" }, { 5e15, "4547 TiB" },
	};
	char room[32];

	for (unsigned i = 0; i < sizeof spans / sizeof *spans; i++)
		assert_string_equal(top_span(room, spans[i].s), spans[i].text);
	for (unsigned i = 0; i < sizeof octets / sizeof *octets; i++)
		assert_string_equal(top_octets(room, octets[i].n), octets[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_all, drop),
		cmocka_unit_test_teardown(test_nothing_steers_the_terminal, drop),
		cmocka_unit_test_teardown(test_states, drop),
		cmocka_unit_test_teardown(test_small_screens, drop),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests_name("top_view", tests, NULL, NULL);
}
