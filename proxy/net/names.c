/* names: see names.h. A hash table with chains, and one list by last use. The hash
 * has a seed of its own, as names come from strangers. */
#include "net/names.h"

#include <sys/queue.h>
#include <sys/random.h>
#include <stdlib.h>

/* What is remembered of a name; n is 0 for a negative answer. */
struct entry {
	TAILQ_ENTRY(entry) older;	/* in names->recent, newest use first */
	struct entry *next;		/* in its bucket */
	uint64_t hash, until_ms;
	enum why why;
	unsigned n;
	struct str name;		/* behind the addresses */
	struct address at[];
};

struct names {
	TAILQ_HEAD(entries, entry) recent;
	struct entry **buckets;
	uint32_t mask, most, entries;
	uint64_t seed;
};

struct names *names_new(uint32_t most)
{
	struct names *n = calloc(1, sizeof(*n));
	uint32_t buckets = 1;

	if (!n)
		return NULL;
	while (buckets < most && buckets < UINT32_C(1) << 20)
		buckets *= 2;
	n->most = most;
	n->mask = buckets - 1;
	n->seed = STR_HASH_SEED;
	(void)!getrandom(&n->seed, sizeof(n->seed), GRND_NONBLOCK);
	TAILQ_INIT(&n->recent);
	n->buckets = calloc(buckets, sizeof(*n->buckets));
	if (n->buckets)
		return n;
	free(n);
	return NULL;
}

static struct entry **bucket_of(struct names *n, uint64_t hash)
{
	return &n->buckets[(hash ^ hash >> 32) & n->mask];
}

static void entry_drop(struct names *n, struct entry *e)
{
	struct entry **at = bucket_of(n, e->hash);

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	TAILQ_REMOVE(&n->recent, e, older);
	n->entries--;
	free(e);
}

void names_free(struct names *n)
{
	if (!n)
		return;
	while (!TAILQ_EMPTY(&n->recent))
		entry_drop(n, TAILQ_FIRST(&n->recent));
	free(n->buckets);
	free(n);
}

static struct entry *entry_find(struct names *n, struct str name, uint64_t hash)
{
	struct entry *e = *bucket_of(n, hash);

	while (e && (e->hash != hash || !str_eq(e->name, name)))
		e = e->next;
	return e;
}

enum why names_find(struct names *n, struct str name, uint64_t now_ms, struct addresses *out)
{
	struct entry *e = entry_find(n, name, str_hash_nocase(name, n->seed));

	out->n = 0;
	if (e && now_ms >= e->until_ms) {
		entry_drop(n, e);
		return WHY_COUNT;
	}
	if (!e)
		return WHY_COUNT;
	TAILQ_REMOVE(&n->recent, e, older);
	TAILQ_INSERT_HEAD(&n->recent, e, older);
	out->n = e->n;
	memcpy(out->at, e->at, e->n * sizeof(e->at[0]));
	return e->why;
}

static struct entry *entry_new(struct str name, const struct addresses *found)
{
	struct entry *e = malloc(sizeof(*e) + found->n * sizeof(e->at[0]) + name.len);

	if (!e)
		return NULL;
	e->n = found->n;
	memcpy(e->at, found->at, found->n * sizeof(e->at[0]));
	e->name = (struct str){ memcpy(&e->at[found->n], name.at, name.len), name.len };
	return e;
}

void names_keep(struct names *n, struct str name, const struct addresses *found, enum why why,
		uint64_t until_ms)
{
	uint64_t hash = str_hash_nocase(name, n->seed);
	struct entry *e = entry_find(n, name, hash), **bucket = bucket_of(n, hash);

	if (e)
		entry_drop(n, e);
	if (n->most == 0)
		return;
	if (n->entries >= n->most)
		entry_drop(n, TAILQ_LAST(&n->recent, entries));
	e = entry_new(name, found);
	if (!e)
		return;
	e->hash = hash;
	e->until_ms = until_ms;
	e->why = why;
	e->next = *bucket;
	*bucket = e;
	TAILQ_INSERT_HEAD(&n->recent, e, older);
	n->entries++;
}
