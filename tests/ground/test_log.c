/* log: what is escaped, what a line looks like, and rotation. */
#include "ground/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/stat.h>

#include <cmocka.h>

static char dir[] = "/tmp/test-log-XXXXXX";
static char file[64], old[64];

static int open_log(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof(file), "%s/error.log", dir);
	snprintf(old, sizeof(old), "%s/error.log.1", dir);
	return 0;
}

static int remove_log(void **state)
{
	unlink(file);
	unlink(old);
	return rmdir(dir);
}

static int begin(void **state)
{
	unlink(file);
	unlink(old);
	log_threshold = LEVEL_NOTICE;
	return log_open(file) ? 0 : -1;
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

static void contains(const char *s, const char *part)
{
	if (!strstr(s, part))
		fail_msg("\"%s\" lacks \"%s\"", s, part);
}

static void test_escape(void **state)
{
	static const struct { struct str in; size_t size; const char *out; } row[] = {
		{ STR("plain ~"), 64, "plain ~" }, { STR(""), 64, "" },
		{ STR("a\r\nb"), 64, "a\\x0d\\x0ab" }, { STR("\0\x1b\x7f"), 64, "\\x00\\x1b\\x7f" },
		{ STR("\x80\xff"), 64, "\\x80\\xff" }, { STR("abc"), 4, "abc" },
		{ STR("abc"), 3, "ab" }, { STR("abc"), 1, "" }, { STR("\n"), 4, "" },
		{ STR("\n"), 5, "\\x0a" }, { STR("a\nb"), 5, "a" },	/* never half an escape */
		{ STR("a\nb"), 6, "a\\x0a" },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		char room[65];

		memset(room, '#', sizeof(room));
		assert_ptr_equal(log_escape(room, row[i].size, row[i].in), room);
		assert_string_equal(room, row[i].out);
		for (size_t j = row[i].size; j < sizeof(room); j++)
			assert_int_equal(room[j], '#');
	}
	assert_null(log_escape(NULL, 0, STR("abc")));
}

static void test_line(void **state)
{
	struct log_ctx ctx = { 17, STR("192.0.2.1"), "sending the request" };

	log_error(&ctx, "%s after %d", "reset", 3);
	contains(text(file), "error: #17 192.0.2.1: reset after 3 while sending the request\n");
	ctx.doing = NULL;
	log_warn(&ctx, "odd");
	contains(text(file), "warning: #17 192.0.2.1: odd\n");
	log_notice(NULL, "hello");
	contains(text(file), "notice: hello\n");
	ctx.id = 0;
	log_notice(&ctx, "no session");
	contains(text(file), "notice: no session\n");
	assert_int_equal(text(file)[4], '-');	/* a date first */
	assert_int_equal(text(file)[10], 'T');
}

static void test_a_peer_cannot_forge_a_line(void **state)
{
	log_error(NULL, "bad method %s", "GET\n2030-01-01 error: forged\x1b[31m");
	contains(text(file), "bad method GET\\x0a2030-01-01 error: forged\\x1b[31m\n");
	assert_null(strchr(strchr(text(file), '\n') + 1, '\n'));
}

static void test_a_long_line_is_cut_and_still_ends(void **state)
{
	static char much[8000];
	struct log_ctx ctx = { 1, { much, sizeof(much) - 1 }, much };
	const char *said, *end;

	memset(much, 1, sizeof(much) - 1);	/* each becomes four */
	log_error(NULL, "%s", much);
	memset(much, 'x', sizeof(much) - 1);
	log_error(NULL, "%s", much);
	log_error(&ctx, "%s", much);		/* beyond all measure */
	ctx.doing = "x";
	for (ctx.who.len = 1800; ctx.who.len < 2100; ctx.who.len++)
		log_error(&ctx, "y");		/* and around the size of the room */
	log_error(NULL, "last");
	said = text(file);
	for (int lines = 0; lines < 303; lines++, said = end + 1) {
		end = strchr(said, '\n');
		assert_non_null(end);
		assert_true(end - said < 2048);
	}
	contains(said, "error: last\n");
}

static void test_threshold(void **state)
{
	static const struct { enum log_level threshold; const char *said; } row[] = {
		{ LEVEL_ERROR, "E" }, { LEVEL_WARN, "EW" }, { LEVEL_NOTICE, "EWN" },
		{ LEVEL_INFO, "EWNI" }, { LEVEL_DEBUG, "EWNID" },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		char said[8] = "";

		begin(NULL);
		log_threshold = row[i].threshold;
		log_error(NULL, "E");
		log_warn(NULL, "W");
		log_notice(NULL, "N");
		log_info(NULL, "I");
		log_debug(NULL, "D");
		for (const char *at = text(file); (at = strchr(at, '\n')); at++)
			strncat(said, at - 1, 1);
		assert_string_equal(said, row[i].said);
	}
}

/* What is not said is not even computed. */
static void test_quiet_levels_cost_nothing(void **state)
{
	int asked = 0;

	log_debug(NULL, "%d", ++asked);
	log_info(NULL, "%d", ++asked);
	assert_int_equal(asked, 0);
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 64; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_rotation(void **state)
{
	struct stat st;
	int fds;

	log_error(NULL, "before");
	assert_int_equal(rename(file, old), 0);
	log_error(NULL, "meanwhile");
	assert_true(log_reopen());
	log_error(NULL, "after");
	contains(text(old), "before\n");
	contains(text(old), "meanwhile\n");
	assert_null(strstr(text(old), "after"));
	contains(text(file), "after\n");
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07, 0);	/* nobody else's business */
	fds = count_fds();
	for (int i = 0; i < 3; i++) {		/* no descriptor is left behind */
		assert_true(log_reopen());
		assert_true(log_open(file));
	}
	assert_int_equal(count_fds(), fds);
}

static void test_where_it_cannot_be_opened(void **state)
{
	char nowhere[80];

	snprintf(nowhere, sizeof(nowhere), "%s/none/error.log", dir);
	assert_false(log_open(nowhere));
	log_error(NULL, "still here");		/* and the old one goes on */
	contains(text(file), "still here\n");
	assert_int_equal(rename(file, old), 0);
	assert_int_equal(mkdir(file, 0700), 0);
	assert_false(log_reopen());
	log_error(NULL, "here, too");
	contains(text(old), "here, too\n");
	assert_int_equal(rmdir(file), 0);
}

/* Standard error, with priorities where the journal listens. */
static void to_stderr(const char *journal, char *room, size_t size)
{
	int pipe_fd[2], keep = dup(STDERR_FILENO);
	ssize_t n;

	assert_int_equal(pipe(pipe_fd), 0);
	dup2(pipe_fd[1], STDERR_FILENO);
	if (journal)
		setenv("JOURNAL_STREAM", journal, 1);
	else
		unsetenv("JOURNAL_STREAM");
	log_open(NULL);
	log_error(NULL, "one");
	log_reopen();				/* nothing to do, and no harm */
	log_notice(NULL, "two");
	unsetenv("JOURNAL_STREAM");
	dup2(keep, STDERR_FILENO);
	close(keep);
	close(pipe_fd[1]);
	n = read(pipe_fd[0], room, size - 1);
	close(pipe_fd[0]);
	assert_true(n > 0);
	room[n] = '\0';
}

static void test_journal(void **state)
{
	char said[512];

	to_stderr("8:1234", said, sizeof(said));
	assert_string_equal(said, "<3>one\n<5>two\n");
	to_stderr(NULL, said, sizeof(said));
	contains(said, "error: one\n");
	contains(said, "notice: two\n");
}

#define TEST(fn) cmocka_unit_test_setup(fn, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape), TEST(test_line),
		TEST(test_a_peer_cannot_forge_a_line), TEST(test_a_long_line_is_cut_and_still_ends),
		TEST(test_threshold), TEST(test_quiet_levels_cost_nothing), TEST(test_rotation),
		TEST(test_where_it_cannot_be_opened), TEST(test_journal),
	};

	return cmocka_run_group_tests_name("log", tests, open_log, remove_log);
}
