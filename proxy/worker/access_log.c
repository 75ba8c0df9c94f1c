/* access_log: see the header. */
#include "worker/access_log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ground/log.h"
#include "worker/transaction.h"

enum { ROOM = 128 * 1024, LINE_MOST = 12288, FIELD_MOST = 2048,
       FIELD_MOST_IN_PIPE = 512,	/* such lines fit in PIPE_BUF whatever they hold */
       BATCH = 32 * 1024, BUSY_MS = 4 };

struct access_log {
	int fd;
	char *path;			/* NULL: standard output */
	struct counters *counters;
	size_t used;
	bool pipe;			/* ask poll before writing: it could wait */
	bool torn;			/* the last line written lacks its end */
	uint64_t written_ms;
	time_t stamped;
	char stamp[40], stamp_iso[40];
	char room[ROOM];
};

static int open_path(const char *path)
{
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

struct access_log *access_log_new(const char *path, struct counters *c)
{
	struct access_log *l;
	struct stat st;

	errno = 0;
	if (!strcmp(path, "off") || !*path)
		return NULL;
	l = malloc(sizeof *l);
	if (!l)
		return NULL;
	memset(l, 0, offsetof(struct access_log, room));
	l->counters = c;
	l->path = strcmp(path, "-") ? strdup(path) : NULL;
	l->fd = l->path ? open_path(l->path) : STDOUT_FILENO;
	if (l->fd < 0) {
		int err = errno;

		free(l->path);
		free(l);
		errno = err;
		return NULL;
	}
	l->pipe = fstat(l->fd, &st) == 0 && !S_ISREG(st.st_mode);
	return l;
}

static bool takes_more(const struct access_log *l)
{
	struct pollfd p = { .fd = l->fd, .events = POLLOUT };

	return !l->pipe || (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT));
}

static void drop_lines(struct access_log *l, const char *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		counter_add(&l->counters->n[COUNT_LOG_DROPPED], from[i] == '\n');
}

/* A pipe takes PIPE_BUF octets whole or not at all: so lines are never torn. */
static size_t piece(const struct access_log *l, const char *from, size_t left)
{
	const char *end = l->pipe && left > PIPE_BUF ? memrchr(from, '\n', PIPE_BUF) : NULL;

	return end ? (size_t)(end - from) + 1 : left;
}

/* A full disk may take half a line: the next one must not be glued to it. */
static bool mend(struct access_log *l)
{
	if (l->torn)
		l->torn = write(l->fd, "\n", 1) != 1;
	return !l->torn;
}

void access_log_flush(struct access_log *l)
{
	size_t done = 0;

	if (!l)
		return;
	while (done < l->used) {
		size_t n = piece(l, l->room + done, l->used - done);
		ssize_t r = takes_more(l) && mend(l) ? write(l->fd, l->room + done, n) : -1;

		if (r <= 0)
			break;
		done += (size_t)r;
		l->torn = l->room[done - 1] != '\n';
		if (l->torn)
			break;
	}
	drop_lines(l, l->room + done, l->used - done);
	l->used = 0;
}

bool access_log_waits(const struct access_log *l)
{
	return l && l->used;
}

/* A busy loop comes again soon, and larger pieces are cheaper; an idle one is
 * woken by its tick. */
void access_log_turn(struct access_log *l)
{
	if (l->used && (l->used >= BATCH || clock_ms() - l->written_ms >= BUSY_MS)) {
		access_log_flush(l);
		l->written_ms = clock_ms();
	}
}

void access_log_free(struct access_log *l)
{
	if (!l)
		return;
	access_log_flush(l);
	if (l->path)
		close(l->fd);
	free(l->path);
	free(l);
}

bool access_log_reopen(struct access_log *l)
{
	int fd;

	if (!l || !l->path)
		return true;
	access_log_flush(l);
	fd = open_path(l->path);
	if (fd < 0)
		return false;
	close(l->fd);
	l->fd = fd;
	return true;
}

static void stamp(struct access_log *l)
{
	time_t now = clock_wall();
	struct tm tm;

	if (now == l->stamped)
		return;
	l->stamped = now;
	localtime_r(&now, &tm);
	strftime(l->stamp, sizeof l->stamp, "%d/%b/%Y:%H:%M:%S %z", &tm);
	gmtime_r(&now, &tm);
	strftime(l->stamp_iso, sizeof l->stamp_iso, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* Quotes, backslashes and what is not printable become \xHH: a line stays one
 * line and a quoted field one field. The result is also legal in JSON once the
 * backslash is doubled. */
static size_t escape(char *to, struct str s, size_t most, bool json)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	for (size_t i = 0; i < s.len && n < most - 8; i++) {
		unsigned char c = (unsigned char)s.at[i];

		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
			to[n++] = (char)c;
			continue;
		}
		to[n++] = '\\';
		if (json) {
			to[n++] = 'u';
			to[n++] = '0';
			to[n++] = '0';
		} else {
			to[n++] = 'x';
		}
		to[n++] = hex[c >> 4];
		to[n++] = hex[c & 15];
	}
	return n;
}

struct line {
	char *at, *end;
	size_t field_most;
	bool json;
};

static void put(struct line *l, const char *s)
{
	size_t n = strlen(s);

	if ((size_t)(l->end - l->at) < n)
		return;
	memcpy(l->at, s, n);
	l->at += n;
}

static void put_str(struct line *l, struct str s)
{
	if ((size_t)(l->end - l->at) < l->field_most)
		return;
	l->at += escape(l->at, s, l->field_most, l->json);
}

static void put_u64(struct line *l, uint64_t n)
{
	char digits[24], *d = digits + sizeof digits;

	*--d = '\0';
	do
		*--d = (char)('0' + n % 10);
	while (n /= 10);
	put(l, d);
}

/* Userinfo never gets here (such targets are refused); the query only if the
 * operator wants it. */
static struct str url_of(const struct transaction *t)
{
	struct str url = t->request.target, path, query;

	if (!t->snapshot->config->log_query && str_cut(url, '?', &path, &query))
		return path;
	return url;
}

static const char *answer_of(const struct transaction *t)
{
	if (!t->challenges)
		return "";
	return family_word(t->family);
}

static struct str field(const struct transaction *t, enum header_id id)
{
	const struct header *h = headers_find(&t->request.fields, id);

	return h ? h->value : STR_NONE;
}

static uint64_t echoed_length(const struct transaction *t)
{
	return t->replays && t->answer.echoed.at ? t->answer.echoed.len : 0;
}

/* What the client got of bodies, or of a tunnel; framing counts, heads do not. */
static uint64_t octets_out(const struct transaction *t)
{
	return t->down.moved > t->heads ? t->down.moved - t->heads : 0;
}

static const char *end_of(const struct transaction *t)
{
	return t->why == WHY_DONE ? "" : why_name(t->why);
}

static void combined(struct line *l, const struct transaction *t, struct access_log *log)
{
	char who[64];
	struct str referer = field(t, HEADER_REFERER), agent = field(t, HEADER_USER_AGENT);

	put_str(l, session_address(t->session, who));
	put(l, " - - [");
	put(l, log->stamp);
	put(l, "] \"");
	put_str(l, t->request.method);
	put(l, " ");
	put_str(l, url_of(t));
	put(l, t->request.minor ? " HTTP/1.1\" " : " HTTP/1.0\" ");
	put_u64(l, t->status);
	put(l, " ");
	put_u64(l, octets_out(t));
	put(l, " \"");
	put_str(l, referer.len ? referer : STR("-"));
	put(l, "\" \"");
	put_str(l, agent.len ? agent : STR("-"));
	put(l, "\" status=");
	put_u64(l, t->status);
	put(l, " ms=");
	put_u64(l, (clock_us() - t->started_us) / 1000);
	put(l, " in=");
	put_u64(l, t->body ? body_length(t->body) : 0);
	put(l, " attempts=");
	put_u64(l, t->attempts_n);
	put(l, " replays=");
	put_u64(l, t->replays);
	put(l, " answer=");
	put(l, *answer_of(t) ? answer_of(t) : "-");
	if (t->replays && t->answer.echoed.at) {
		put(l, " echo-length=");
		put_u64(l, echoed_length(t));
	}
	if (t->unanswered != UNANSWERED_NONE) {
		put(l, " unanswered=");
		put(l, unanswered_word(t->unanswered));
	}
	if (*end_of(t)) {
		put(l, " why=");
		put(l, end_of(t));
	}
	put(l, "\n");
}

static void member(struct line *l, const char *name, struct str value)
{
	put(l, ",\"");
	put(l, name);
	put(l, "\":\"");
	put_str(l, value);
	put(l, "\"");
}

static void number(struct line *l, const char *name, uint64_t value)
{
	put(l, ",\"");
	put(l, name);
	put(l, "\":");
	put_u64(l, value);
}

static void attempts(struct line *l, const struct transaction *t)
{
	put(l, ",\"attempts\":[");
	for (unsigned i = 0; i < t->attempts_n; i++) {
		put(l, i ? ",{\"status\":" : "{\"status\":");
		put_u64(l, t->attempts[i].status);
		number(l, "ms", t->attempts[i].head_ms);
		number(l, "bytes", t->attempts[i].body_octets);
		put(l, t->attempts[i].reused ? ",\"reused\":true}" : ",\"reused\":false}");
	}
	put(l, "]");
}

static void json(struct line *l, const struct transaction *t, struct access_log *log)
{
	char who[64];

	put(l, "{\"ts\":\"");
	put(l, log->stamp_iso);
	put(l, "\"");
	number(l, "id", t->session->id);
	member(l, "client", session_who(t->session, who));
	member(l, "method", t->request.method);
	member(l, "url", url_of(t));
	member(l, "proto", t->request.minor ? STR("HTTP/1.1") : STR("HTTP/1.0"));
	number(l, "status", t->status);
	number(l, "bytes_in", t->body ? body_length(t->body) : 0);
	number(l, "bytes_out", octets_out(t));
	number(l, "ms", (clock_us() - t->started_us) / 1000);
	number(l, "replays", t->replays);
	member(l, "answer", str_of(answer_of(t)));
	number(l, "echo_length", echoed_length(t));
	member(l, "unanswered", str_of(unanswered_word(t->unanswered)));
	member(l, "why", str_of(end_of(t)));
	number(l, "spool_bytes", t->body ? body_filed(t->body) : 0);
	if (t->rule)
		member(l, "rule", t->rule->name);
	member(l, "user_agent", field(t, HEADER_USER_AGENT));
	attempts(l, t);
	put(l, "}\n");
}

static size_t compose(struct access_log *l, const struct transaction *t, size_t field_most)
{
	bool as_json = t->snapshot->config->log_format == LOG_JSON;
	struct line line = { l->room + l->used, l->room + ROOM, field_most, as_json };

	if (as_json)
		json(&line, t, l);
	else
		combined(&line, t, l);
	return (size_t)(line.at - l->room) - l->used;
}

void access_log_note(struct access_log *l, const struct transaction *t)
{
	size_t n;

	stamp(l);
	if (ROOM - l->used < 2 * LINE_MOST)
		access_log_flush(l);
	n = compose(l, t, FIELD_MOST);
	if (l->pipe && n > PIPE_BUF)
		n = compose(l, t, FIELD_MOST_IN_PIPE);
	assert(n <= LINE_MOST && l->room[l->used + n - 1] == '\n');
	l->used += n;
}
