/* top: `retrywith top` watches a running proxy by its admin listener. */
#ifndef WORKER_TOP_H
#define WORKER_TOP_H

#include "worker/config.h"

#define TOP_USAGE "top --admin ADDR:PORT"

/* argv: top; the listener is `admin` of the configuration. On a terminal a live
 * table, until q; else the table once. Returns the exit status. */
int top_main(struct config *c, int argc, char **argv);

#endif
