/* body: the recorder. The client writes at its end; the upstream reads at a
 * cursor; a replay moves the cursor to 0. Nothing else ever reads a request
 * body, so the first attempt and a replay are one path.
 *
 * Octets are kept in memory blocks up to limits.memory (in whole blocks), the
 * rest in an unlinked file up to limits.record; the last block or so on its way
 * to the file waits in memory. Where this thread holds more than limits.held in
 * blocks, all goes to the file. Beyond limits.record, or when the file cannot grow,
 * recording stops: the body becomes a plain window that still delivers every
 * octet once, in order, and can no longer be rewound.
 *
 * Belongs to one exchange: lives in its arena, gives blocks and file back at
 * the arena's end. Not thread-safe, but `struct spool` may be shared. */
#ifndef HTTP_BODY_H
#define HTTP_BODY_H

#include <stdatomic.h>
#include <sys/types.h>
#include <sys/uio.h>
#include "ground/arena.h"

/* Where files go, and what they may take in all. Shared by all workers. */
struct spool {
	const char *dir;		/* O_TMPFILE here, mode 0600 */
	uint64_t total;			/* octets in all files at the most */
	_Atomic uint64_t used;		/* octets now */
	_Atomic uint32_t files;		/* open files now */
	_Atomic uint64_t failed;	/* times a file could not be made or grown */
};

struct body_limits {
	size_t memory;			/* octets in memory */
	uint64_t record;		/* octets recorded in all */
	size_t held;			/* octets in blocks of this thread; 0: no matter */
};

enum { BODY_IOV = 8 };

/* The next octets at the cursor: in memory (n slices), or in a file (fd >= 0). */
struct body_span {
	size_t len;			/* 0: nothing there now */
	int n, fd;
	off_t at;
	struct iovec v[BODY_IOV];
};

struct body;

struct body *body_new(struct arena *a, const struct body_limits *l, struct spool *s);
/* Where the next octets may be written: at most BODY_IOV slices, `most` octets.
 * Returns the number of slices; 0: the window is full, wait until the upstream
 * has taken some (or out of memory: see body_failed). */
int body_room(struct body *b, size_t most, struct iovec v[BODY_IOV]);
/* n octets were written there; no other call may come in between. Room that was
 * not used goes back: say so with 0, too. */
void body_filled(struct body *b, size_t n);
/* Copies what fits; returns the octets taken. */
size_t body_append(struct body *b, struct str octets);
void body_end(struct body *b);			/* no more will come */
/* Slices are good until all of them was taken, the next body_next(), or
 * body_rewind(): more may be written meanwhile. */
void body_next(struct body *b, struct body_span *out);
void body_taken(struct body *b, size_t n);
bool body_has_ended(const struct body *b);	/* body_end() was called */
bool body_all_taken(const struct body *b);	/* ended, and the cursor at the end */
/* Back to octet 0; false when that is no longer possible. */
bool body_rewind(struct body *b);
bool body_can_rewind(const struct body *b);
/* Recording stopped because the file failed (not because of limits.record). */
bool body_spool_failed(const struct body *b);
/* Nothing will be replayed: stop recording, drop what was taken. */
void body_forget(struct body *b);
/* Nothing is recorded and nothing waits: octets may go past the body on a shorter
 * way (splice), and are only told here. */
bool body_is_passed(const struct body *b);
void body_pass(struct body *b, uint64_t n);
/* body_room() found no memory, and there is nothing to take that would free any. */
bool body_failed(const struct body *b);
uint64_t body_length(const struct body *b);	/* octets received so far */
uint64_t body_taken_length(const struct body *b);	/* cursor */
uint64_t body_filed(const struct body *b);	/* octets in the file */

#endif
