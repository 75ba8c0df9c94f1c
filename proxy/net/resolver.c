/* resolver: see resolver.h.
 *
 * A lookup is what an owner waits for; a query is what dns works on. They
 * have lifetimes of their own: lookups of one name share a query, and a query
 * whose lookups were all cancelled still ends, for the cache's sake. dns may
 * answer in the midst of anything, so an answer only moves lookups to the list
 * `ready`, which an event of the loop's delivers.
 *
 * A and AAAA are asked for apart, as a server that is silent about one of them
 * must not keep us from using the other. */
#include "net/resolver.h"

#include <sys/queue.h>
#include <assert.h>
#include <stdlib.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "ground/clock.h"
#include "net/dns.h"
#include "net/hosts.h"
#include "net/names.h"

enum { NAME_MOST = 253, NEGATIVE_MS = 1000, LAG_MS = 50 };

struct lookup {
	TAILQ_ENTRY(lookup) peers;	/* in query->waiters, or resolver->ready */
	TAILQ_ENTRY(lookup) older;	/* in resolver->waiting, oldest first */
	struct resolver *resolver;
	struct query *query;		/* NULL: ready */
	lookup_fn *fn;
	void *owner;
	uint64_t late_ms;
	enum why why;
	uint16_t port;
	struct addresses found;
};
TAILQ_HEAD(lookups, lookup);

struct query {
	TAILQ_ENTRY(query) all;
	TAILQ_ENTRY(query) older;	/* in resolver->halves */
	struct resolver *resolver;
	struct lookups waiters;
	unsigned pending;		/* answers to come: A, AAAA */
	bool half;			/* one has addresses, the other is to come */
	uint64_t lag_ms;		/* until when it is waited for */
	uint32_t ttl_s;
	enum why why;			/* the worst so far */
	struct addresses v4, v6;
	size_t len;
	char name[NAME_MOST + 1];
};

struct resolver {
	struct dns *dns;
	struct hosts *hosts;
	struct names *names;
	uint32_t timeout_ms, ttl_most_s;
	struct event timer, deliver;
	TAILQ_HEAD(, query) queries, halves;
	struct lookups waiting, ready;
	struct resolver_counts counts;
};

/* Names. */

static bool is_localhost(struct str name)
{
	return str_eq_nocase(name, STR("localhost")) ||
	       str_ends_nocase(name, STR(".localhost"));
}

static void localhost(struct addresses *out)
{
	out->n = 2;
	address_parse(STR("127.0.0.1"), 0, &out->at[0]);
	address_parse(STR("::1"), 0, &out->at[1]);
}

/* inet_aton() and kin would take it for an address; no name in DNS ends so. */
static bool ends_in_number(struct str name)
{
	const char *dot = memrchr(name.at, '.', name.len);
	struct str last = dot ? str_from(name, (size_t)(dot - name.at) + 1) : name;
	bool hex = str_starts_nocase(last, STR("0x"));

	for (size_t i = 0; i < last.len; i++)
		if (last.at[i] < '0' || last.at[i] > '9')
			return hex && strspn(last.at + 2, "0123456789abcdefABCDEF") >= last.len - 2;
	return true;
}

static bool is_name_octet(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
	       c == '.';
}

/* The name in lower case, without the root's dot; false: cannot be a host's. */
static bool name_settle(struct str host, char room[NAME_MOST + 1], struct str *name)
{
	if (host.len > 1 && host.at[host.len - 1] == '.')
		host.len--;
	if (host.len == 0 || host.len > NAME_MOST)
		return false;
	for (size_t i = 0; i < host.len; i++) {
		room[i] = str_lower(host.at[i]);
		if (!is_name_octet(room[i]))
			return false;
	}
	room[host.len] = '\0';
	*name = (struct str){ room, host.len };
	return true;
}

/* Lookups. */

static void make_ready(struct lookup *l, const struct addresses *found, enum why why)
{
	struct resolver *r = l->resolver;

	if (l->query) {
		TAILQ_REMOVE(&l->query->waiters, l, peers);
		TAILQ_REMOVE(&r->waiting, l, older);
		l->query = NULL;
	}
	l->why = why;
	if (found)
		l->found = *found;
	addresses_set_port(&l->found, l->port);
	TAILQ_INSERT_TAIL(&r->ready, l, peers);
	event_active(&r->deliver, EV_TIMEOUT, 0);
}

/* Only those that are ready now: what their owners ask in answer comes next. */
static void on_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *r = arg;
	struct lookup *l, *last = TAILQ_LAST(&r->ready, lookups);
	bool more = last != NULL;

	while (more && (l = TAILQ_FIRST(&r->ready))) {
		struct lookup done = *l;

		more = l != last;
		TAILQ_REMOVE(&r->ready, l, peers);
		free(l);
		*(done.why == WHY_DONE ? &r->counts.found : &r->counts.failed) += 1;
		done.fn(done.owner, done.why == WHY_DONE ? &done.found : NULL, done.why);
	}
}

void lookup_cancel(struct lookup *l)
{
	if (!l)
		return;
	if (l->query) {
		TAILQ_REMOVE(&l->query->waiters, l, peers);
		TAILQ_REMOVE(&l->resolver->waiting, l, older);
	} else {
		TAILQ_REMOVE(&l->resolver->ready, l, peers);
	}
	free(l);
}

/* Queries. */

/* Until the oldest lookup is late, or a half answer has waited long enough. */
static void arm_timer(struct resolver *r)
{
	const struct lookup *oldest = TAILQ_FIRST(&r->waiting);
	const struct query *half = TAILQ_FIRST(&r->halves);
	uint64_t now = clock_ms(), at = UINT64_MAX;
	struct timeval left;

	if (oldest)
		at = oldest->late_ms;
	if (half && half->lag_ms < at)
		at = half->lag_ms;
	if (at == UINT64_MAX) {
		event_del(&r->timer);
		return;
	}
	at = at > now ? at - now : 0;
	left = (struct timeval){ (time_t)(at / 1000), (suseconds_t)(at % 1000 * 1000) };
	event_add(&r->timer, &left);
}

static void take_answer(struct query *q, const struct dns_answer *a)
{
	for (unsigned i = 0; i < a->found.n; i++)
		addresses_add(a->found.at[i].sa.sa_family == AF_INET ? &q->v4 : &q->v6,
			      &a->found.at[i]);
	if (a->why == WHY_DONE && a->ttl_s < q->ttl_s)
		q->ttl_s = a->ttl_s;
	if (a->why > q->why)		/* not found < failed < timeout */
		q->why = a->why;
}

/* What has come so far goes to those who wait. */
static void query_tell(struct query *q, const struct addresses *found, enum why why)
{
	struct lookup *l;

	while ((l = TAILQ_FIRST(&q->waiters)))
		make_ready(l, found, why);
}

static void remember(const struct query *q, const struct addresses *found, enum why why)
{
	uint64_t ttl_ms = why == WHY_DONE ? (uint64_t)q->ttl_s * 1000 : NEGATIVE_MS;

	if (ttl_ms > 0)
		names_keep(q->resolver->names, (struct str){ q->name, q->len }, found, why,
			   clock_ms() + ttl_ms);
}

static void query_end(struct query *q, bool keep)
{
	struct resolver *r = q->resolver;
	struct addresses found;
	enum why why;

	addresses_in_order(&q->v4, &q->v6, &found);
	why = found.n > 0 ? WHY_DONE : q->why;
	if (keep && why != WHY_NAME_TIMEOUT)
		remember(q, &found, why);
	query_tell(q, &found, why);
	if (q->half)
		TAILQ_REMOVE(&r->halves, q, older);
	TAILQ_REMOVE(&r->queries, q, all);
	free(q);
}

static void on_answer(void *arg, const struct dns_answer *a)
{
	struct query *q = arg;

	take_answer(q, a);
	if (--q->pending == 0) {
		query_end(q, !a->cut_short);
		return;
	}
	if (q->v4.n + q->v6.n == 0)
		return;
	q->half = true;
	q->lag_ms = clock_ms() + LAG_MS;
	TAILQ_INSERT_TAIL(&q->resolver->halves, q, older);
	arm_timer(q->resolver);
}

static struct query *query_find(struct resolver *r, struct str name)
{
	struct query *q;

	TAILQ_FOREACH(q, &r->queries, all)
		if (str_eq((struct str){ q->name, q->len }, name))
			break;
	return q;
}

_Static_assert((int)WHY_NAME_NOT_FOUND < (int)WHY_NAME_FAILED &&
	       (int)WHY_NAME_FAILED < (int)WHY_NAME_TIMEOUT, "the worst is the greatest");

static struct query *query_new(struct resolver *r, struct str name)
{
	struct query *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->resolver = r;
	q->ttl_s = r->ttl_most_s;
	q->why = WHY_NAME_NOT_FOUND;
	q->len = name.len;
	memcpy(q->name, name.at, name.len);
	TAILQ_INIT(&q->waiters);
	TAILQ_INSERT_TAIL(&r->queries, q, all);
	return q;
}

/* The other half did not come in time: it is for the cache only. */
static void half_late(struct query *q)
{
	struct addresses found;

	if (q->half)
		TAILQ_REMOVE(&q->resolver->halves, q, older);
	q->half = false;
	addresses_in_order(&q->v4, &q->v6, &found);
	query_tell(q, &found, WHY_DONE);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *r = arg;
	struct lookup *l;
	struct query *q;

	while ((q = TAILQ_FIRST(&r->halves)) && clock_ms() >= q->lag_ms)
		half_late(q);
	while ((l = TAILQ_FIRST(&r->waiting)) && clock_ms() >= l->late_ms)
		make_ready(l, NULL, WHY_NAME_TIMEOUT);
	arm_timer(r);
}

/* The door. */

struct resolver *resolver_new(struct event_base *base, const struct resolver_options *o)
{
	uint32_t try_ms = o->timeout_ms / 4;
	struct resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->timeout_ms = o->timeout_ms;
	r->ttl_most_s = o->cache_ttl_most_s;
	TAILQ_INIT(&r->queries);
	TAILQ_INIT(&r->halves);
	TAILQ_INIT(&r->waiting);
	TAILQ_INIT(&r->ready);
	event_assign(&r->timer, base, -1, 0, on_timer, r);
	event_assign(&r->deliver, base, -1, 0, on_deliver, r);
	r->names = names_new(o->cache_most);
	r->hosts = hosts_new(o->hosts_file ? o->hosts_file : "/etc/hosts");
	r->dns = dns_new(base, o->servers, try_ms < 100 ? 100 : try_ms > 2000 ? 2000 : try_ms);
	if (r->names && r->hosts && r->dns)
		return r;
	resolver_free(r);
	return NULL;
}

void resolver_free(struct resolver *r)
{
	if (!r)
		return;
	assert(TAILQ_EMPTY(&r->waiting) && TAILQ_EMPTY(&r->ready));
	dns_free(r->dns);		/* ends all queries */
	event_del(&r->timer);
	event_del(&r->deliver);
	hosts_free(r->hosts);
	names_free(r->names);
	free(r);
}

bool resolver_know(struct resolver *r, struct str host, uint16_t port, struct addresses *out)
{
	char room[NAME_MOST + 1];
	struct str name;

	out->n = 0;
	if (address_parse(host, port, &out->at[0])) {
		out->n = 1;
		return true;
	}
	if (!name_settle(host, room, &name))
		return false;
	if (is_localhost(name))
		localhost(out);
	else
		names_find(r->names, name, clock_ms(), out);
	addresses_set_port(out, port);
	return out->n > 0;
}

static void listed(const struct addresses *all, struct addresses *out)
{
	struct addresses v4 = { .n = 0 }, v6 = { .n = 0 };

	for (unsigned i = 0; i < all->n; i++)
		addresses_add(all->at[i].sa.sa_family == AF_INET ? &v4 : &v6, &all->at[i]);
	if (all->at[0].sa.sa_family == AF_INET)
		addresses_interleave(&v4, &v6, out);
	else
		addresses_interleave(&v6, &v4, out);
}

/* What is known without asking a server; WHY_COUNT: nothing. */
static enum why known(struct resolver *r, struct str name, struct addresses *out)
{
	struct addresses all;

	if (is_localhost(name)) {
		localhost(out);
		return WHY_DONE;
	}
	if (ends_in_number(name))
		return WHY_NAME_NOT_FOUND;
	if (hosts_find(r->hosts, name, &all)) {
		listed(&all, out);
		return WHY_DONE;
	}
	return names_find(r->names, name, clock_ms(), out);
}

static void query_start(struct query *q)
{
	struct dns *d = q->resolver->dns;

	q->pending = 2;			/* so q lives until the second is asked */
	dns_ask(d, q->name, AF_INET6, on_answer, q);
	dns_ask(d, q->name, AF_INET, on_answer, q);
}

static struct lookup *lookup_new(struct resolver *r, uint16_t port, lookup_fn *fn, void *owner)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->resolver = r;
	l->fn = fn;
	l->owner = owner;
	l->port = port;
	r->counts.asked++;
	return l;
}

/* Joins the query of this name, or begins one. */
static bool lookup_wait(struct lookup *l, struct str name)
{
	struct resolver *r = l->resolver;
	struct query *q = query_find(r, name);
	bool running = q != NULL;

	if (!running)
		q = query_new(r, name);
	if (!q)
		return false;
	l->query = q;
	l->late_ms = clock_ms() + r->timeout_ms;
	TAILQ_INSERT_TAIL(&q->waiters, l, peers);
	TAILQ_INSERT_TAIL(&r->waiting, l, older);
	if (!running)
		query_start(q);
	else if (!q->half && q->v4.n + q->v6.n > 0)
		half_late(q);
	arm_timer(r);
	return true;
}

struct lookup *resolver_ask(struct resolver *r, struct str host, uint16_t port,
			    lookup_fn *fn, void *owner, enum why *why)
{
	char room[NAME_MOST + 1];
	struct addresses found = { .n = 0 };
	struct lookup *l;
	struct str name;
	enum why is = WHY_DONE;

	*why = WHY_NAME_NOT_FOUND;
	found.n = address_parse(host, 0, &found.at[0]);
	if (found.n == 0 && !name_settle(host, room, &name))
		return NULL;
	*why = WHY_OUT_OF_MEMORY;
	l = lookup_new(r, port, fn, owner);
	if (!l)
		return NULL;
	if (found.n == 0)
		is = known(r, name, &found);
	if (is != WHY_COUNT) {
		make_ready(l, &found, is);
	} else if (!lookup_wait(l, name)) {
		free(l);
		return NULL;
	}
	*why = WHY_DONE;
	return l;
}

void resolver_count(const struct resolver *r, struct resolver_counts *out)
{
	*out = r->counts;
}
