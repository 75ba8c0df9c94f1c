/* sandbox: what the process gives up once it has opened what it needs: other
 * users' rights, writing anywhere but to spool and logs, starting programs, and
 * system calls that a proxy never makes. Each part is used where the kernel has
 * it; what is missing is said in the log, and is no reason not to run. */
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include "worker/config.h"

/* Becomes `user` when started as root. 0, or an exit status after an error line. */
int sandbox_drop_root(const struct config *c);
/* Call before the first thread starts: threads inherit it. */
void sandbox_enter(const struct config *c);
/* Is there no sandbox in this build (sanitizers need what it takes away)? */
bool sandbox_is_off(void);

#endif
