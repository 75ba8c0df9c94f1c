/* arena: memory that ends with a lifetime. Nothing in it is freed alone.
 * Not thread-safe; an arena belongs to one worker. */
#ifndef GROUND_ARENA_H
#define GROUND_ARENA_H

#include <stdarg.h>
#include "ground/str.h"

struct block;
struct duty;

/* Its members are arena.c's business; they stand here for arena_get() alone. */
struct arena {
	char *at, *end;			/* what is free of the newest block */
	struct block *newest;		/* the first block has older == NULL */
	struct duty *last;
	size_t held, limit;
	bool full;
};

enum { ARENA_GRAIN = 16 };

/* `first` bytes are allocated now and survive arena_reset(); `limit` is the
 * most the arena ever holds, first block included. NULL when out of memory. */
struct arena *arena_new(size_t first, size_t limit);
/* Aligned to 16 octets, not zeroed. NULL past the limit: sticky, see arena_full(). */
static inline void *arena_get(struct arena *a, size_t size);
void *arena_more(struct arena *a, size_t size);	/* the same, from another block */
void *arena_zero(struct arena *a, size_t size);
/* A copy; empty once past the limit. arena_keepz() adds a NUL behind it. */
struct str arena_keep(struct arena *a, struct str s);
const char *arena_keepz(struct arena *a, struct str s);
/* The parts one behind the other; empty once past the limit. */
struct str arena_join(struct arena *a, unsigned n, const struct str parts[]);
__attribute__((format(printf, 2, 3)))
struct str arena_print(struct arena *a, const char *fmt, ...);
/* fn(arg) is called once by arena_reset() or arena_free(), last in first out.
 * False past the limit: then fn is called at once, so nothing leaks. */
bool arena_at_end(struct arena *a, void (*fn)(void *), void *arg);
/* Was anything refused since the last reset? Ask once, at the door. */
bool arena_full(const struct arena *a);
size_t arena_held(const struct arena *a);	/* octets of all blocks */
void arena_reset(struct arena *a);
void arena_free(struct arena *a);		/* NULL is fine */

static inline void *arena_get(struct arena *a, size_t size)
{
	size_t n = (size + ARENA_GRAIN - 1) & ~(size_t)(ARENA_GRAIN - 1);
	char *at = a->at;

	if (n < size || n > (size_t)(a->end - at))
		return arena_more(a, size);
	a->at = at + n;
	return at;
}

#endif
