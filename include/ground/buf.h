/* buf: one block of bytes and three facts about it.
 *
 *   base          head            tail            cap
 *    |  used up    |    unread     |     room      |
 *
 * A buf without a block (base NULL, cap 0) is empty and costs nothing: an idle
 * connection holds none. Blocks come from a slab of this thread. */
#ifndef GROUND_BUF_H
#define GROUND_BUF_H

#include <sys/uio.h>
#include "ground/str.h"

enum { BUF_BLOCK = 16384 };			/* octets in a slab block */

struct buf {
	char *base;
	uint32_t cap, head, tail;
};

/* Makes sure there is a block; false when out of memory. */
bool buf_take(struct buf *b);
/* Makes room for `size` octets in all (unread ones kept); beyond BUF_BLOCK the
 * block is an allocation of its own. False when out of memory. */
bool buf_grow(struct buf *b, uint32_t size);
/* Gives the block back, whatever is in it. */
void buf_give(struct buf *b);
/* Gives the block back if nothing is unread. */
void buf_settle(struct buf *b);
/* Moves the unread octets to the front: slices into the block are void. */
void buf_compact(struct buf *b);
/* Bare blocks of BUF_BLOCK octets for those who chain their own. */
void *block_take(void);
void block_give(void *block);
/* Octets this thread holds in blocks handed out (not those in the slab). */
size_t block_held(void);
/* Frees the slab of this thread. */
void block_sweep(void);

static inline bool buf_sane(const struct buf *b)
{
	return b->head <= b->tail && b->tail <= b->cap &&
	       (b->cap == 0) == (b->base == NULL);
}

static inline struct str buf_unread(const struct buf *b)
{
	return (struct str){ b->base + b->head, b->tail - b->head };
}

static inline struct iovec buf_room(const struct buf *b)
{
	return (struct iovec){ b->base + b->tail, b->cap - b->tail };
}

static inline void buf_filled(struct buf *b, size_t n)
{
	b->tail += (uint32_t)n;
}

static inline void buf_used(struct buf *b, size_t n)
{
	b->head += (uint32_t)n;
	if (b->head == b->tail)
		b->head = b->tail = 0;
}

#endif
