/* dns: see dns.h. */
#include "net/dns.h"

#include <sys/queue.h>
#include <sys/stat.h>
#include <pthread.h>
#include <stdlib.h>

#include <ares.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#define RESOLV_CONF "/etc/resolv.conf"

enum { TRIES = 3 };

/* A socket of c-ares's that is being watched. */
struct watch {
	LIST_ENTRY(watch) all;
	struct dns *dns;
	struct event event;
	int fd;
};

struct question {
	struct dns *dns;
	dns_fn *fn;
	void *arg;
};

struct dns {
	struct event_base *base;
	ares_channel channel;
	struct event timer;
	LIST_HEAD(, watch) watches;
	char *servers;			/* NULL: of resolv.conf */
	struct timespec conf_changed;
	uint32_t try_ms;
	unsigned open;			/* questions */
};

/* c-ares reads a finer clock than the loop does: asked at the very moment by the
 * loop's, it would find itself early, and be asked again and again until its own
 * comes. */
static void arm_timer(struct dns *d)
{
	const struct timeval coarse = { 0, 10 * 1000 };
	struct timeval room, *next = ares_timeout(d->channel, NULL, &room);

	if (!next) {
		event_del(&d->timer);
		return;
	}
	evutil_timeradd(next, &coarse, next);
	event_add(&d->timer, next);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct dns *d = arg;

	ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timer(d);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;
	struct dns *d = w->dns;		/* w may go while c-ares works */

	ares_process_fd(d->channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
			what & EV_WRITE ? fd : ARES_SOCKET_BAD);
	arm_timer(d);
}

static void watch_drop(struct watch *w)
{
	event_del(&w->event);
	LIST_REMOVE(w, all);
	free(w);
}

static struct watch *watch_of(struct dns *d, int fd)
{
	struct watch *w;

	LIST_FOREACH(w, &d->watches, all)
		if (w->fd == fd)
			return w;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->dns = d;
	w->fd = fd;
	event_assign(&w->event, d->base, fd, EV_READ, on_socket, w);
	LIST_INSERT_HEAD(&d->watches, w, all);
	return w;
}

/* What c-ares wants to know of a socket; neither: it is about to close it. */
static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	short what = (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
	struct dns *d = arg;
	struct watch *w = watch_of(d, fd);

	if (!w)
		return;			/* out of memory: the question will time out */
	if (!what) {
		watch_drop(w);
		return;
	}
	event_del(&w->event);
	event_assign(&w->event, d->base, fd, (short)(what | EV_PERSIST), on_socket, w);
	event_add(&w->event, NULL);
}

static bool conf_has_changed(struct dns *d)
{
	struct timespec was = d->conf_changed;
	struct stat st;

	if (d->servers || stat(RESOLV_CONF, &st) != 0)
		return false;
	d->conf_changed = st.st_mtim;
	return was.tv_sec != st.st_mtim.tv_sec || was.tv_nsec != st.st_mtim.tv_nsec;
}

static bool channel_open(struct dns *d)
{
	char lookups[] = "b";		/* DNS only, no hosts file; no search list either */
	struct ares_options o = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
		.timeout = (int)d->try_ms,
		.tries = TRIES,
		.lookups = lookups,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = d,
	};

	if (ares_init_options(&d->channel, &o, ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS |
			      ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS |
			      ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS)
		return false;
	if (!d->servers || ares_set_servers_ports_csv(d->channel, d->servers) == ARES_SUCCESS)
		return true;
	ares_destroy(d->channel);
	return false;
}

/* A machine that moves gets other name servers: a new resolv.conf is read as soon
 * as no question is open. */
static void channel_refresh(struct dns *d)
{
	ares_channel old = d->channel;

	if (d->open > 0 || !conf_has_changed(d))
		return;
	if (channel_open(d))
		ares_destroy(old);
	else
		d->channel = old;
}

static void library_open(void)
{
	ares_library_init(ARES_LIB_INIT_ALL);
}

struct dns *dns_new(struct event_base *base, const char *servers, uint32_t try_ms)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct dns *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	pthread_once(&once, library_open);
	d->base = base;
	d->try_ms = try_ms;
	LIST_INIT(&d->watches);
	event_assign(&d->timer, base, -1, 0, on_timer, d);
	if (servers)
		d->servers = strdup(servers);
	conf_has_changed(d);
	if ((d->servers || !servers) && channel_open(d))
		return d;
	free(d->servers);
	free(d);
	return NULL;
}

void dns_free(struct dns *d)
{
	if (!d)
		return;
	ares_destroy(d->channel);
	while (!LIST_EMPTY(&d->watches))
		watch_drop(LIST_FIRST(&d->watches));
	event_del(&d->timer);
	free(d->servers);
	free(d);
}

static enum why why_of(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return WHY_DONE;
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
	case ARES_ENONAME:
		return WHY_NAME_NOT_FOUND;
	case ARES_ETIMEOUT:
		return WHY_NAME_TIMEOUT;
	default:
		return WHY_NAME_FAILED;
	}
}

static void take_ttl(struct dns_answer *a, int ttl)
{
	if (ttl >= 0 && (uint32_t)ttl < a->ttl_s)
		a->ttl_s = (uint32_t)ttl;
}

static void take_addresses(struct dns_answer *a, const struct ares_addrinfo *ai)
{
	for (const struct ares_addrinfo_cname *c = ai->cnames; c; c = c->next)
		take_ttl(a, c->ttl);
	for (const struct ares_addrinfo_node *n = ai->nodes; n; n = n->ai_next) {
		struct address one;

		if (n->ai_family != AF_INET && n->ai_family != AF_INET6)
			continue;
		one = address_of(n->ai_addr);
		addresses_add(&a->found, &one);
		take_ttl(a, n->ai_ttl);
	}
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
	struct question q = *(struct question *)arg;
	struct dns_answer a = { .why = why_of(status), .cut_short = status == ARES_EDESTRUCTION,
				.ttl_s = UINT32_MAX };

	free(arg);
	q.dns->open--;
	if (ai && a.why == WHY_DONE)
		take_addresses(&a, ai);
	if (ai)
		ares_freeaddrinfo(ai);
	if (a.why == WHY_DONE && a.found.n == 0)
		a.why = WHY_NAME_NOT_FOUND;
	q.fn(q.arg, &a);
}

/* The order is not c-ares's to find out: it would open a socket per address. */
void dns_ask(struct dns *d, const char *name, sa_family_t family, dns_fn *fn, void *arg)
{
	struct ares_addrinfo_hints hints = { .ai_family = family, .ai_flags = ARES_AI_NOSORT };
	struct question *q = malloc(sizeof(*q));

	if (!q) {
		struct dns_answer a = { .why = WHY_NAME_FAILED };

		fn(arg, &a);
		return;
	}
	channel_refresh(d);
	*q = (struct question){ d, fn, arg };
	d->open++;
	ares_getaddrinfo(d->channel, name, NULL, &hints, on_answer, q);
	arm_timer(d);
}
