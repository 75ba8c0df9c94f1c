/* listener: accepting clients, and limits that shed: too many clients in all,
 * too many from one address, no descriptors left. Accepting pauses rather than
 * spins. Belongs to one worker; the sockets belong to main. */
#ifndef WORKER_LISTENER_H
#define WORKER_LISTENER_H

#include "worker/worker.h"

struct listener;

bool listener_add(struct worker *w, const struct listening *l);
/* Stops accepting; the sockets stay open. */
void listeners_stop(struct worker *w);
void listeners_free(struct worker *w);

#endif
