/* counters: the table, unfolded, and sums over workers. */
#include "worker/counters.h"

#include <stddef.h>

const uint32_t counter_bucket_ms[TIME_BUCKETS] = {
	1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000, 60000, UINT32_MAX,
};

static const struct { const char *name, *text; } rows[] = {
#define ROW(name, text) [COUNT_##name] = { #name, text },
	COUNTER_TABLE(ROW)
#undef ROW
};

const char *counter_name(enum counter c)
{
	return rows[c].name;
}

const char *counter_text(enum counter c)
{
	return rows[c].text;
}

/* The struct is uint64_t throughout. */
void counters_add(struct counters *sum, const struct counters *one)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)one;

	_Static_assert(sizeof *sum % sizeof *to == 0, "only uint64_t inside");
	for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
		to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

void counters_took(struct counters *c, uint64_t ms)
{
	unsigned i = 0;

	while (ms > counter_bucket_ms[i])
		i++;
	c->duration[i]++;
	c->duration_ms += ms;
}
