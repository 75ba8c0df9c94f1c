/* session: one client connection, from accept to the end of lingering. It
 * reads heads, keeps the connection between exchanges, and owns the client
 * side's deadline. What an exchange does is transaction.h's matter. */
#ifndef WORKER_SESSION_H
#define WORKER_SESSION_H

#include <netinet/in.h>
#include "worker/worker.h"

enum session_phase {
	SESSION_IDLE,			/* between two exchanges: holds no memory */
	SESSION_HEAD,			/* a head has begun */
	SESSION_BUSY,			/* an exchange is under way */
	SESSION_TUNNEL,			/* octets belong to the tunnel */
	SESSION_LINGER,			/* we have said all; discarding what still comes */
	SESSION_GONE,
};

struct inner {				/* where requests inside TLS go: see intercept.h */
	struct url url;
	char authority[];
};

struct session {
	struct worker *worker;
	struct session *prev, *next;	/* of the worker; next also: spare */
	struct conn *client;
	struct transaction *transaction;	/* NULL while idle */
	struct buf in;			/* octets from the client, not yet used */
	struct deadline deadline;	/* HEAD, BODY, IDLE, WRITE or LINGER */
	struct inner *inner;		/* inside an intercepted CONNECT, else NULL */
	struct bound *bound;		/* upstream connection that carries a login, or NULL */
	struct redirected *redirected;	/* where a firewall sent it from, or NULL */
	uint64_t id;
	uint64_t body_mark;		/* octets of the body at the last look */
	uint32_t requests;
	enum session_phase phase;
	bool tls;
	bool denied;			/* by its address: every request is refused */
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	} peer;
};

/* fd is taken, and the client, who has entered (clients.h): leaving it is the
 * session's part from here on. NULL: out of memory. */
struct session *session_open(struct worker *w, int fd, const struct sockaddr *peer,
			     socklen_t len, struct tls_ctx *tls);
/* After this exchange the connection is closed. An idle client may be sending
 * this very moment: it has a second to do so, and is told with the answer. A
 * tunnel stays while octets move in it. */
void session_drain(struct session *s);
/* Now, whatever is under way. */
void session_kill(struct session *s);
/* To be called last in every callback that may have ended the exchange. */
void session_settle(struct session *s);
/* What comes after this exchange are requests to u, inside TLS that the caller
 * puts on s->client. False: out of memory. */
bool session_enclose(struct session *s, const struct url *u);
/* The client's address as text in room: with the port, and without. */
struct str session_who(const struct session *s, char room[64]);
struct str session_address(const struct session *s, char room[64]);
const struct sockaddr *session_peer(const struct session *s);	/* NULL: a unix socket */
/* bound.c: lets go of the connection that carries this client's login. */
void session_unbind(struct session *s);

#endif
