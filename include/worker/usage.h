/* usage: what the process itself takes of the machine, as the kernel tells it. */
#ifndef WORKER_USAGE_H
#define WORKER_USAGE_H

#include <stdint.h>

struct usage {
	double cpu_s;			/* user and system */
	uint64_t resident, virtual;	/* octets */
	uint64_t fds, fds_most;		/* open now, and the limit */
};

/* What cannot be had is 0. */
void usage_take(struct usage *u);

#endif
