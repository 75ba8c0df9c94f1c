/* metrics: see the header. Metrics of the closed lists are there from the start, at
 * 0, so that a rate has something to begin with; requests by method and code only
 * as far as they occurred. */
#include "worker/metrics.h"

#include <inttypes.h>

const char *const metrics_type[] = {
	[METRICS_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
	[METRICS_OPEN] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

enum type { COUNTER, GAUGE, HISTOGRAM, INFO };

struct pen {
	FILE *out;
	bool open;			/* OpenMetrics */
	const char *name, *suffix;	/* of the family at hand */
};

/* "application/openmetrics-text", unless its q is 0. Prometheus asks for it first. */
enum metrics_format metrics_wanted(const char *accept)
{
	struct str list = str_of(accept), item, type, more;

	while (str_list_next(&list, &item)) {
		more = STR_NONE;
		if (!str_cut(item, ';', &type, &more))
			type = item;
		if (str_eq_nocase(str_trim(type), STR("application/openmetrics-text")) &&
		    !str_ends(more, STR("q=0")))
			return METRICS_OPEN;
	}
	return METRICS_TEXT;
}

/* -- families and samples -------------------------------------------------------------- */

/* Counters and infos have their suffix in the family's name in the old format, and
 * in the sample's only in the new one. */
static void family(struct pen *p, enum type type, const char *name, const char *help)
{
	static const struct { const char *word, *old_word, *suffix; } types[] = {
		[COUNTER] = { "counter", "counter", "_total" },
		[GAUGE] = { "gauge", "gauge", "" },
		[HISTOGRAM] = { "histogram", "histogram", "" },
		[INFO] = { "info", "gauge", "_info" },
	};
	const char *suffix = types[type].suffix;

	p->name = name;
	p->suffix = suffix;
	fprintf(p->out, "# HELP %s%s %s\n", name, p->open ? "" : suffix, help);
	fprintf(p->out, "# TYPE %s%s %s\n", name, p->open ? "" : suffix,
		p->open ? types[type].word : types[type].old_word);
}

static void sample(struct pen *p, uint64_t n)
{
	fprintf(p->out, "%s%s %" PRIu64 "\n", p->name, p->suffix, n);
}

static void labelled(struct pen *p, const char *label, const char *value, uint64_t n)
{
	fprintf(p->out, "%s%s{%s=\"%s\"} %" PRIu64 "\n", p->name, p->suffix, label, value, n);
}

static void counter(struct pen *p, const char *name, const char *help, uint64_t n)
{
	family(p, COUNTER, name, help);
	sample(p, n);
}

static void gauge(struct pen *p, const char *name, const char *help, uint64_t n)
{
	family(p, GAUGE, name, help);
	sample(p, n);
}

/* Fractions of seconds. */
static void fraction(struct pen *p, double n)
{
	fprintf(p->out, "%s%s %.3f\n", p->name, p->suffix, n);
}

static void histogram(struct pen *p, const char *name, const char *help, const struct times *t)
{
	uint64_t sum = 0;

	family(p, HISTOGRAM, name, help);
	for (unsigned i = 0; i < TIME_BUCKETS; i++) {
		uint32_t ms = counter_bucket_ms[i];

		sum += t->bucket[i];
		fprintf(p->out, "%s_bucket{le=\"", name);
		if (ms == UINT32_MAX)
			fputs("+Inf", p->out);
		else if (ms % 1000)
			fprintf(p->out, "%g", ms / 1000.0);
		else
			fprintf(p->out, "%" PRIu32 ".0", ms / 1000);
		fprintf(p->out, "\"} %" PRIu64 "\n", sum);
	}
	fprintf(p->out, "%s_sum %.3f\n", name, (double)t->sum_ms / 1000);
	fprintf(p->out, "%s_count %" PRIu64 "\n", name, sum);
}

/* -- what is told ---------------------------------------------------------------------- */

static void tell_process(struct pen *p, const struct census *c)
{
	const struct usage *u = &c->usage;

	family(p, COUNTER, "process_cpu_seconds", "user and system CPU time spent");
	fraction(p, u->cpu_s);
	gauge(p, "process_resident_memory_bytes", "resident memory", u->resident);
	gauge(p, "process_virtual_memory_bytes", "virtual memory", u->virtual);
	gauge(p, "process_open_fds", "open file descriptors", u->fds);
	gauge(p, "process_max_fds", "most file descriptors that may be open", u->fds_most);
	family(p, GAUGE, "process_start_time_seconds", "when the process started");
	fraction(p, c->started);
}

static void tell_self(struct pen *p, const struct census *c)
{
	family(p, INFO, "retrywith_build", "the version that runs");
	labelled(p, "version", RETRYWITH_VERSION, 1);
	gauge(p, "retrywith_workers", "worker threads", c->workers);
	gauge(p, "retrywith_workers_answering", "worker threads whose loop turns", c->answering);
	gauge(p, "retrywith_draining", "1 while it finishes what is under way, to end",
	      c->draining);
	gauge(p, "retrywith_config_last_reload_successful",
	      "1 if the configuration last read is in use", c->reload_ok);
	family(p, GAUGE, "retrywith_config_last_reload_success_timestamp_seconds",
	       "when a configuration was last taken into use");
	fraction(p, c->reloaded);
	gauge(p, "retrywith_spool_bytes", "octets of request bodies in files", c->spool_used);
	gauge(p, "retrywith_spool_limit_bytes", "most octets that may be in files",
	      c->spool_most);
	gauge(p, "retrywith_spool_files", "files of request bodies", c->spool_files);
	counter(p, "retrywith_spool_failures", "times a file could not be made or grown",
		c->spool_failed);
}

static void tell_requests(struct pen *p, const struct counters *n)
{
	family(p, COUNTER, "retrywith_requests", "requests of clients, when they have ended");
	for (enum counted m = 0; m < COUNTED_METHODS; m++)
		for (unsigned code = 0; code < CODES; code++) {
			if (!n->answers[m][code])
				continue;
			fprintf(p->out, "%s%s{method=\"%s\",code=\"", p->name, p->suffix,
				counted_method(m));
			fprintf(p->out, code ? "%u" : "none", code);
			fprintf(p->out, "\"} %" PRIu64 "\n", n->answers[m][code]);
		}
	histogram(p, "retrywith_request_duration_seconds",
		  "from the head of a request to the end of its answer", &n->duration);
	family(p, COUNTER, "retrywith_refused", "answers of our own, by reason");
	for (enum why why = 0; why < WHY_COUNT; why++)
		if (why_status(why) >= 400)
			labelled(p, "reason", why_name(why), n->why[why]);
}

static void tell_challenges(struct pen *p, const struct counters *n)
{
	family(p, COUNTER, "retrywith_challenges", "449 responses, by family");
	for (enum family f = FAMILY_NONE + 1; f < FAMILY_COUNT; f++)
		labelled(p, "family", family_word(f), n->family[f]);
	family(p, COUNTER, "retrywith_replays", "requests sent again because of a 449, by result");
	labelled(p, "result", "final", n->n[COUNT_REPLAYS_FINAL]);
	labelled(p, "result", "again", n->n[COUNT_REPLAYS_AGAIN]);
	labelled(p, "result", "lost", n->n[COUNT_REPLAYS_LOST]);
	family(p, COUNTER, "retrywith_unanswered", "449 responses not answered, by reason");
	for (enum unanswered u = UNANSWERED_NONE + 1; u < UNANSWERED_COUNT; u++)
		labelled(p, "reason", unanswered_word(u), n->unanswered[u]);
	histogram(p, "retrywith_replay_added_seconds",
		  "what 449 added to a request: until its last replay began", &n->added);
}

static void tell_intercepts(struct pen *p, const struct counters *n)
{
	family(p, COUNTER, "retrywith_intercepts", "tunnels to hosts of intercept, by result");
	labelled(p, "result", "opened", n->n[COUNT_INTERCEPT_OPENED]);
	labelled(p, "result", "refused", n->n[COUNT_INTERCEPT_REFUSED]);
	labelled(p, "result", "blind", n->n[COUNT_INTERCEPT_BLIND]);
}

static bool is_labelled(enum counter c)
{
	return (c >= COUNT_REPLAYS_FINAL && c <= COUNT_REPLAYS_LOST) ||
	       (c >= COUNT_INTERCEPT_OPENED && c <= COUNT_INTERCEPT_BLIND);
}

/* Rows of the table, but for those that stand under a label above. */
static void tell_counters(struct pen *p, const struct counters *n)
{
	char name[80];

	for (enum counter c = 0; c < COUNTERS; c++) {
		if (is_labelled(c))
			continue;
		snprintf(name, sizeof name, "retrywith_%s", counter_name(c));
		counter(p, name, counter_text(c), n->n[c]);
	}
	gauge(p, "retrywith_client_connections", "client connections open now", n->clients);
	gauge(p, "retrywith_requests_in_progress", "requests under way now", n->sessions_busy);
	gauge(p, "retrywith_tunnels", "tunnels open now", n->tunnels);
	histogram(p, "retrywith_upstream_connect_duration_seconds",
		  "until a new upstream connection was ready: name, dial, handshake",
		  &n->connect);
}

/* Left out when a worker did not show its own: a counter must not go down. */
static void tell_visited(struct pen *p, const struct census *c)
{
	family(p, GAUGE, "retrywith_upstream_connections", "upstream connections now");
	labelled(p, "state", "idle", c->pool.idle);
	labelled(p, "state", "busy", c->upstream_busy);
	family(p, COUNTER, "retrywith_upstream_connects", "upstream connections wanted, by result");
	labelled(p, "result", "opened", c->pool.dialled);
	labelled(p, "result", "reused", c->pool.reused);
	labelled(p, "result", "failed", c->pool.failed);
	family(p, COUNTER, "retrywith_dns_lookups", "names looked up, by result");
	labelled(p, "result", "found", c->names.found);
	labelled(p, "result", "failed", c->names.failed);
	gauge(p, "retrywith_remembered", "entries remembered between exchanges", c->learned);
}

void metrics_write(const struct census *c, enum metrics_format f, FILE *out)
{
	struct pen p = { .out = out, .open = f == METRICS_OPEN };

	tell_self(&p, c);
	tell_requests(&p, &c->sum);
	tell_challenges(&p, &c->sum);
	tell_intercepts(&p, &c->sum);
	tell_counters(&p, &c->sum);
	if (c->complete)
		tell_visited(&p, c);
	tell_process(&p, c);
	if (p.open)
		fputs("# EOF\n", out);
}
