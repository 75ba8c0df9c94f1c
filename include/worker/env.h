/* env: `retrywith env` prints lines that make a shell, and what it starts, use the
 * proxy: eval "$(retrywith env)". */
#ifndef WORKER_ENV_H
#define WORKER_ENV_H

#include "worker/config.h"

#define ENV_USAGE "env [--shell sh|fish|powershell]"

/* argv: that, in words. Returns the exit status. */
int env_main(struct config *c, int argc, char **argv);

#endif
