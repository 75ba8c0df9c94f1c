/* origins: what 449 costs, by origin. A table of fixed size for a worker: when it
 * is full, the origin that was not challenged for the longest time is folded into
 * `other`, so that sums stay true. Only exchanges that met a 449 come here. */
#ifndef WORKER_ORIGINS_H
#define WORKER_ORIGINS_H

#include <time.h>
#include "ground/str.h"

enum { ORIGINS_MOST = 64, ORIGIN_ROOM = 272 };	/* scheme://host:port and a NUL */

struct origin_cost {
	uint64_t challenged;		/* requests that met a 449 */
	uint64_t replays;
	uint64_t final, again, lost;	/* what came of those */
	uint64_t unanswered;		/* requests whose last 449 was passed on */
	uint64_t added_ms;		/* until the last replay began */
	uint64_t octets;		/* of bodies, sent in replays */
	uint64_t seen;			/* the last of them: seconds since 1970 */
};

struct origin_row {
	char name[ORIGIN_ROOM];
	struct origin_cost cost;
};

struct origins {
	unsigned n;
	unsigned folded;		/* rows that went into `other` */
	struct origin_cost other;
	struct origin_row row[ORIGINS_MOST];
};

void origins_note(struct origins *o, struct str origin, const struct origin_cost *more);
void origins_add(struct origins *sum, const struct origins *one);
/* Dearest first. */
void origins_sort(struct origins *o);

#endif
