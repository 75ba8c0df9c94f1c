/* stats: a census as JSON, for the admin page, `retrywith top` and scripts. */
#ifndef WORKER_STATS_H
#define WORKER_STATS_H

#include "worker/census.h"
#include "worker/history.h"

/* False: out of memory. */
bool stats_write(const struct census *c, const struct history *h, FILE *out);

#endif
