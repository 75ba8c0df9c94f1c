/* run: the proxy as a process: listening sockets, workers, signals, reload,
 * drain, and what systemd wants to hear. */
#ifndef WORKER_RUN_H
#define WORKER_RUN_H

#include "worker/config.h"

/* Runs until it is told to end; the exit status. The configuration is read again
 * on SIGHUP. c is released. Says "retrywith: listening on ADDR:PORT" on
 * standard error for each listener, once it accepts. */
int run_main(struct config *c);

#endif
