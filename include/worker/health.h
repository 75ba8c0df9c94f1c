/* health: `retrywith health` asks a running proxy how it is, for probes of containers
 * that have no other program. */
#ifndef WORKER_HEALTH_H
#define WORKER_HEALTH_H

#include "worker/config.h"

#define HEALTH_USAGE "health [ready] --admin ADDR:PORT"

/* argv: that, in words; the listener is `admin` of the configuration. Returns the
 * exit status: 0 where /healthz, or /readyz, says 200. */
int health_main(struct config *c, int argc, char **argv);

#endif
