/* history: see the header. */
#include "worker/history.h"

static uint64_t all(const uint64_t *n, unsigned count)
{
	uint64_t sum = 0;

	while (count)
		sum += n[--count];
	return sum;
}

static uint32_t share(uint64_t came, unsigned seconds, unsigned i)
{
	uint64_t n = came / seconds + (i < came % seconds);

	return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static uint64_t came(uint64_t *before, uint64_t now)
{
	uint64_t difference = now - *before;

	*before = now;
	return difference;
}

void history_note(struct history *h, const struct counters *sum, unsigned seconds)
{
	uint64_t requests = came(&h->requests, sum->n[COUNT_REQUESTS]);
	uint64_t challenged = came(&h->challenged, all(sum->family, FAMILY_COUNT));
	uint64_t replayed = came(&h->replayed, sum->n[COUNT_REPLAYS]);
	uint64_t unanswered = came(&h->unanswered, all(sum->unanswered, UNANSWERED_COUNT));

	if (!h->begun || !seconds) {
		h->begun = true;
		return;
	}
	for (unsigned i = 0; i < seconds && i < HISTORY_MOST; i++) {
		h->moment[h->next] = (struct moment){
			share(requests, seconds, i), share(challenged, seconds, i),
			share(replayed, seconds, i), share(unanswered, seconds, i),
		};
		h->next = (h->next + 1) % HISTORY_MOST;
		h->n += h->n < HISTORY_MOST;
	}
}

const struct moment *history_at(const struct history *h, unsigned i)
{
	return &h->moment[(h->next + HISTORY_MOST - h->n + i) % HISTORY_MOST];
}
