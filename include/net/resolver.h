/* resolver: names to addresses, with c-ares on the worker's loop: the hosts file,
 * A and AAAA, no search list, a cache by TTL (bounded in time and entries).
 * Lookups of one name share a query. localhost is never asked for (RFC 6761),
 * nor is a name that ends in a number.
 * Answers in the order in which they should be tried: families take turns (RFC
 * 8305 4), IPv6 first where there is a route to it, and within a family as the
 * server says. A family whose answer lags behind the other's by more than 50 ms
 * is not waited for (RFC 8305 3). Belongs to one worker. */
#ifndef NET_RESOLVER_H
#define NET_RESOLVER_H

#include "ground/why.h"
#include "net/address.h"

struct event_base;
struct resolver;
struct lookup;

/* found is NULL on failure, and why says which (NAME_*). Called from the loop,
 * once, unless lookup_cancel() came first. */
typedef void lookup_fn(void *owner, const struct addresses *found, enum why why);

struct resolver_options {
	uint32_t timeout_ms;		/* of one lookup in all */
	const char *servers;		/* "127.0.0.1:5353,..." for tests; NULL: resolv.conf */
	const char *hosts_file;		/* NULL: /etc/hosts */
	uint32_t cache_most;		/* entries; 0: no cache */
	uint32_t cache_ttl_most_s;	/* upper bound of a TTL; negative answers live 1 s */
};

/* Lookups ever, and what became of those that were not cancelled. */
struct resolver_counts { uint64_t asked, found, failed; };

/* NULL, when c-ares cannot start. */
struct resolver *resolver_new(struct event_base *base, const struct resolver_options *o);
/* An IP literal, localhost, or a name in the cache is answered here: true, *out
 * filled. */
bool resolver_know(struct resolver *r, struct str host, uint16_t port, struct addresses *out);
/* NULL when it cannot even be asked: *why. */
struct lookup *resolver_ask(struct resolver *r, struct str host, uint16_t port,
			    lookup_fn *fn, void *owner, enum why *why);
void lookup_cancel(struct lookup *l);
/* Every waiting lookup must have been cancelled. */
void resolver_free(struct resolver *r);
void resolver_count(const struct resolver *r, struct resolver_counts *out);

#endif
