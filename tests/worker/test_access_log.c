/* access_log: lines to the letter, hostile values, and what happens to lines that
 * their file does not take. The clock is ours. */
#include "worker/access_log.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "worker/transaction.h"

static uint64_t time_ms;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	*ts = (struct timespec){ (time_t)(time_ms / 1000), (long)(time_ms % 1000 * 1000000) };
	return 0;
}

static char dir[32], file[64], old[64];
static struct counters counters;
static struct access_log *l;

/* -- one exchange ------------------------------------------------------------------- */

static struct arena *arena;
static struct config config;
static struct snapshot snapshot = { .config = &config };
static struct session session;
static struct transaction t;
static struct rule rule;

static void add(const char *name, const char *value)
{
	assert_true(headers_add(&t.request.fields, arena, str_of(name), str_of(value)));
}

static int begin(void **state)
{
	unlink(file);
	unlink(old);
	memset(&counters, 0, sizeof(counters));
	memset(&config, 0, sizeof(config));
	memset(&session, 0, sizeof(session));
	memset(&t, 0, sizeof(t));
	time_ms = UINT64_C(784111777000);
	clock_turn();
	arena = arena_new(4096, 1 << 20);
	session.id = 17;
	session.peer.in4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(4711),
						 .sin_addr.s_addr = htonl(0xc0000201) };
	t.session = &session;
	t.snapshot = &snapshot;
	t.request.method = STR("GET");
	t.request.target = STR("http://a.example/x?q=1");
	t.request.minor = 1;
	t.status = 200;
	t.down.moved = 1234;
	t.heads = 1000;
	t.started_us = clock_us() - 56789;
	t.attempts_n = 1;
	t.attempts[0] = (struct attempt){ .status = 200, .head_ms = 5, .body_octets = 99 };
	add("Host", "a.example");
	add("User-Agent", "probe/1");
	l = access_log_new(file, &counters);
	return l == NULL;
}

static int end(void **state)
{
	access_log_free(l);
	l = NULL;
	arena_free(arena);
	return 0;
}

static void reopen_as(const char *path)
{
	access_log_free(l);
	l = access_log_new(path, &counters);
	assert_non_null(l);
}

static const char *text(const char *path)
{
	static char room[1 << 20];
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(room, 1, sizeof(room) - 1, f);
	fclose(f);
	room[n] = '\0';
	return room;
}

/* The one line that the exchange gives. */
static const char *line(void)
{
	assert_int_equal(truncate(file, 0), 0);
	access_log_note(l, &t);
	access_log_flush(l);
	return text(file);
}

static void lacks(const char *s, const char *part)
{
	if (strstr(s, part))
		fail_msg("\"%s\" holds \"%s\"", s, part);
}

static void has(const char *s, const char *part)
{
	if (!strstr(s, part))
		fail_msg("\"%s\" lacks \"%s\"", s, part);
}

/* -- combined -------------------------------------------------------------------------- */

static void test_combined(void **state)
{
	assert_string_equal(line(),
		"192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET http://a.example/x HTTP/1.1\""
		" 200 234 \"-\" \"probe/1\" status=200 ms=56 in=0 attempts=1 replays=0 answer=-\n");
	config.log_query = true;
	t.request.minor = 0;
	add("Referer", "http://r.example/?a=b");
	has(line(), "\"GET http://a.example/x?q=1 HTTP/1.0\" 200 234 "
	    "\"http://r.example/?a=b\" \"probe/1\"");
	session.peer.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(1),
						  .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	assert_int_equal(strncmp(line(), "::1 - - [", 9), 0);
	session.peer.sa.sa_family = AF_UNIX;
	assert_int_equal(strncmp(line(), "unix - - [", 10), 0);
}

static void answer(void)
{
	t.challenges = 1;
	t.replays = 1;
	t.attempts_n = 2;
	t.attempts[0].status = 449;
	t.attempts[1] = (struct attempt){ .status = 200, .head_ms = 7, .reused = true };
	t.family = FAMILY_ECHO;
	t.answer.echoed = STR("canary-0815");
}

static void test_a_challenge_is_told_but_not_its_value(void **state)
{
	answer();
	for (int i = 0; i < 2; i++) {
		config.log_format = i ? LOG_JSON : LOG_COMBINED;
		has(line(), i ? "\"echo_length\":11" : "echo-length=11");
		has(line(), i ? "\"replays\":1,\"answer\":\"echo\"" : "attempts=2 replays=1 answer=echo");
		lacks(line(), "canary");
	}
	config.log_format = LOG_COMBINED;
	t.replays = 0;				/* planned, but never sent */
	lacks(line(), "echo-length");
	t.unanswered = UNANSWERED_AGAIN;
	t.why = WHY_CLIENT_GONE;
	has(line(), " unanswered=again why=client-gone\n");
}

/* -- JSON ------------------------------------------------------------------------------- */

static json_t *parsed(void)
{
	json_error_t e;
	const char *text = line();
	json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &e);

	if (!j)
		fail_msg("%s: %s", e.text, text);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	return j;
}

static void test_json(void **state)
{
	config.log_format = LOG_JSON;
	answer();
	rule.name = STR("orders");
	t.rule = &rule;
	assert_string_equal(line(),
		"{\"ts\":\"1994-11-06T08:49:37Z\",\"id\":17,\"client\":\"192.0.2.1:4711\","
		"\"method\":\"GET\",\"url\":\"http://a.example/x\",\"proto\":\"HTTP/1.1\","
		"\"status\":200,\"bytes_in\":0,\"bytes_out\":234,\"ms\":56,\"replays\":1,"
		"\"answer\":\"echo\",\"echo_length\":11,\"unanswered\":\"\",\"why\":\"\","
		"\"spool_bytes\":0,\"rule\":\"orders\",\"user_agent\":\"probe/1\","
		"\"attempts\":[{\"status\":449,\"ms\":5,\"bytes\":99,\"reused\":false},"
		"{\"status\":200,\"ms\":7,\"bytes\":0,\"reused\":true}]}\n");
	json_decref(parsed());
	t.attempts_n = 0;
	t.rule = NULL;
	t.status = 0;
	json_decref(parsed());
}

/* -- hostile values ------------------------------------------------------------------------ */

static void test_nothing_breaks_out(void **state)
{
	static const struct { const char *in, *combined, *json; } row[] = {
		{ "a\"b", "a\\x22b", "a\"b" }, { "a\\b", "a\\x5cb", "a\\b" },
		{ "a\nb\r", "a\\x0ab\\x0d", "a\nb\r" }, { "\x1b[31m", "\\x1b[31m", "\x1b[31m" },
		{ "\x7f", "\\x7f", "\x7f" }, { "caf\xe9", "caf\\xe9", "caf\xc3\xa9" },
		{ "\xff", "\\xff", "\xc3\xbf" }, { "tab\t", "tab\\x09", "tab\t" },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		char want[64];
		json_t *j;

		t.request.fields.count = 0;
		add("User-Agent", row[i].in);
		config.log_format = LOG_COMBINED;
		snprintf(want, sizeof(want), " \"-\" \"%s\" status=", row[i].combined);
		has(line(), want);
		config.log_format = LOG_JSON;
		j = parsed();
		assert_string_equal(json_string_value(json_object_get(j, "user_agent")), row[i].json);
		json_decref(j);
	}
}

static char much[70000];

/* Every field as long and as bad as can be. */
static void make_monstrous(char octet)
{
	memset(much, octet, sizeof(much) - 1);
	config.log_query = true;
	t.request.method = t.request.target = rule.name = str_of(much);
	t.request.fields = (struct headers){ 0 };
	t.rule = &rule;
	add("Referer", much);
	add("User-Agent", much);
	answer();
	t.attempts_n = ATTEMPTS_MOST;
	for (unsigned i = 0; i < ATTEMPTS_MOST; i++)
		t.attempts[i] = (struct attempt){ .status = 449, .head_ms = INT64_MAX,
						  .body_octets = INT64_MAX, .reused = true };
	t.down.moved = session.id = INT64_MAX;
	t.why = WHY_RESPONSE_TRAILER_TOO_BIG;
	t.unanswered = UNANSWERED_CLIENT_DECLINES;
}

static void test_monsters_are_cut(void **state)
{
	static const char octets[] = { 'x', '"', '\x01', '\xff' };

	for (size_t i = 0; i < sizeof(octets); i++) {
		make_monstrous(octets[i]);
		config.log_format = LOG_COMBINED;
		assert_true(strlen(line()) < 12288);
		has(line(), " why=response-trailer-too-big\n");
		assert_null(strchr(strchr(line(), '\n') + 1, '\n'));
		config.log_format = LOG_JSON;
		json_decref(parsed());
	}
	/* and as many as the room will ever hold */
	for (int n = 0; n < 100; n++)
		access_log_note(l, &t);
	access_log_flush(l);
	assert_int_equal(counters.n[COUNT_LOG_DROPPED], 0);
}

/* -- when it is written ----------------------------------------------------------------------- */

static void pass(uint64_t ms)
{
	time_ms += ms;
	clock_turn();
}

static size_t size(void)
{
	struct stat st;

	assert_int_equal(stat(file, &st), 0);
	return (size_t)st.st_size;
}

static void test_batches(void **state)
{
	size_t was;

	assert_false(access_log_waits(l));
	access_log_turn(l);
	access_log_note(l, &t);
	assert_true(access_log_waits(l));
	access_log_turn(l);			/* the first one for long: at once */
	assert_false(access_log_waits(l));
	was = size();
	assert_true(was > 0);
	pass(3);
	access_log_note(l, &t);
	access_log_turn(l);			/* busy: it waits a little ... */
	assert_int_equal(size(), was);
	pass(1);
	access_log_turn(l);
	assert_int_equal(size(), 2 * was);
	for (int n = 0; n < 400 && size() == 2 * was; n++) {	/* ... or until it is much */
		access_log_note(l, &t);
		access_log_turn(l);
	}
	assert_true(size() > 32768);
	access_log_note(l, &t);
	access_log_free(l);			/* the end writes what waits */
	l = NULL;
	assert_int_equal(size() % was, 0);
	assert_false(access_log_waits(NULL));
	access_log_flush(NULL);
	access_log_free(NULL);
}

static void test_the_stamp_follows_the_clock(void **state)
{
	has(line(), "[06/Nov/1994:08:49:37 +0000]");
	pass(1000);
	has(line(), "[06/Nov/1994:08:49:38 +0000]");
	time_ms -= 7200000;
	clock_turn();
	has(line(), "[06/Nov/1994:06:49:38 +0000]");
}

static void test_rotation(void **state)
{
	size_t one = strlen(line());

	access_log_note(l, &t);
	assert_int_equal(rename(file, old), 0);
	assert_true(access_log_reopen(l));	/* what waits belongs to the old one */
	assert_int_equal(strlen(text(old)), 2 * one);
	assert_int_equal(size(), 0);
	access_log_note(l, &t);
	access_log_flush(l);
	assert_int_equal(size(), one);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(mkdir(file, 0700), 0);
	assert_false(access_log_reopen(l));	/* in vain: the one that is open stays */
	access_log_note(l, &t);
	access_log_flush(l);
	assert_int_equal(counters.n[COUNT_LOG_DROPPED], 0);
	assert_int_equal(rmdir(file), 0);
	assert_true(access_log_reopen(NULL));
}

static void test_paths(void **state)
{
	struct stat st;

	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07, 0);	/* URLs are nobody else's business */
	errno = 5;
	assert_null(access_log_new("off", &counters));
	assert_int_equal(errno, 0);
	assert_null(access_log_new("", &counters));
	assert_int_equal(errno, 0);
	assert_null(access_log_new("/nowhere/at/all", &counters));
	assert_int_equal(errno, ENOENT);
}

/* -- files that do not take it -------------------------------------------------------------------- */

static int open_fifo(void)
{
	int fd;

	unlink(file);
	assert_int_equal(mkfifo(file, 0600), 0);
	fd = open(file, O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	reopen_as(file);
	fcntl(fd, F_SETPIPE_SZ, 8192);
	return fd;
}

static size_t drain(int fd, char *room, size_t most)
{
	size_t n = 0;
	ssize_t r;

	while ((r = read(fd, room + n, most - n)) > 0)
		n += (size_t)r;
	return n;
}

static size_t count_lines(const char *s, size_t n)
{
	size_t lines = 0;

	for (size_t i = 0; i < n; i++)
		lines += s[i] == '\n';
	return lines;
}

/* Nobody reads: nothing waits for him, whole lines are dropped and counted. */
static void test_full_pipe(void **state)
{
	static char room[1 << 16];
	int fd = open_fifo();
	size_t n, lines, whole = strlen((access_log_note(l, &t), access_log_flush(l),
					 room[drain(fd, room, sizeof(room))] = '\0', room));

	for (int i = 0; i < 200; i++)
		access_log_note(l, &t);
	access_log_flush(l);
	n = drain(fd, room, sizeof(room));
	lines = count_lines(room, n);
	assert_true(lines > 10);
	assert_int_equal(n, lines * whole);	/* no line is torn */
	assert_int_equal(lines + counters.n[COUNT_LOG_DROPPED], 200);
	access_log_note(l, &t);			/* and it goes on */
	access_log_flush(l);
	assert_int_equal(drain(fd, room, sizeof(room)), whole);
	close(fd);
	access_log_note(l, &t);			/* nobody is there any more */
	access_log_flush(l);
	assert_int_equal(lines + counters.n[COUNT_LOG_DROPPED], 201);
}

/* Lines of any length must fit in what a pipe takes at once. */
static void test_monsters_in_a_pipe(void **state)
{
	static char room[1 << 16];
	int fd = open_fifo();

	for (int i = 0; i < 2; i++) {
		size_t n;

		make_monstrous('\x01');
		config.log_format = i ? LOG_JSON : LOG_COMBINED;
		for (int j = 0; j < 20; j++)
			access_log_note(l, &t);
		access_log_flush(l);
		n = drain(fd, room, sizeof(room) - 1);
		room[n] = '\0';
		assert_true(n > 0);
		assert_int_equal(room[n - 1], '\n');
		for (char *at = room, *lf; (lf = strchr(at, '\n')); at = lf + 1) {
			json_t *j;

			assert_true(lf - at < PIPE_BUF);
			*lf = '\0';
			if (i) {
				assert_non_null(j = json_loads(at, 0, NULL));
				json_decref(j);
			} else {
				has(at, " why=response-trailer-too-big");
			}
		}
	}
	close(fd);
}

static void limit(size_t octets)
{
	struct rlimit r;

	getrlimit(RLIMIT_FSIZE, &r);
	r.rlim_cur = octets ? octets : r.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* A full disk takes half a line: what comes later starts on a line of its own. */
static void test_full_disk(void **state)
{
	size_t one = strlen(line());
	const char *at;

	access_log_note(l, &t);
	access_log_note(l, &t);
	limit(2 * one + 10);
	access_log_flush(l);
	assert_int_equal(size(), 2 * one + 10);
	assert_int_equal(counters.n[COUNT_LOG_DROPPED], 1);
	access_log_note(l, &t);
	access_log_flush(l);			/* still full */
	assert_int_equal(counters.n[COUNT_LOG_DROPPED], 2);
	limit(0);
	access_log_note(l, &t);
	access_log_flush(l);
	assert_int_equal(counters.n[COUNT_LOG_DROPPED], 2);
	at = text(file) + 2 * one;
	assert_int_equal(at[10], '\n');
	assert_int_equal(strlen(at), 11 + one);
	assert_int_equal(strncmp(at + 11, text(file), one), 0);
}

static int open_all(void **state)
{
	setenv("TZ", "UTC", 1);
	tzset();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	snprintf(dir, sizeof(dir), "/tmp/test-access-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/access.log", dir);
	snprintf(old, sizeof(old), "%s/access.log.1", dir);
	return 0;
}

static int close_all(void **state)
{
	unlink(file);
	unlink(old);
	rmdir(dir);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_combined), TEST(test_a_challenge_is_told_but_not_its_value),
		TEST(test_json), TEST(test_nothing_breaks_out), TEST(test_monsters_are_cut),
		TEST(test_batches), TEST(test_the_stamp_follows_the_clock), TEST(test_rotation),
		TEST(test_paths), TEST(test_full_pipe), TEST(test_monsters_in_a_pipe),
		TEST(test_full_disk),
	};

	return cmocka_run_group_tests_name("access_log", tests, open_all, close_all);
}
