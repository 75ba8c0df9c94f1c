/* visit: a look at what belongs to a worker, from another thread, made by the
 * worker itself between two events of its loop. So nothing of a worker needs a
 * lock. A worker that hangs makes nobody else hang: a visit is waited for until
 * a time, and is called off for good when that is over. */
#ifndef WORKER_VISIT_H
#define WORKER_VISIT_H

#include "worker/worker.h"

struct visit;

/* Short, and without waiting for anything: clients wait meanwhile. */
typedef void visit_fn(struct worker *w, void *arg);

/* Asks for fn(w, arg), to be called on w's thread. NULL: out of memory. */
struct visit *visit_begin(struct worker *w, visit_fn *fn, void *arg);
/* Waits for it until `until_ms` of clock_us() / 1000. True: it was called. False:
 * it was not, and never will be. v may be NULL, and is gone in any case. */
bool visit_end(struct visit *v, uint64_t until_ms);

/* For the worker: calls what is asked for. */
void visits_run(struct worker *w);
/* The worker is gone, and no visitor is left. */
void visits_drop(struct worker *w);

#endif
