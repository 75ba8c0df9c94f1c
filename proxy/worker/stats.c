/* stats: see the header. Words are those of the closed lists, and what they mean is
 * told beside them, so that a reader needs no table of its own. */
#include "worker/stats.h"

#include <jansson.h>

/* What jansson could not hold is NULL, and json_object_set_new() with NULL fails
 * without harm: `whole` remembers. */
struct pen {
	json_t *at;
	bool whole;
};

static void put(struct pen *p, const char *key, json_t *value)
{
	if (json_object_set_new(p->at, key, value) != 0)
		p->whole = false;
}

static void put_n(struct pen *p, const char *key, uint64_t n)
{
	put(p, key, json_integer((json_int_t)n));
}

static void put_z(struct pen *p, const char *key, const char *z)
{
	put(p, key, json_string(z));
}

static struct pen open_in(struct pen *p, const char *key)
{
	struct pen inner = { json_object(), true };

	put(p, key, inner.at);
	return inner;
}

static void close_in(struct pen *p, const struct pen *inner)
{
	p->whole = p->whole && inner->whole;
}

static void append(struct pen *p, json_t *list, json_t *item)
{
	if (json_array_append_new(list, item) != 0)
		p->whole = false;
}

/* -- counters ------------------------------------------------------------------------------ */

static void put_counters(struct pen *p, const struct counters *n)
{
	struct pen in = open_in(p, "counters");

	for (enum counter c = 0; c < COUNTERS; c++)
		put_n(&in, counter_name(c), n->n[c]);
	close_in(p, &in);
}

/* [word, count, what it means]: a list, for it has an order. */
static void put_word(struct pen *p, json_t *list, const char *word, uint64_t n, const char *text)
{
	append(p, list, json_pack("[s,I,s]", word, (json_int_t)n, text));
}

static void put_families(struct pen *p, const struct counters *n)
{
	json_t *list = json_array();

	for (enum family f = FAMILY_NONE + 1; f < FAMILY_COUNT; f++)
		put_word(p, list, family_word(f), n->family[f], family_text(f));
	put(p, "challenges", list);
}

static void put_unanswered(struct pen *p, const struct counters *n)
{
	json_t *list = json_array();

	for (enum unanswered u = UNANSWERED_NONE + 1; u < UNANSWERED_COUNT; u++)
		put_word(p, list, unanswered_word(u), n->unanswered[u], unanswered_text(u));
	put(p, "unanswered", list);
}

static void put_replays(struct pen *p, const struct counters *n)
{
	static const struct { const char *word; enum counter c; } rows[] = {
		{ "final", COUNT_REPLAYS_FINAL }, { "again", COUNT_REPLAYS_AGAIN },
		{ "lost", COUNT_REPLAYS_LOST },
	};
	json_t *list = json_array();

	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
		put_word(p, list, rows[i].word, n->n[rows[i].c], counter_text(rows[i].c));
	put(p, "replays", list);
}

/* Those that occurred. */
static void put_refused(struct pen *p, const struct counters *n)
{
	json_t *list = json_array();

	for (enum why why = 0; why < WHY_COUNT; why++)
		if (why_status(why) >= 400 && n->why[why])
			put_word(p, list, why_name(why), n->why[why], why_text(why));
	put(p, "refused", list);
}

static void put_answers(struct pen *p, const struct counters *n)
{
	struct pen in = open_in(p, "answers");

	for (unsigned code = 0; code < CODES; code++) {
		uint64_t sum = 0;
		char key[16] = "none";

		for (enum counted m = 0; m < COUNTED_METHODS; m++)
			sum += n->answers[m][code];
		if (code)
			snprintf(key, sizeof key, "%u", code);
		if (sum)
			put_n(&in, key, sum);
	}
	close_in(p, &in);
}

static void put_times(struct pen *p, const char *key, const struct times *t)
{
	struct pen in = open_in(p, key);
	json_t *list = json_array();

	for (unsigned i = 0; i < TIME_BUCKETS; i++)
		append(&in, list, json_integer((json_int_t)t->bucket[i]));
	put(&in, "buckets", list);
	put_n(&in, "sum_ms", t->sum_ms);
	close_in(p, &in);
}

/* The upper bounds of all buckets but the last, which has none. */
static void put_bounds(struct pen *p)
{
	json_t *list = json_array();

	for (unsigned i = 0; i + 1 < TIME_BUCKETS; i++)
		append(p, list, json_integer(counter_bucket_ms[i]));
	put(p, "bounds_ms", list);
}

/* -- what was visited ---------------------------------------------------------------------- */

static void put_upstream(struct pen *p, const struct census *c)
{
	struct pen in = open_in(p, "upstream");

	put_n(&in, "idle", c->pool.idle);
	put_n(&in, "busy", c->upstream_busy);
	put_n(&in, "opened", c->pool.dialled);
	put_n(&in, "reused", c->pool.reused);
	put_n(&in, "failed", c->pool.failed);
	put_n(&in, "names_asked", c->names.asked);
	put_n(&in, "names_failed", c->names.failed);
	close_in(p, &in);
}

static json_t *cost(const char *name, const struct origin_cost *c)
{
	return json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "origin", name,
			 "challenged", (json_int_t)c->challenged, "replays", (json_int_t)c->replays,
			 "final", (json_int_t)c->final, "again", (json_int_t)c->again,
			 "lost", (json_int_t)c->lost, "unanswered", (json_int_t)c->unanswered,
			 "added_ms", (json_int_t)c->added_ms, "octets", (json_int_t)c->octets,
			 "seen", (json_int_t)c->seen);
}

static void put_origins(struct pen *p, const struct origins *o)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < o->n; i++)
		append(p, list, cost(o->row[i].name, &o->row[i].cost));
	if (o->other.challenged)
		append(p, list, cost("other", &o->other));
	put(p, "origins", list);
}

static json_t *brief(const struct last *l)
{
	return json_pack("{s:I,s:s,s:s,s:b,s:s,s:s,s:i,s:I,s:s,s:s,s:i,s:i}", "time",
			 (json_int_t)l->at, "method", l->method, "url", l->url, "url_cut",
			 (int)l->url_cut, "client", l->client, "rule", l->rule, "status",
			 (int)l->status, "ms", (json_int_t)l->ms, "family", family_word(l->family),
			 "unanswered", unanswered_word(l->unanswered), "replays", (int)l->replays,
			 "attempts", (int)l->attempts);
}

static void put_last(struct pen *p, const struct census *c)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < c->last_n; i++)
		append(p, list, brief(&c->last[i]));
	put(p, "last", list);
}

/* -- the rest -------------------------------------------------------------------------------- */

static void put_history(struct pen *p, const struct history *h)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < h->n; i++) {
		const struct moment *m = history_at(h, i);

		append(p, list, json_pack("[i,i,i,i]", (int)m->requests, (int)m->challenged,
					  (int)m->replayed, (int)m->unanswered));
	}
	put(p, "history", list);
}

static void put_process(struct pen *p, const struct census *c)
{
	struct pen spool = open_in(p, "spool"), process;

	put_n(&spool, "used", c->spool_used);
	put_n(&spool, "most", c->spool_most);
	put_n(&spool, "files", c->spool_files);
	put_n(&spool, "failed", c->spool_failed);
	close_in(p, &spool);
	process = open_in(p, "process");
	put(&process, "cpu_s", json_real(c->usage.cpu_s));
	put_n(&process, "resident", c->usage.resident);
	put_n(&process, "fds", c->usage.fds);
	put_n(&process, "fds_most", c->usage.fds_most);
	close_in(p, &process);
}

static void put_self(struct pen *p, const struct census *c)
{
	put_z(p, "version", RETRYWITH_VERSION);
	put(p, "time", json_real(c->now));
	put(p, "started", json_real(c->started));
	put(p, "reloaded", json_real(c->reloaded));
	put(p, "reload_ok", json_boolean(c->reload_ok));
	put(p, "draining", json_boolean(c->draining));
	put_n(p, "workers", c->workers);
	put_n(p, "answering", c->answering);
	put_n(p, "clients", c->sum.clients);
	put_n(p, "in_progress", c->sum.sessions_busy);
	put_n(p, "tunnels", c->sum.tunnels);
}

bool stats_write(const struct census *c, const struct history *h, FILE *out)
{
	struct pen p = { json_object(), true };

	put_self(&p, c);
	put_counters(&p, &c->sum);
	put_families(&p, &c->sum);
	put_replays(&p, &c->sum);
	put_unanswered(&p, &c->sum);
	put_refused(&p, &c->sum);
	put_answers(&p, &c->sum);
	put_bounds(&p);
	put_times(&p, "duration", &c->sum.duration);
	put_times(&p, "added", &c->sum.added);
	put_times(&p, "connect", &c->sum.connect);
	put_upstream(&p, c);
	put_origins(&p, &c->origins);
	put_last(&p, c);
	put_history(&p, h);
	put_process(&p, c);
	if (p.whole)
		p.whole = json_dumpf(p.at, out, JSON_COMPACT | JSON_REAL_PRECISION(15)) == 0;
	json_decref(p.at);
	return p.whole;
}
