/* redirect: transparent mode. A firewall rule sends an application's connections
 * here; the application knows of no proxy. The kernel still knows where it wanted
 * to go (SO_ORIGINAL_DST), and that address, vetted as any other, is dialled;
 * Host names the server for rules and is passed on as it came. */
#ifndef WORKER_REDIRECT_H
#define WORKER_REDIRECT_H

#include "ground/why.h"

struct session;
struct transaction;

/* Where the session's connection was going. Kept until redirect_forget(); a
 * connection that nobody redirected keeps nothing. */
void redirect_learn(struct session *s);
void redirect_forget(struct session *s);
/* The way of an origin-form request of such a session. */
enum why redirect_route(struct transaction *t);

#endif
