/* census: all that there is to tell of the workers, at one moment. Counters are
 * read as they stand; the rest is seen by visits, all workers at a time, so one
 * that hangs costs the patience once. It is then missing in what was visited. */
#ifndef WORKER_CENSUS_H
#define WORKER_CENSUS_H

#include <stdio.h>
#include "worker/usage.h"
#include "worker/worker.h"

enum { LAST_MOST = 24 };

struct last {				/* one of the last challenged exchanges */
	time_t at;
	uint32_t ms;
	uint16_t status;
	enum family family;
	enum unanswered unanswered;
	unsigned replays, attempts;
	char client[64], method[32], rule[64], url[256];
	bool url_cut;
};

struct census {
	/* of the workers */
	unsigned workers, answering;	/* those that were visited, or have ended */
	struct counters sum;
	bool complete;			/* all were visited: what follows is no less than before */
	struct pool_counts pool;
	uint64_t upstream_busy;		/* connections that carry something, or are being made */
	struct resolver_counts names;
	uint64_t learned;		/* entries remembered */
	struct origins origins;
	struct last last[LAST_MOST];	/* newest first */
	unsigned last_n;

	/* of the process: filled by whoever has it */
	struct usage usage;
	uint64_t spool_used, spool_most, spool_files, spool_failed;
	double now, started;		/* seconds since 1970 */
	double reloaded;		/* when a configuration was last taken */
	bool reload_ok, draining;
};

/* How many workers turn their loops, or have ended as they should. */
unsigned census_answering(struct worker *const *w, unsigned n, uint32_t patience_ms);
/* The counters only: asks nobody. */
void census_count(struct counters *sum, struct worker *const *w, unsigned n);
/* False: out of memory. */
bool census_take(struct census *c, struct worker *const *w, unsigned n, uint32_t patience_ms);
/* The flight recorders, one after the other: as one JSON object a line, in order of
 * time, or as text. */
bool census_recorders(struct worker *const *w, unsigned n, uint32_t patience_ms, bool json,
		      FILE *out);

#endif
