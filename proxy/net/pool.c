/* pool: idle upstream connections by key, and the making of new ones. An idle
 * connection that says anything, data or end, is closed: data on it belongs to
 * no request (RFC 9112 9.2). Most recently used first out, so that the others
 * can grow old. Two halves, keeping and making, which share the key and the
 * counters: longer than a room should be. */
#include "net/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <event2/event.h>
#include <event2/event_struct.h>

enum { HOST_ROOM = 256, SLOTS_FIRST = 64, RACERS = 4 };

struct idle {
	struct idle *older, *newer;	/* in its key; newest is taken first */
	struct idle *before, *after;	/* in the pool, oldest first */
	struct entry *entry;
	struct conn *conn;
	struct deadline deadline;
};

/* One key with idle connections; gone when it has none. */
struct entry {
	struct entry *next;		/* in its slot, or spare */
	struct pool *pool;
	uint64_t hash;
	struct tls_ctx *tls;
	struct idle *newest, *oldest;
	unsigned idle;
	uint32_t via;			/* 0: directly */
	uint16_t port;
	uint16_t host_len, name_len;
	char host[HOST_ROOM], name[HOST_ROOM];
};

struct pool {
	struct net *net;
	struct resolver *resolver;
	struct pool_options options;
	struct entry **slots;
	unsigned slots_n;
	struct entry *spare_entries;
	struct idle *spare_idle;
	struct idle *oldest, *newest;
	struct pool_counts counts;
};

/* -- keys --------------------------------------------------------------------- */

static struct str name_of(const struct pool_key *k)
{
	return k->tls_name.len ? k->tls_name : k->host;
}

static uint32_t via_of(const struct pool_key *k)
{
	return k->via ? k->via->id : 0;
}

static uint64_t hash_of(const struct pool_key *k)
{
	uint64_t h = str_hash_nocase(k->host, STR_HASH_SEED);

	h = (h ^ k->port) * UINT64_C(0x100000001b3);
	return h ^ (h >> 29) ^ ((uintptr_t)k->tls >> 4);
}

static bool is_key(const struct entry *e, const struct pool_key *k, uint64_t hash)
{
	return e->hash == hash && e->port == k->port && e->tls == k->tls && e->via == via_of(k) &&
	       str_eq_nocase((struct str){ e->host, e->host_len }, k->host) &&
	       (!k->tls || str_eq_nocase((struct str){ e->name, e->name_len }, name_of(k)));
}

static struct entry **slot_of(struct pool *p, uint64_t hash)
{
	return &p->slots[hash & (p->slots_n - 1)];
}

static struct entry *entry_find(struct pool *p, const struct pool_key *k, uint64_t hash)
{
	struct entry *e = *slot_of(p, hash);

	while (e && !is_key(e, k, hash))
		e = e->next;
	return e;
}

static void slots_grow(struct pool *p)
{
	unsigned n = p->slots_n * 2;
	struct entry **wider = calloc(n, sizeof *wider);

	if (!wider)
		return;			/* longer chains, nothing worse */
	for (unsigned i = 0; i < p->slots_n; i++)
		while (p->slots[i]) {
			struct entry *e = p->slots[i];

			p->slots[i] = e->next;
			e->next = wider[e->hash & (n - 1)];
			wider[e->hash & (n - 1)] = e;
		}
	free(p->slots);
	p->slots = wider;
	p->slots_n = n;
}

static struct entry *entry_make(struct pool *p, const struct pool_key *k, uint64_t hash)
{
	struct entry *e = p->spare_entries, **slot;

	if (k->host.len > HOST_ROOM || name_of(k).len > HOST_ROOM)
		return NULL;
	if (p->counts.keys >= p->slots_n)
		slots_grow(p);
	if (e)
		p->spare_entries = e->next;
	else
		e = malloc(sizeof *e);
	if (!e)
		return NULL;
	e->pool = p;
	e->hash = hash;
	e->port = k->port;
	e->tls = k->tls;
	e->via = via_of(k);
	e->newest = e->oldest = NULL;
	e->idle = 0;
	e->host_len = (uint16_t)k->host.len;
	e->name_len = (uint16_t)(k->tls ? name_of(k).len : 0);
	memcpy(e->host, k->host.at, k->host.len);
	memcpy(e->name, name_of(k).at, e->name_len);
	slot = slot_of(p, hash);
	e->next = *slot;
	*slot = e;
	p->counts.keys++;
	return e;
}

static void entry_drop(struct entry *e)
{
	struct pool *p = e->pool;
	struct entry **at = slot_of(p, e->hash);

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	e->next = p->spare_entries;
	p->spare_entries = e;
	p->counts.keys--;
}

/* -- idle connections ----------------------------------------------------------- */

static void idle_link(struct idle *i, struct entry *e)
{
	struct pool *p = e->pool;

	i->entry = e;
	i->newer = NULL;
	i->older = e->newest;
	*(e->newest ? &e->newest->newer : &e->oldest) = i;
	e->newest = i;
	e->idle++;
	i->after = NULL;
	i->before = p->newest;
	*(p->newest ? &p->newest->after : &p->oldest) = i;
	p->newest = i;
	p->counts.idle++;
}

static void idle_unlink(struct idle *i)
{
	struct entry *e = i->entry;
	struct pool *p = e->pool;

	*(i->newer ? &i->newer->older : &e->newest) = i->older;
	*(i->older ? &i->older->newer : &e->oldest) = i->newer;
	*(i->after ? &i->after->before : &p->newest) = i->before;
	*(i->before ? &i->before->after : &p->oldest) = i->after;
	p->counts.idle--;
	if (--e->idle == 0)
		entry_drop(e);
}

/* The connection leaves the pool; it is still open. */
static struct conn *idle_release(struct idle *i)
{
	struct pool *p = i->entry->pool;
	struct conn *c = i->conn;

	deadline_clear(&p->net->deadlines, &i->deadline);
	idle_unlink(i);
	i->after = p->spare_idle;
	p->spare_idle = i;
	return c;
}

static void idle_close(struct idle *i)
{
	conn_close(idle_release(i));
}

static void idle_spoke(void *owner, struct conn *c, enum conn_event ev)
{
	if (ev != CONN_READABLE || !conn_is_quiet(c))
		idle_close(owner);
}

static void idle_late(struct deadline *d)
{
	idle_close((struct idle *)((char *)d - offsetof(struct idle, deadline)));
}

struct conn *pool_take(struct pool *p, const struct pool_key *k, vet_fn *vet, void *owner)
{
	struct entry *e = entry_find(p, k, hash_of(k));
	struct idle *older;

	for (struct idle *i = e ? e->newest : NULL; i; i = older) {
		older = i->older;
		/* It spoke in this very turn, and nobody has listened yet. */
		if (conn_has_news(i->conn) && !conn_is_quiet(i->conn)) {
			idle_close(i);
		} else if (k->via || vet(owner, conn_peer(i->conn)) == WHY_DONE) {
			p->counts.reused++;
			return idle_release(i);
		}
	}
	return NULL;
}

static struct idle *idle_new(struct pool *p)
{
	struct idle *i = p->spare_idle;

	if (!i)
		return calloc(1, sizeof *i);
	p->spare_idle = i->after;
	return i;
}

void pool_put(struct pool *p, const struct pool_key *k, struct conn *c)
{
	uint64_t hash = hash_of(k);
	struct entry *e = entry_find(p, k, hash);
	struct idle *i;

	if (conn_is_dead(c))
		return;
	if (!p->options.idle_most_per_key || !p->options.idle_most ||
	    (!e && !(e = entry_make(p, k, hash)))) {
		conn_close(c);
		return;
	}
	i = idle_new(p);
	if (!i) {
		if (!e->idle)
			entry_drop(e);
		conn_close(c);
		return;
	}
	i->conn = c;
	i->deadline.fn = idle_late;
	idle_link(i, e);
	conn_adopt(c, idle_spoke, i);
	conn_resume(c);
	deadline_set(&p->net->deadlines, &i->deadline, DEADLINE_POOL);
	if (e->idle > p->options.idle_most_per_key)
		idle_close(e->oldest);
	else if (p->counts.idle > p->options.idle_most)
		idle_close(p->oldest);
}

/* -- new connections --------------------------------------------------------------- */

enum want_step {			/* what is under way, in this order */
	WANT_DIAL, WANT_VIA_TLS, WANT_PASS, WANT_TLS,
};

struct want {
	struct pool *pool;
	struct pool_key key;
	vet_fn *vet;
	pool_fn *fn;
	void *owner;
	struct lookup *lookup;
	struct addresses found;
	unsigned next;			/* address to try */
	struct conn *racers[RACERS];
	enum want_step step;
	void *passing;			/* what via->pass() gave */
	struct event *timer;		/* the next attempt, or a verdict from the loop */
	struct deadline deadline;
	enum why why;			/* of the last failure */
	char detail[200];
};

static void want_free(struct want *w)
{
	if (w->lookup)
		lookup_cancel(w->lookup);
	if (w->passing)
		w->key.via->stop(w->passing);
	for (unsigned i = 0; i < RACERS; i++)
		conn_close(w->racers[i]);
	deadline_clear(&w->pool->net->deadlines, &w->deadline);
	event_free(w->timer);
	free(w);
}

void pool_cancel(struct want *w)
{
	want_free(w);
}

static void want_end(struct want *w, struct conn *c)
{
	pool_fn *fn = w->fn;
	void *owner = w->owner;
	enum why why = c ? WHY_DONE : w->why;
	char detail[sizeof w->detail];

	if (!c && w->key.via && w->step == WANT_DIAL)
		snprintf(w->detail, sizeof w->detail, "this is about the parent proxy, %.*s:%u",
			 STR_FMT(w->key.via->host), w->key.via->port);
	memcpy(detail, w->detail, sizeof detail);
	*(c ? &w->pool->counts.dialled : &w->pool->counts.failed) += 1;
	want_free(w);
	fn(owner, c, why, detail);
}

static bool any_racer(const struct want *w)
{
	for (unsigned i = 0; i < RACERS; i++)
		if (w->racers[i])
			return true;
	return false;
}

static void racer_spoke(void *owner, struct conn *c, enum conn_event ev);

/* The last lane: those under way stand before it, oldest first. When all are taken,
 * the oldest has had its time and gives way, so that every address gets its turn. */
static struct conn **free_lane(struct want *w)
{
	unsigned i = 0, last = RACERS - 1;

	while (i < last && w->racers[i])
		i++;
	if (w->racers[i])
		i = 0;
	conn_close(w->racers[i]);
	memmove(&w->racers[i], &w->racers[i + 1], (last - i) * sizeof w->racers[0]);
	w->racers[last] = NULL;
	return &w->racers[last];
}

/* Dials one address. A refusal by the owner is remembered as the reason only as
 * long as nothing better was tried. */
static bool dial_next(struct want *w)
{
	struct address *a = &w->found.at[w->next++];
	enum why why = w->key.via ? WHY_DONE : w->vet(w->owner, &a->sa);
	socklen_t len = a->sa.sa_family == AF_INET6 ? sizeof a->in6 : sizeof a->in4;
	struct conn **lane;

	if (why != WHY_DONE) {
		if (w->why == WHY_DONE)
			w->why = why;
		return false;
	}
	lane = free_lane(w);
	*lane = conn_dial(w->pool->net, &a->sa, len, racer_spoke, w);
	if (!*lane)
		w->why = conn_why_errno(errno);
	return *lane != NULL;
}

static void arm(struct want *w, uint32_t ms)
{
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	event_add(w->timer, &tv);
}

/* Starts attempts until one is under way; ends the want when none can be.
 * Only ever called from the loop. */
static void advance(struct want *w)
{
	while (w->next < w->found.n)
		if (dial_next(w)) {
			if (w->next < w->found.n)
				arm(w, w->pool->options.attempt_delay_ms);
			return;
		}
	if (!any_racer(w))
		want_end(w, NULL);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct want *w = arg;

	if (w->found.n)
		advance(w);
	else
		want_end(w, NULL);
}

static void want_late(struct deadline *d)
{
	struct want *w = (struct want *)((char *)d - offsetof(struct want, deadline));

	w->why = w->lookup ? WHY_NAME_TIMEOUT : WHY_CONNECT_TIMEOUT;
	want_end(w, NULL);
}

static void remember(struct want *w, struct conn *c)
{
	const char *detail = conn_detail(c);

	w->why = conn_why(c);
	if (*detail)
		snprintf(w->detail, sizeof w->detail, "%s%s",
			 w->step == WANT_VIA_TLS ? "the parent proxy: " : "", detail);
}

/* One lane has a connection: the others are let go. */
static void keep_only(struct want *w, struct conn *c)
{
	for (unsigned i = 0; i < RACERS; i++) {
		if (w->racers[i] != c)
			conn_close(w->racers[i]);
		w->racers[i] = NULL;
	}
	event_del(w->timer);
	w->racers[0] = c;
	w->next = w->found.n;		/* what fails from here on is final */
}

static void secure(struct want *w, struct tls_ctx *tls, struct str name)
{
	if (conn_secure(w->racers[0], tls, name))
		return;
	w->why = WHY_OUT_OF_MEMORY;
	want_end(w, NULL);
}

static void passed(void *arg, enum why why, const char *detail);

static void pass(struct want *w)
{
	const struct pool_via *via = w->key.via;

	w->passing = via->pass(via, w->racers[0], &w->key, passed, w);
	if (w->passing)
		return;
	w->why = WHY_OUT_OF_MEMORY;
	want_end(w, NULL);
}

/* The next thing that this connection needs; ends the want when it is ready. */
static void go_on(struct want *w)
{
	const struct pool_key *k = &w->key;
	struct conn *c = w->racers[0];

	if (w->step < WANT_VIA_TLS && k->via && k->via->tls) {
		w->step = WANT_VIA_TLS;
		secure(w, k->via->tls, k->via->host);
	} else if (w->step < WANT_PASS && k->via && k->via->pass) {
		w->step = WANT_PASS;
		pass(w);
	} else if (w->step < WANT_TLS && k->tls) {
		w->step = WANT_TLS;
		secure(w, k->tls, name_of(k));
	} else {
		w->racers[0] = NULL;
		want_end(w, c);
	}
}

static void passed(void *arg, enum why why, const char *detail)
{
	struct want *w = arg;

	w->passing = NULL;
	if (why == WHY_DONE) {
		conn_adopt(w->racers[0], racer_spoke, w);
		go_on(w);
		return;
	}
	w->why = why;
	strncpy(w->detail, detail, sizeof w->detail - 1);
	want_end(w, NULL);
}

static void racer_up(struct want *w, struct conn *c)
{
	if (w->step == WANT_DIAL)
		keep_only(w, c);
	go_on(w);
}

static void racer_down(struct want *w, struct conn *c)
{
	remember(w, c);
	for (unsigned i = 0; i < RACERS; i++)
		if (w->racers[i] == c)
			w->racers[i] = NULL;
	conn_close(c);
	event_del(w->timer);
	advance(w);
}

static void racer_spoke(void *owner, struct conn *c, enum conn_event ev)
{
	switch (ev) {
	case CONN_UP:
		racer_up(owner, c);
		return;
	case CONN_DOWN:
		racer_down(owner, c);
		return;
	case CONN_READABLE:		/* before it was taken: not ours to read */
	case CONN_WRITABLE:
		return;
	}
}

static void looked_up(void *owner, const struct addresses *found, enum why why)
{
	struct want *w = owner;

	w->lookup = NULL;
	if (!found) {
		w->why = why;
		want_end(w, NULL);
		return;
	}
	w->found = *found;
	advance(w);
}

struct want *pool_get(struct pool *p, const struct pool_key *k, vet_fn *vet,
		      pool_fn *fn, void *owner)
{
	struct want *w = calloc(1, sizeof *w);
	struct str host = k->via ? k->via->host : k->host;
	uint16_t port = k->via ? k->via->port : k->port;

	if (!w)
		return NULL;
	w->pool = p;
	w->key = *k;
	w->vet = vet;
	w->fn = fn;
	w->owner = owner;
	w->timer = evtimer_new(p->net->base, on_timer, w);
	if (!w->timer) {
		free(w);
		return NULL;
	}
	w->deadline.fn = want_late;
	deadline_set(&p->net->deadlines, &w->deadline, DEADLINE_CONNECT);
	if (resolver_know(p->resolver, host, port, &w->found)) {
		if (!w->found.n)
			w->why = WHY_NAME_NOT_FOUND;
	} else {
		w->lookup = resolver_ask(p->resolver, host, port, looked_up, w, &w->why);
		if (w->lookup)
			return w;
	}
	event_active(w->timer, EV_TIMEOUT, 0);	/* go on, or fail, from the loop */
	return w;
}

/* -- life --------------------------------------------------------------------------- */

struct pool *pool_new(struct net *n, struct resolver *r, const struct pool_options *o)
{
	struct pool *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->slots_n = SLOTS_FIRST;
	p->slots = calloc(p->slots_n, sizeof *p->slots);
	if (!p->slots) {
		free(p);
		return NULL;
	}
	p->net = n;
	p->resolver = r;
	p->options = *o;
	return p;
}

void pool_flush(struct pool *p)
{
	while (p->oldest)
		idle_close(p->oldest);
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pool_flush(p);
	assert(!p->counts.keys);
	while (p->spare_entries) {
		struct entry *e = p->spare_entries;

		p->spare_entries = e->next;
		free(e);
	}
	while (p->spare_idle) {
		struct idle *i = p->spare_idle;

		p->spare_idle = i->after;
		free(i);
	}
	free(p->slots);
	free(p);
}

void pool_count(const struct pool *p, struct pool_counts *out)
{
	*out = p->counts;
}
