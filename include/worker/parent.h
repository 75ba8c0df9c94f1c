/* parent: the proxy that we go through ourselves: for whom, and how it is asked
 * for a way to a host (CONNECT). Plain http:// requests go to it in absolute-form,
 * each with the login, which upstream.c adds; nothing here is for those. */
#ifndef WORKER_PARENT_H
#define WORKER_PARENT_H

#include "worker/worker.h"

/* Is this host reached through the parent? By curl's rules for no-proxy: a name
 * stands for itself and all beneath it, `*` for all, a network for addresses. */
bool parent_serves(const struct config *c, struct str host);
/* Fills the snapshot's two ways. */
void parent_open(struct snapshot *s);
/* The way for a request (NULL: its TLS context cannot be made, logged). */
const struct pool_via *parent_way(struct snapshot *s, bool tunnel);

#endif
