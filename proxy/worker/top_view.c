/* top_view: see the header. */
#include "worker/top_view.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_ROOM = 512, RATE_SECONDS = 5, ORIGIN_LEAST = 24 };

struct screen {
	FILE *out;
	struct top_size size;
	unsigned used;			/* lines */
};

/* -- words ----------------------------------------------------------------------------- */

const char *top_span(char room[32], double seconds)
{
	static const struct { const char *unit; double s; } units[] = {
		{ "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 },
	};
	unsigned i = 0, first, next;

	if (seconds < 1) {
		snprintf(room, 32, "%.0f ms", seconds * 1000);
		return room;
	}
	while (i < 3 && seconds < units[i].s)
		i++;
	first = (unsigned)(seconds / units[i].s);
	next = i < 3 ? (unsigned)((seconds - first * units[i].s) / units[i + 1].s) : 0;
	if (next)
		snprintf(room, 32, "%u %s %u %s", first, units[i].unit, next, units[i + 1].unit);
	else
		snprintf(room, 32, "%u %s", first, units[i].unit);
	return room;
}

const char *top_octets(char room[32], double n)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned i = 0;

	for (; n >= 1024 && i < 4; i++)
		n /= 1024;
	snprintf(room, 32, i && n < 100 ? "%.1f %s" : "%.0f %s", n, units[i]);
	return room;
}

static const char *ago(char room[32], double seconds)
{
	return seconds < 1.5 ? "now" : top_span(room, seconds);
}

/* -- what was said ----------------------------------------------------------------------- */

static double number(const json_t *in, const char *key)
{
	return json_number_value(json_object_get(in, key));
}

static const char *text(const json_t *in, const char *key)
{
	const char *z = json_string_value(json_object_get(in, key));

	return z ? z : "";
}

/* Lists of [word, count, meaning]. */
static double all_of(const json_t *list)
{
	const json_t *row;
	double sum = 0;
	size_t i;

	json_array_foreach(list, i, row)
		sum += json_number_value(json_array_get(row, 1));
	return sum;
}

static double a_second(const json_t *stats, size_t column)
{
	const json_t *history = json_object_get(stats, "history");
	size_t n = json_array_size(history), taken = n < RATE_SECONDS ? n : RATE_SECONDS;
	double sum = 0;

	for (size_t i = n - taken; i < n; i++)
		sum += json_number_value(json_array_get(json_array_get(history, i), column));
	return taken ? sum / (double)taken : 0;
}

/* -- lines --------------------------------------------------------------------------------- */

static bool is_full(const struct screen *s)
{
	return s->size.lines && s->used >= s->size.lines;
}

__attribute__((format(printf, 2, 3)))
static void put(struct screen *s, const char *fmt, ...)
{
	char line[LINE_ROOM];
	va_list ap;

	if (is_full(s))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (s->size.columns && s->size.columns < sizeof line)
		line[s->size.columns] = '\0';
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
	fprintf(s->out, "%s\n", line);
	s->used++;
}

static void put_state(struct screen *s, const json_t *stats)
{
	char up[32];
	double hung = number(stats, "workers") - number(stats, "answering");

	put(s, "retrywith %s, up %s, %.0f workers%s%s", text(stats, "version"),
	    top_span(up, number(stats, "time") - number(stats, "started")),
	    number(stats, "workers"),
	    hung > 0 ? ", NOT ALL ANSWER" : json_is_true(json_object_get(stats, "draining")) ?
	    ", draining" : "",
	    json_is_false(json_object_get(stats, "reload_ok")) ?
	    ", the configuration last read is bad" : "");
}

static void put_traffic(struct screen *s, const json_t *stats)
{
	const json_t *counters = json_object_get(stats, "counters");
	const json_t *upstream = json_object_get(stats, "upstream");
	double met = all_of(json_object_get(stats, "challenges"));
	char sent[32];

	put(s, "requests %.0f (%.1f/s)   449 %.0f (%.1f/s)   under way %.0f   clients %.0f   "
	    "tunnels %.0f", number(counters, "requests_received"), a_second(stats, 0), met,
	    a_second(stats, 1), number(stats, "in_progress"), number(stats, "clients"),
	    number(stats, "tunnels"));
	put(s, "replays: final %.0f, again %.0f, lost %.0f, %s sent again   upstream: %.0f busy, "
	    "%.0f idle", number(counters, "replays_final"), number(counters, "replays_again"),
	    number(counters, "replays_lost"),
	    top_octets(sent, number(counters, "replay_upload_bytes")), number(upstream, "busy"),
	    number(upstream, "idle"));
}

static void put_unanswered(struct screen *s, const json_t *stats)
{
	const json_t *list = json_object_get(stats, "unanswered"), *row;
	char line[LINE_ROOM] = "";
	size_t i, used = 0;

	json_array_foreach(list, i, row) {
		const char *word = json_string_value(json_array_get(row, 0));
		double n = json_number_value(json_array_get(row, 1));

		if (n > 0 && used < sizeof line)
			used += (size_t)snprintf(line + used, sizeof line - used, "%s%s %.0f",
						 used ? ", " : "", word ? word : "", n);
	}
	put(s, "passed on unanswered: %s", used ? line : "none");
}

/* The origin gets what the other columns leave. */
static int origin_width(const struct screen *s)
{
	enum { OTHERS = 78 };
	int left = s->size.columns ? (int)s->size.columns - OTHERS : 40;

	return left < ORIGIN_LEAST ? ORIGIN_LEAST : left > 60 ? 60 : left;
}

static void put_origin(struct screen *s, const json_t *o, double now)
{
	int width = origin_width(s);
	double replays = number(o, "replays");
	char each[32] = "-", all[32] = "-", sent[32] = "-", since[32];

	if (replays > 0) {
		top_span(each, number(o, "added_ms") / replays / 1000);
		top_span(all, number(o, "added_ms") / 1000);
		top_octets(sent, number(o, "octets"));
	}
	put(s, "%-*.*s %8.0f %8.0f %6.0f %6.0f %6.0f %8s %9s %9s %9s", width, width,
	    text(o, "origin"), number(o, "challenged"), number(o, "final"), number(o, "again"),
	    number(o, "lost"), number(o, "unanswered"), each, all, sent,
	    ago(since, now - number(o, "seen")));
}

static void put_origins(struct screen *s, const json_t *stats)
{
	const json_t *list = json_object_get(stats, "origins"), *o;
	unsigned keep = s->size.lines > s->used ? (s->size.lines - s->used) / 2 : 0;
	int width = origin_width(s);
	size_t i;

	put(s, "%s", "");
	put(s, "%-*s %8s %8s %6s %6s %6s %8s %9s %9s %9s", width, "ORIGIN", "449", "FINAL", "AGAIN",
	    "LOST", "PASSED", "EACH", "IN ALL", "RESENT", "AGO");
	json_array_foreach(list, i, o)
		if (!s->size.lines || i < keep)
			put_origin(s, o, number(stats, "time"));
	if (!json_array_size(list))
		put(s, "no origin has challenged yet");
}

static void put_last(struct screen *s, const json_t *stats)
{
	const json_t *list = json_object_get(stats, "last"), *x;
	char since[32], took[32];
	size_t i;

	if (!json_array_size(list))
		return;
	put(s, "%s", "");
	put(s, "%9s %7s %6s %4s %-15s %s", "AGO", "TOOK", "STATUS", "SENT", "449", "REQUEST");
	json_array_foreach(list, i, x) {
		double status = number(x, "status");
		const char *why = text(x, "unanswered");

		if (!*why)
			why = status >= 500 || status == 0 ? "failed" : "answered";
		put(s, "%9s %7s %6.0f %4.0f %-15s %s %s", ago(since, number(stats, "time") - number(x, "time")),
		    top_span(took, number(x, "ms") / 1000), status,
		    number(x, "attempts"), why, text(x, "method"), text(x, "url"));
	}
}

void top_view(const json_t *stats, struct top_size size, FILE *out)
{
	struct screen s = { .out = out, .size = size };

	put_state(&s, stats);
	put_traffic(&s, stats);
	put_unanswered(&s, stats);
	put_origins(&s, stats);
	put_last(&s, stats);
}
