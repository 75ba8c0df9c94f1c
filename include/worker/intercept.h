/* intercept: CONNECT to a host that `intercept` names. The server is dialled and
 * verified first, then a leaf is made for its name, then the client is told 200;
 * if what it says next begins a TLS handshake, the leaf is shown, and the session
 * goes on with the requests inside. If not, it gets the blind tunnel it would have
 * had; and if it says nothing for a second, the server may speak first. */
#ifndef WORKER_INTERCEPT_H
#define WORKER_INTERCEPT_H

#include "worker/transaction.h"

bool intercept_wants(const struct snapshot *s, struct str host);
/* The rule that says how a server of this host is verified and logged in to,
 * whatever its path and method; or NULL. */
const struct rule *intercept_rule(const struct snapshot *s, struct str host);
/* A request inside: where it goes, and whether it is one for this host at all. */
enum why intercept_route(struct transaction *t);

/* t->upstream is there, verified. */
void intercept_verified(struct transaction *t);
/* DO_TUNNEL of such a CONNECT. */
void intercept_begin(struct transaction *t);
/* t->upstream is there, a plain one, in case the client does not speak TLS. */
void intercept_dialled(struct transaction *t);
/* Lets go of what is under way. */
void intercept_drop(struct transaction *t);

#endif
