/* history: the last minutes, a moment a second, for the chart of the admin page:
 * so that it shows what was before somebody looked. */
#ifndef WORKER_HISTORY_H
#define WORKER_HISTORY_H

#include "worker/counters.h"

enum { HISTORY_MOST = 300 };

struct moment {				/* what came in this second */
	uint32_t requests, challenged, replayed, unanswered;
};

struct history {
	unsigned next, n;
	bool begun;			/* there is a sum to take the difference from */
	uint64_t requests, challenged, replayed, unanswered;	/* sums */
	struct moment moment[HISTORY_MOST];
};

/* `seconds` have passed since the last call: what came is spread over them. */
void history_note(struct history *h, const struct counters *sum, unsigned seconds);
/* i 0: the oldest of h->n. */
const struct moment *history_at(const struct history *h, unsigned i);

#endif
