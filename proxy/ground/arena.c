/* arena: a chain of blocks, bump allocation, one list of duties for the end.
 * The first block stays over a reset, so an exchange that fits in it never
 * meets malloc. Out of memory and past the limit are the same sticky fact:
 * callers ask once, at the door, instead of after every slice. */
#include "ground/arena.h"

#include <stdio.h>
#include <stdlib.h>

enum { GROWTH = 8192 };

struct block {
	struct block *older;
	size_t size;			/* of data */
	_Alignas(ARENA_GRAIN) char data[];
};

struct duty {
	struct duty *earlier;
	void (*fn)(void *);
	void *arg;
};

/* What comes next is taken from b. */
static void take_from(struct arena *a, struct block *b)
{
	a->newest = b;
	a->at = b->data;
	a->end = b->data + b->size;
}

static struct block *block_new(struct arena *a, size_t size)
{
	struct block *b;

	if (size > a->limit || a->held > a->limit - size)
		return NULL;
	b = malloc(sizeof *b + size);
	if (!b)
		return NULL;
	b->older = a->newest;
	b->size = size;
	a->held += size;
	take_from(a, b);
	return b;
}

struct arena *arena_new(size_t first, size_t limit)
{
	struct arena *a = calloc(1, sizeof *a);

	if (!a)
		return NULL;
	a->limit = limit < first ? first : limit;
	if (!block_new(a, first)) {
		free(a);
		return NULL;
	}
	return a;
}

void *arena_more(struct arena *a, size_t size)
{
	size_t n = (size + ARENA_GRAIN - 1) & ~(size_t)(ARENA_GRAIN - 1);

	if (n >= size && (block_new(a, n > GROWTH ? n : GROWTH) || block_new(a, n)))
		return arena_get(a, n);
	a->full = true;
	return NULL;
}

void *arena_zero(struct arena *a, size_t size)
{
	void *at = arena_get(a, size);

	if (at)
		memset(at, 0, size);
	return at;
}

struct str arena_keep(struct arena *a, struct str s)
{
	char *at = s.len ? arena_get(a, s.len) : NULL;

	if (!at)
		return (struct str){ "", 0 };
	memcpy(at, s.at, s.len);
	return (struct str){ at, s.len };
}

const char *arena_keepz(struct arena *a, struct str s)
{
	char *at = arena_get(a, s.len + 1);

	if (!at)
		return "";
	if (s.len)
		memcpy(at, s.at, s.len);
	at[s.len] = '\0';
	return at;
}

struct str arena_join(struct arena *a, unsigned n, const struct str parts[])
{
	struct str all = STR("");
	size_t len = 0;
	char *at;

	for (unsigned i = 0; i < n; i++)
		len += parts[i].len;
	at = len ? arena_get(a, len) : NULL;
	if (!at)
		return all;
	all = (struct str){ at, len };
	for (unsigned i = 0; i < n; i++)
		if (parts[i].len)
			at = mempcpy(at, parts[i].at, parts[i].len);
	return all;
}

struct str arena_print(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *at;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	at = n < 0 ? NULL : arena_get(a, (size_t)n + 1);
	if (!at)
		return (struct str){ "", 0 };
	va_start(ap, fmt);
	vsnprintf(at, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return (struct str){ at, (size_t)n };
}

bool arena_at_end(struct arena *a, void (*fn)(void *), void *arg)
{
	struct duty *d = arena_get(a, sizeof *d);

	if (!d) {
		fn(arg);
		return false;
	}
	*d = (struct duty){ a->last, fn, arg };
	a->last = d;
	return true;
}

bool arena_full(const struct arena *a)
{
	return a->full;
}

size_t arena_held(const struct arena *a)
{
	return a->held;
}

void arena_reset(struct arena *a)
{
	while (a->last) {
		struct duty *d = a->last;

		a->last = d->earlier;
		d->fn(d->arg);
	}
	while (a->newest->older) {
		struct block *b = a->newest;

		a->newest = b->older;
		a->held -= b->size;
		free(b);
	}
	take_from(a, a->newest);
	a->full = false;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	arena_reset(a);
	free(a->newest);
	free(a);
}
