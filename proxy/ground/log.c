/* log: lines to standard error or a file. Formatting happens in a room on the
 * stack, and a line is one write(2), so lines of several threads never mix.
 * The descriptor is replaced under the number it has: dup2 is atomic, and a
 * thread that writes meanwhile writes to the old file or to the new one. */
#include "ground/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { LINE_ROOM = 2048 };

enum log_level log_threshold = LEVEL_NOTICE;

static int fd = STDERR_FILENO;
static char *path;
static bool journal;

static const struct {
	const char *word;
	char priority;			/* syslog(3), for the journal */
} levels[] = {
	[LEVEL_ERROR] = { "error", '3' },
	[LEVEL_WARN] = { "warning", '4' },
	[LEVEL_NOTICE] = { "notice", '5' },
	[LEVEL_INFO] = { "info", '6' },
	[LEVEL_DEBUG] = { "debug", '7' },
};

static int open_path(const char *p)
{
	return open(p, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

bool log_open(const char *p)
{
	int opened;

	opened = p ? open_path(p) : STDERR_FILENO;
	if (opened < 0)
		return false;
	if (path)
		close(fd);
	free(path);
	path = p ? strdup(p) : NULL;
	journal = !p && getenv("JOURNAL_STREAM");
	fd = opened;
	return true;
}

bool log_reopen(void)
{
	int opened;

	if (!path)
		return true;
	opened = open_path(path);
	if (opened < 0)
		return false;
	dup3(opened, fd, O_CLOEXEC);
	close(opened);
	return true;
}

char *log_escape(char *room, size_t size, struct str s)
{
	static const char hex[] = "0123456789abcdef";
	size_t at = 0;

	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.at[i];

		if (c >= 0x20 && c < 0x7f) {
			if (at + 1 >= size)
				break;
			room[at++] = (char)c;
			continue;
		}
		if (at + 4 >= size)
			break;
		room[at++] = '\\';
		room[at++] = 'x';
		room[at++] = hex[c >> 4];
		room[at++] = hex[c & 15];
	}
	if (size)
		room[at] = '\0';
	return room;
}

/* Never beyond the room: what does not fit is cut. */
__attribute__((format(printf, 3, 4)))
static size_t put(char *line, size_t at, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line + at, LINE_ROOM - at, fmt, ap);
	va_end(ap);
	if (n < 0)
		return at;
	return at + (size_t)n < LINE_ROOM ? at + (size_t)n : LINE_ROOM - 1;
}

static size_t put_stamp(char *line, enum log_level level)
{
	time_t now = time(NULL);
	struct tm tm;
	size_t at;

	if (journal)
		return put(line, 0, "<%c>", levels[level].priority);
	localtime_r(&now, &tm);
	at = strftime(line, LINE_ROOM, "%Y-%m-%dT%H:%M:%S%z ", &tm);
	return put(line, at, "%s: ", levels[level].word);
}

void log_line(enum log_level level, const struct log_ctx *ctx, const char *fmt, ...)
{
	char line[LINE_ROOM], text[LINE_ROOM / 2], safe[LINE_ROOM - 256];
	size_t at;
	int n;
	va_list ap;

	if (level > log_threshold)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	log_escape(safe, sizeof safe, str_of(text));
	at = put_stamp(line, level);
	if (ctx && ctx->id)
		at = put(line, at, "#%llu %.*s: ", (unsigned long long)ctx->id,
			 STR_FMT(ctx->who));
	at = put(line, at, "%s", safe);
	if (ctx && ctx->doing)
		at = put(line, at, " while %s", ctx->doing);
	line[at++] = '\n';		/* in the place of the NUL */
	if (write(fd, line, at) < 0)
		return;			/* nowhere left to say it */
}
