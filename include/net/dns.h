/* dns: c-ares on a loop of libevent's. Asks for the addresses of one name in one
 * family; knows no cache, no hosts file, no order. Follows changes of
 * resolv.conf. Belongs to one worker. */
#ifndef NET_DNS_H
#define NET_DNS_H

#include "ground/why.h"
#include "net/address.h"

struct event_base;
struct dns;

struct dns_answer {
	enum why why;			/* WHY_DONE, or NAME_* */
	bool cut_short;			/* by dns_free() */
	uint32_t ttl_s;			/* of WHY_DONE; UINT32_MAX: not told */
	struct addresses found;		/* as the server says, without port */
};

/* May be called from inside dns_ask() as well as from the loop. */
typedef void dns_fn(void *arg, const struct dns_answer *a);

/* servers: "127.0.0.1:5353,...", or NULL: those of resolv.conf. try_ms: until the
 * first repetition of a question. NULL, when c-ares cannot start. */
struct dns *dns_new(struct event_base *base, const char *servers, uint32_t try_ms);
/* name is NUL-terminated. fn is called once. */
void dns_ask(struct dns *d, const char *name, sa_family_t family, dns_fn *fn, void *arg);
/* Ends all questions: their fn are called. */
void dns_free(struct dns *d);

#endif
