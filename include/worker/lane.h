/* lane: octets on their way to one conn, as slices of memory that somebody
 * else holds, then perhaps a piece of a file. Nothing is copied: what a slice
 * points at must stay until lane_is_empty(). One lane holds at most what one
 * block or one span of the recorder gave; a lane that is not empty is the
 * back-pressure: nobody reads more for it. */
#ifndef WORKER_LANE_H
#define WORKER_LANE_H

#include "ground/arena.h"
#include "net/conn.h"

enum { LANE_IOV = 16 };

struct lane {
	struct iovec v[LANE_IOV];
	uint8_t at, n;
	int fd;				/* -1: no file */
	off_t file_at;
	size_t file_left;
	struct str after;		/* behind the file */
	uint64_t moved;			/* octets ever handed to the kernel */
};

static inline void lane_init(struct lane *l)
{
	l->at = l->n = 0;
	l->fd = -1;
	l->file_left = 0;
	l->after = STR_NONE;
	l->moved = 0;
}

static inline bool lane_is_empty(const struct lane *l)
{
	return l->at == l->n && !l->file_left && !l->after.len;
}

/* Room for n more slices? */
static inline bool lane_has_room(const struct lane *l, unsigned n)
{
	return l->n + n <= LANE_IOV && l->fd < 0;
}

void lane_add(struct lane *l, struct str octets);
/* A piece of a file behind the slices, and `after` behind that. */
void lane_add_file(struct lane *l, int fd, off_t at, size_t len, struct str after);
/* Forgets what waits; moved stays. */
void lane_drop(struct lane *l);
/* A copy of what waits, but for a file, as octets of their own. STR_NONE: no room. */
struct str lane_copy(const struct lane *l, struct arena *a);
/* IO_DONE: all of it is with the kernel. IO_WANT_WRITE: some is left, and
 * WRITABLE will come. IO_FAILED: the peer is gone. */
enum io lane_flush(struct lane *l, struct conn *to);

#endif
