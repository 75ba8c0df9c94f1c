/* ticket: the keys by which session tickets are sealed. One set for the whole
 * process: a client that comes back may meet another worker, or another
 * configuration, and is known all the same. A key is used for TICKET_SECONDS and
 * opens tickets for as long again; then it is gone. */
#ifndef NET_TICKET_H
#define NET_TICKET_H

#include <stdbool.h>
#include <time.h>

enum { TICKET_SECONDS = 7200, TICKET_NAME = 16, TICKET_SECRET = 32 };

struct ssl_ctx_st;

struct ticket_key {
	unsigned char name[TICKET_NAME];
	unsigned char cipher[TICKET_SECRET], mac[TICKET_SECRET];
};

enum ticket { TICKET_UNKNOWN, TICKET_FRESH, TICKET_OLD };

/* The key to seal with; false: no random octets. */
bool ticket_seal(time_t now, struct ticket_key *out);
/* The key of that name. TICKET_OLD: good, but the client is to have a new ticket. */
enum ticket ticket_open(time_t now, const unsigned char name[TICKET_NAME], struct ticket_key *out);

/* A server's context seals and opens its tickets with these. */
bool ticket_use(struct ssl_ctx_st *ctx);

#endif
