/* counters: the table, unfolded, and sums over workers. */
#include "worker/counters.h"

#include <stddef.h>

const uint32_t counter_bucket_ms[TIME_BUCKETS] = {
	1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000, 60000, UINT32_MAX,
};

static const struct { const char *name, *text; } rows[] = {
#define ROW(name, metric, text) [COUNT_##name] = { metric, text },
	COUNTER_TABLE(ROW)
#undef ROW
};

static const struct str methods[] = {
#define ROW(name) [COUNTED_##name] = { #name, sizeof #name - 1 },
	COUNTED_TABLE(ROW)
#undef ROW
	[COUNTED_OTHER] = { "other", 5 },
};

const char *counter_name(enum counter c)
{
	return rows[c].name;
}

const char *counter_text(enum counter c)
{
	return rows[c].text;
}

const char *counted_method(enum counted m)
{
	return methods[m].at;
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

void counters_took(struct times *t, uint64_t ms)
{
	unsigned i = 0;

	while (ms > counter_bucket_ms[i] && i < TIME_BUCKETS - 1)
		i++;
	counter_add(&t->bucket[i], 1);
	counter_add(&t->sum_ms, ms);
}

static enum counted method_of(struct str method)
{
	enum counted m = 0;

	while (m < COUNTED_OTHER && !str_eq(method, methods[m]))
		m++;
	return m;
}

void counters_answered(struct counters *c, struct str method, uint16_t status)
{
	counter_add(&c->answers[method_of(method)][status < CODES ? status : 0], 1);
}
