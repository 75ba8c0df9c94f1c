/* census: see the header. */
#include "worker/census.h"

#include <stdlib.h>

#include "worker/recorder.h"
#include "worker/visit.h"

/* What one worker shows. */
struct part {
	struct pool_counts pool;
	struct resolver_counts names;
	uint64_t upstream_busy;
	unsigned learned;
	struct origins origins;
	struct last last[LAST_MOST];
	unsigned last_n;
};

/* -- on the worker's thread ------------------------------------------------------------ */

/* True: it was cut. */
static bool keep(char *room, size_t size, struct str s)
{
	size_t n = s.len < size ? s.len : size - 1;

	if (n)
		memcpy(room, s.at, n);
	room[n] = '\0';
	return n < s.len;
}

static void keep_brief(struct last *l, const struct recorder_brief *b)
{
	l->at = b->at;
	l->ms = b->ms;
	l->status = b->status;
	l->family = b->family;
	l->unanswered = b->unanswered;
	l->replays = b->replays;
	l->attempts = b->attempts;
	keep(l->client, sizeof l->client, b->client);
	keep(l->method, sizeof l->method, b->method);
	keep(l->rule, sizeof l->rule, b->rule);
	l->url_cut = keep(l->url, sizeof l->url, b->url);
}

static void show(struct worker *w, void *arg)
{
	struct part *p = arg;
	uint64_t open = w->net.opened - w->net.closed, others;
	struct recorder_brief b;

	pool_count(w->pool, &p->pool);
	others = w->counters.clients + p->pool.idle;
	p->upstream_busy = open > others ? open - others : 0;
	resolver_count(w->resolver, &p->names);
	p->learned = learn_entries(w->learn);
	p->origins = w->origins;
	while (p->last_n < LAST_MOST && recorder_brief(w->recorder, p->last_n, &b))
		keep_brief(&p->last[p->last_n++], &b);
}

static void just_come(struct worker *w, void *arg)
{
}

static void copy_recorder(struct worker *w, void *arg)
{
	*(struct recorder **)arg = recorder_copy(w->recorder);
}

/* -- on the visitor's ---------------------------------------------------------------------- */

/* Visits all at once; seen[i]: worker i showed itself. */
static bool visit_all(struct worker *const *w, unsigned n, uint32_t patience_ms, visit_fn *fn,
		      void *args, size_t size, bool *seen)
{
	uint64_t until = clock_us() / 1000 + patience_ms;
	struct visit **v = calloc(n ? n : 1, sizeof(struct visit *));

	if (!v)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (!atomic_load(&w[i]->ended))
			v[i] = visit_begin(w[i], fn, (char *)args + i * size);
	for (unsigned i = 0; i < n; i++)
		seen[i] = visit_end(v[i], until);
	free(v);
	return true;
}

/* Both are newest first. */
static void merge_last(struct census *c, const struct part *p)
{
	struct last both[LAST_MOST];
	unsigned n = 0, i = 0, k = 0;

	for (; n < LAST_MOST && (i < c->last_n || k < p->last_n); n++) {
		bool other = i == c->last_n || (k < p->last_n && p->last[k].at > c->last[i].at);

		both[n] = other ? p->last[k++] : c->last[i++];
	}
	memcpy(c->last, both, n * sizeof *both);
	c->last_n = n;
}

static void merge(struct census *c, const struct part *p)
{
	c->pool.dialled += p->pool.dialled;
	c->pool.reused += p->pool.reused;
	c->pool.failed += p->pool.failed;
	c->pool.idle += p->pool.idle;
	c->pool.keys += p->pool.keys;
	c->upstream_busy += p->upstream_busy;
	c->names.asked += p->names.asked;
	c->names.found += p->names.found;
	c->names.failed += p->names.failed;
	c->learned += p->learned;
	origins_add(&c->origins, &p->origins);
	merge_last(c, p);
}

static unsigned count_answering(struct worker *const *w, unsigned n, const bool *seen)
{
	unsigned answering = 0;

	for (unsigned i = 0; i < n; i++)
		answering += seen[i] || atomic_load(&w[i]->ended);
	return answering;
}

unsigned census_answering(struct worker *const *w, unsigned n, uint32_t patience_ms)
{
	bool seen[n ? n : 1];

	if (!visit_all(w, n, patience_ms, just_come, seen, 0, seen))
		return 0;
	return count_answering(w, n, seen);
}

void census_count(struct counters *sum, struct worker *const *w, unsigned n)
{
	memset(sum, 0, sizeof *sum);
	for (unsigned i = 0; i < n; i++)
		counters_add(sum, &w[i]->counters);
}

bool census_take(struct census *c, struct worker *const *w, unsigned n, uint32_t patience_ms)
{
	struct part *parts = calloc(n ? n : 1, sizeof *parts);
	bool seen[n ? n : 1];

	memset(c, 0, sizeof *c);
	c->workers = n;
	census_count(&c->sum, w, n);
	if (!parts || !visit_all(w, n, patience_ms, show, parts, sizeof *parts, seen)) {
		free(parts);
		return false;
	}
	c->complete = true;
	for (unsigned i = 0; i < n; i++) {
		c->complete = c->complete && seen[i];
		if (seen[i])
			merge(c, &parts[i]);
	}
	c->answering = count_answering(w, n, seen);
	origins_sort(&c->origins);
	free(parts);
	return true;
}

/* -- flight recorders ---------------------------------------------------------------------- */

struct line {
	const char *at;
	size_t number;			/* within a second, a recorder's order stays */
};

enum { TIME_OCTETS = sizeof "{\"time\":\"2026-01-01T00:00:00Z\"" - 1 };

static int earlier(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int order = strncmp(x->at, y->at, TIME_OCTETS);

	return order ? order : x->number < y->number ? -1 : 1;
}

/* Each line begins with its time. */
static void sort_lines(char *text, FILE *out)
{
	size_t n = 0;
	struct line *lines;

	for (const char *p = text; *p; p++)
		n += *p == '\n';
	lines = calloc(n ? n : 1, sizeof *lines);
	if (!lines)
		return;
	for (size_t i = 0; i < n; i++)
		lines[i] = (struct line){ strsep(&text, "\n"), i };
	qsort(lines, n, sizeof *lines, earlier);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "%s\n", lines[i].at);
	free(lines);
}

static void dump_json(struct recorder *const *copies, unsigned n, FILE *out)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return;
	for (unsigned i = 0; i < n; i++)
		if (copies[i])
			recorder_dump_json(copies[i], f);
	if (fclose(f) == 0)
		sort_lines(text, out);
	free(text);
}

bool census_recorders(struct worker *const *w, unsigned n, uint32_t patience_ms, bool json,
		      FILE *out)
{
	struct recorder **copies = calloc(n ? n : 1, sizeof(struct recorder *));
	bool seen[n ? n : 1], done;

	done = copies && visit_all(w, n, patience_ms, copy_recorder, copies, sizeof *copies, seen);
	for (unsigned i = 0; done && !json && i < n; i++)
		if (copies[i])
			recorder_dump_text(copies[i], out);
	if (done && json)
		dump_json(copies, n, out);
	for (unsigned i = 0; copies && i < n; i++)
		recorder_free(copies[i]);
	free(copies);
	return done;
}
