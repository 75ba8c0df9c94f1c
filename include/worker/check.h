/* check: `retrywith check URL`: one request through the real engine, and what
 * became of it in words. */
#ifndef WORKER_CHECK_H
#define WORKER_CHECK_H

#include "worker/config.h"

#define CHECK_USAGE "check URL [--method M] [--header 'N: V'] [--body FILE]"

/* Exit status: 0 a final answer, 10 a 449 that was not answered (the reason is
 * printed), 11 still 449 after the replay, 12 no answer, 64 usage. */
int check_main(struct config *c, int argc, char **argv);

#endif
