/* match: `retrywith match URL` tells which rule applies to a request, what it
 * would answer, and why the other rules do not apply. Asks nobody: no name is
 * looked up, nothing is connected to. */
#ifndef WORKER_MATCH_H
#define WORKER_MATCH_H

struct config;

#define MATCH_USAGE "match URL [--method M] [--user-agent TEXT]"

/* argv: that, in words. Returns the exit status. */
int match_main(struct config *c, int argc, char **argv);

#endif
