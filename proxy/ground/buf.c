/* buf: blocks and the slab they come from. The slab belongs to a thread, so
 * there is no lock; it keeps a bounded number of spare blocks and gives the
 * rest back to malloc. */
#include "ground/buf.h"

#include <assert.h>
#include <stdlib.h>

enum { SPARE_MOST = 256 };		/* 4 MiB of spare blocks a thread */

struct spare {
	struct spare *next;
};

static _Thread_local struct {
	struct spare *first;
	unsigned spares;
	size_t held;
} slab;

void *block_take(void)
{
	struct spare *s = slab.first;
	void *block = s;

	if (s) {
		slab.first = s->next;
		slab.spares--;
	} else {
		block = malloc(BUF_BLOCK);
	}
	if (block)
		slab.held += BUF_BLOCK;
	return block;
}

void block_give(void *block)
{
	struct spare *s = block;

	if (!block)
		return;
	slab.held -= BUF_BLOCK;
	if (slab.spares >= SPARE_MOST) {
		free(block);
		return;
	}
	s->next = slab.first;
	slab.first = s;
	slab.spares++;
}

size_t block_held(void)
{
	return slab.held;
}

void block_sweep(void)
{
	while (slab.first) {
		struct spare *s = slab.first;

		slab.first = s->next;
		free(s);
	}
	slab.spares = 0;
}

bool buf_take(struct buf *b)
{
	assert(buf_sane(b));
	if (b->base)
		return true;
	b->base = block_take();
	if (!b->base)
		return false;
	b->cap = BUF_BLOCK;
	b->head = b->tail = 0;
	return true;
}

bool buf_grow(struct buf *b, uint32_t size)
{
	struct str old = buf_unread(b);
	char *base;

	assert(buf_sane(b));
	if (size <= BUF_BLOCK)
		size = BUF_BLOCK;
	if (b->cap >= size) {
		buf_compact(b);
		return true;
	}
	base = size == BUF_BLOCK ? block_take() : malloc(size);
	if (!base)
		return false;
	if (old.len)
		memcpy(base, old.at, old.len);
	buf_give(b);
	*b = (struct buf){ base, size, 0, (uint32_t)old.len };
	return true;
}

void buf_give(struct buf *b)
{
	assert(buf_sane(b));
	if (b->cap == BUF_BLOCK)
		block_give(b->base);
	else
		free(b->base);
	*b = (struct buf){ NULL, 0, 0, 0 };
}

void buf_settle(struct buf *b)
{
	if (b->base && b->head == b->tail)
		buf_give(b);
}

void buf_compact(struct buf *b)
{
	size_t n = b->tail - b->head;

	if (!b->head)
		return;
	memmove(b->base, b->base + b->head, n);
	b->head = 0;
	b->tail = (uint32_t)n;
}
