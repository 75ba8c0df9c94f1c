/* pool: ready upstream connections of this worker. It keeps idle ones, and
 * makes new ones: resolve, have every address vetted by the owner, dial with
 * happy eyeballs (RFC 8305, 250 ms), secure. Never dials an address the owner
 * did not pass. */
#ifndef NET_POOL_H
#define NET_POOL_H

#include "net/conn.h"
#include "net/resolver.h"

struct pool;
struct want;
struct pool_via;

struct pool_key {
	struct str host;		/* lower-cased by the pool where it compares */
	uint16_t port;
	struct tls_ctx *tls;		/* NULL: plain */
	struct str tls_name;		/* the name to verify; empty: host */
	const struct pool_via *via;	/* NULL: directly */
	struct str via_fields;		/* what its `pass` is to say besides; tells no keys apart */
};

typedef void via_fn(void *arg, enum why why, const char *detail);

/* A proxy on the way: it is dialled instead of the host (unvetted: the operator
 * named it), secured if it has a context, and then `pass` asks it for a way
 * through, which is HTTP and so not the pool's matter. */
struct pool_via {
	uint32_t id;			/* what keys are told apart by: no two live alike */
	struct str host;
	uint16_t port;
	struct tls_ctx *tls;
	/* NULL: it is spoken to itself. Adopts c for the time being, and calls fn once, from the loop, unless
	 * `stop` came first. What it returns is for `stop`; NULL: out of memory. */
	void *(*pass)(const struct pool_via *v, struct conn *c, const struct pool_key *k,
		      via_fn *fn, void *arg);
	void (*stop)(void *passing);
};

/* WHY_DONE: may be dialled. */
typedef enum why vet_fn(void *owner, const struct sockaddr *to);
/* c NULL: why, and detail in a person's words (may be ""). c is then not the
 * owner's yet: conn_adopt() it. */
typedef void pool_fn(void *owner, struct conn *c, enum why why, const char *detail);

struct pool_options {
	uint32_t idle_most_per_key;	/* idle connections kept for one key */
	uint32_t idle_most;		/* and in all */
	uint32_t attempt_delay_ms;	/* 250 */
	uint32_t connect_timeout_ms;	/* lookup, dial and handshake together */
};

struct pool_counts { uint64_t dialled, reused, failed; uint32_t idle, keys; };

struct pool *pool_new(struct net *n, struct resolver *r, const struct pool_options *o);
/* An idle one, vetted again, silent and open; or NULL. It is the caller's. */
struct conn *pool_take(struct pool *p, const struct pool_key *k, vet_fn *vet, void *owner);
/* A new one; fn is called once, from the loop, unless pool_cancel() came first.
 * The key's slices must live until then. NULL: out of memory. */
struct want *pool_get(struct pool *p, const struct pool_key *k, vet_fn *vet,
		      pool_fn *fn, void *owner);
void pool_cancel(struct want *w);
/* Back among the idle ones; the pool closes it when it says anything or is
 * idle for longer than DEADLINE_POOL. */
void pool_put(struct pool *p, const struct pool_key *k, struct conn *c);
void pool_flush(struct pool *p);		/* closes all idle ones */
void pool_free(struct pool *p);			/* every want must be gone */
void pool_count(const struct pool *p, struct pool_counts *out);

#endif
