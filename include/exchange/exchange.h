/* exchange: what happens next. A pure table of state x event; it links no
 * socket, no loop, no parser. The edge (worker/session) turns what the world
 * does into facts, and performs the effects in the order of their bits. */
#ifndef EXCHANGE_EXCHANGE_H
#define EXCHANGE_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

enum exchange_state {
	EX_HEAD,			/* waiting for a request head */
	EX_OPEN,			/* waiting for an upstream connection */
	EX_SEND,			/* request on its way, no final response head yet */
	EX_DRAIN,			/* swallowing a challenge's body */
	EX_ANSWER,			/* preparing the answer, or waiting to send it */
	EX_STREAM,			/* the final response goes to the client */
	EX_FLUSH,			/* our last octets go to the client */
	EX_TUNNEL,
	EX_OVER,
	EX_STATES
};

enum exchange_event {
	GOT_REQUEST,
	GOT_UPSTREAM,			/* a connection, ready to be written */
	REQUEST_SENT,			/* head and whole body are with the kernel */
	GOT_RESPONSE,			/* a final response head (or 101) */
	RESPONSE_ENDED,
	GOT_ANSWER,			/* the answer is ready, its delay is over */
	NO_ANSWER,			/* there is none after all */
	CLIENT_TOOK_ALL,
	LOST_UPSTREAM,
	LOST_CLIENT,
	GAVE_UP,			/* time is up, or the client's octets are no HTTP */
	EX_EVENTS
};

enum exchange_effect {			/* performed in this order */
	DO_DROP_UPSTREAM = 1 << 0,	/* close it */
	DO_KEEP_UPSTREAM = 1 << 1,	/* give it back to the pool */
	DO_OPEN = 1 << 2,		/* get a connection: pooled or new */
	DO_OPEN_NEW = 1 << 3,		/* get a connection: new only */
	DO_DRAIN = 1 << 4,		/* swallow the challenge's body, keeping it aside */
	DO_ASK = 1 << 5,		/* make the answer; post GOT_ANSWER or NO_ANSWER */
	DO_SEND = 1 << 6,		/* cursor to 0, head, body */
	DO_STREAM = 1 << 7,		/* response head and body to the client */
	DO_TUNNEL = 1 << 8,
	DO_RESTORE = 1 << 9,		/* send the client the challenge we kept aside */
	DO_REPLY = 1 << 10,		/* our own answer: exchange.status or the edge's why */
	DO_BREAK = 1 << 11,		/* break the response off, visibly */
	DO_FINISH = 1 << 12,		/* the exchange is over */
};

struct exchange_fact {
	enum exchange_event event;
	bool refused;			/* GOT_REQUEST: answer it ourselves */
	bool challenge;			/* GOT_RESPONSE: it will be answered */
	bool drop;			/* GOT_RESPONSE with challenge: do not wait for its end on
					 * this connection (it closes, or came early) */
	bool bound;			/* ... replay on this very connection or not at all */
	bool tunnel;			/* GOT_RESPONSE: 101, or 2xx to CONNECT;
					 * GOT_UPSTREAM: of a CONNECT of ours to answer */
	bool retryable;			/* LOST_UPSTREAM: safe to send again (RFC 9110 9.2.2):
					 * reused connection, idempotent, nothing heard, can rewind */
	bool unsent;			/* LOST_UPSTREAM: not an octet of this attempt went out */
	bool keep;			/* GOT_REQUEST, RESPONSE_ENDED: that side can carry another */
	bool kept;			/* the challenge kept aside is whole: it can be restored */
	bool unsaid;			/* LOST_UPSTREAM, GAVE_UP: not an octet of the response
					 * is with the client yet */
};

struct exchange {
	enum exchange_state state;
	uint8_t replays_left, retries_left, sends;
	bool has_upstream, request_sent, response_begun, keep_client, answered, bound;
};

/* replays: how many challenges may be answered for this request. */
void exchange_begin(struct exchange *x, unsigned replays);
/* The effects, as bits. A fact that cannot be (our bug) ends the exchange with
 * DO_BREAK or DO_REPLY rather than going on. */
unsigned exchange_step(struct exchange *x, const struct exchange_fact *f);
const char *exchange_doing(const struct exchange *x);	/* becomes log_ctx.doing */
const char *exchange_state_name(enum exchange_state s);
const char *exchange_event_name(enum exchange_event e);
/* Is this square of the table filled? For tests and the manual. */
bool exchange_knows(enum exchange_state s, enum exchange_event e);

#endif
