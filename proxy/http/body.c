/* body: see body.h.
 *
 *	  memory            file            window
 *	|-----------------|---------------|-----------|
 *	0     cursor ->   file_from       file_to     end
 *
 * While recording, memory takes the first octets, and the window is the way to
 * the file: its full blocks are written behind the file's end and given back.
 * So the file grows by large writes however small the client's are, and an
 * upstream that keeps up reads from memory.
 *
 * When recording stops, nothing moves: the parts keep their order, what was
 * taken is dropped from the front, and new octets go where the last ones went.
 * A write that fails costs no octet, since its blocks leave the window only
 * after all of them are in the file.
 *
 * Blocks that the reader holds slices of outlive their way to the file: it may
 * be waiting for a slow upstream while the client goes on sending. */
#include "http/body.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ground/buf.h"

enum { WINDOW_BLOCKS = 4 };	/* 64 KiB */

struct block {
	struct block *next;
	char *base;
	uint32_t used;
};

/* Blocks in order; all but the last are full. */
struct chain {
	struct block *first, *last;
	struct block *seek;		/* where the reader was, or NULL */
	uint64_t from, seek_from;	/* position of the first octet of each */
	uint64_t len;
	unsigned blocks;
};

struct body {
	struct arena *arena;
	struct spool *spool;
	uint64_t memory_most, record_most;
	size_t held_most;
	uint64_t cursor, end;
	struct chain memory, window;
	struct block *granted;		/* given out by body_room(), still empty */
	struct block *lent;		/* in the file, but in a span as well */
	uint64_t lent_to;		/* end of that span; 0: none */
	struct block *spare;		/* without octets: links to use again */
	uint64_t file_from, file_to;
	int fd;
	bool recording;
	bool spilled;			/* memory takes no more: the window does */
	bool ended, spool_failed, no_memory;
};

static bool body_sane(const struct body *b)
{
	return b->cursor <= b->end && b->file_from <= b->file_to &&
	       b->memory.from + b->memory.len <= b->end &&
	       (b->window.len == 0 ||
		b->window.from + b->window.len == b->end);
}

/* Blocks and chains. */

static struct block *block_new(struct body *b)
{
	struct block *k = b->spare;

	if (k)
		b->spare = k->next;
	else if (!(k = arena_get(b->arena, sizeof(*k))))
		return NULL;
	*k = (struct block){ .base = block_take() };
	if (k->base)
		return k;
	k->next = b->spare;
	b->spare = k;
	return NULL;
}

static void block_drop(struct body *b, struct block *k)
{
	block_give(k->base);
	k->base = NULL;
	k->next = b->spare;
	b->spare = k;
}

static void blocks_drop(struct body *b, struct block **list)
{
	struct block *k;

	while ((k = *list)) {
		*list = k->next;
		block_drop(b, k);
	}
}

static void lent_drop(struct body *b)
{
	blocks_drop(b, &b->lent);
	b->lent_to = 0;
}

static void chain_push(struct chain *c, struct block *k, uint64_t at)
{
	k->next = NULL;
	if (c->last) {
		c->last->next = k;
	} else {
		c->first = k;
		c->from = at;
	}
	c->last = k;
	c->blocks++;
}

static struct block *chain_pop(struct chain *c)
{
	struct block *k = c->first;

	c->first = k->next;
	if (!c->first)
		c->last = NULL;
	if (c->seek == k)
		c->seek = NULL;
	c->from += k->used;
	c->len -= k->used;
	c->blocks--;
	return k;
}

static void chain_drop_before(struct body *b, struct chain *c, uint64_t at)
{
	while (c->first && c->from + c->first->used <= at)
		block_drop(b, chain_pop(c));
}

static bool chain_has(const struct chain *c, uint64_t at)
{
	return c->len > 0 && at >= c->from && at < c->from + c->len;
}

/* Puts c->seek on the block that holds `at`; forward steps are short. */
static void chain_seek(struct chain *c, uint64_t at)
{
	if (!c->seek || at < c->seek_from) {
		c->seek = c->first;
		c->seek_from = c->from;
	}
	while (at >= c->seek_from + c->seek->used) {
		c->seek_from += c->seek->used;
		c->seek = c->seek->next;
	}
}

static struct chain *tail_chain(struct body *b)
{
	return b->spilled ? &b->window : &b->memory;
}

static uint32_t block_room(const struct block *k)
{
	return k ? BUF_BLOCK - k->used : 0;
}

/* The file. */

static void file_close(struct body *b)
{
	if (b->fd < 0)
		return;
	close(b->fd);
	b->fd = -1;
	atomic_fetch_sub(&b->spool->used, b->file_to - b->file_from);
	atomic_fetch_sub(&b->spool->files, 1);
	b->file_from = b->file_to;
}

/* A name for a moment, where the file system knows no file without one. */
static int open_named(const char *dir)
{
	char path[PATH_MAX];
	int fd, n;

	n = snprintf(path, sizeof(path), "%s/retrywith-XXXXXX", dir);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static bool file_open(struct body *b)
{
	if (b->fd >= 0)
		return true;
	b->fd = open(b->spool->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (b->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT ||
			  errno == EINVAL))
		b->fd = open_named(b->spool->dir);
	if (b->fd < 0)
		return false;
	b->file_from = b->file_to = b->window.from;
	atomic_fetch_add(&b->spool->files, 1);
	return true;
}

static bool spool_reserve(struct spool *s, uint64_t n)
{
	uint64_t used = atomic_load(&s->used);

	do {
		if (used >= s->total || n > s->total - used)
			return false;
	} while (!atomic_compare_exchange_weak(&s->used, &used, used + n));
	return true;
}

/* All of v at `at`, or false. v is used up. */
static bool write_all(int fd, struct iovec *v, int n, off_t at)
{
	while (n > 0) {
		ssize_t k = pwritev(fd, v, n, at);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		at += k;
		for (; n > 0 && (size_t)k >= v->iov_len; v++, n--)
			k -= (ssize_t)v->iov_len;
		if (n > 0) {
			v->iov_base = (char *)v->iov_base + k;
			v->iov_len -= (size_t)k;
		}
	}
	return true;
}

/* The first block of the window is in the file now. */
static void window_pop(struct body *b)
{
	bool is_lent = b->window.from < b->lent_to;
	struct block *k = chain_pop(&b->window);

	if (!is_lent) {
		block_drop(b, k);
		return;
	}
	k->next = b->lent;
	b->lent = k;
}

/* The window's full blocks go to the end of the file. */
static bool window_flush(struct body *b)
{
	struct iovec v[WINDOW_BLOCKS];
	uint64_t len;
	int n = 0;

	for (struct block *k = b->window.first; k && k->used == BUF_BLOCK; k = k->next)
		v[n++] = (struct iovec){ k->base, k->used };
	if (n == 0)
		return true;
	len = (uint64_t)n * BUF_BLOCK;
	if (!b->spool || !spool_reserve(b->spool, len))
		return false;
	if (!file_open(b) ||
	    !write_all(b->fd, v, n, (off_t)(b->file_to - b->file_from))) {
		atomic_fetch_sub(&b->spool->used, len);
		return false;
	}
	b->file_to += len;
	while (n-- > 0)
		window_pop(b);
	return true;
}

/* Recording. */

static void drop_taken(struct body *b)
{
	chain_drop_before(b, &b->memory, b->cursor);
	if (b->cursor >= b->file_to)
		file_close(b);
	chain_drop_before(b, &b->window, b->cursor);
}

static void stop_recording(struct body *b)
{
	b->recording = false;
	drop_taken(b);
}

static void spool_fails(struct body *b)
{
	if (b->spool)
		atomic_fetch_add(&b->spool->failed, 1);
	b->spool_failed = true;
	stop_recording(b);
}

static void body_over(void *arg)
{
	struct body *b = arg;

	b->cursor = b->end;
	lent_drop(b);
	blocks_drop(b, &b->granted);
	drop_taken(b);
}

static uint64_t whole_blocks(uint64_t n)
{
	return n / BUF_BLOCK < UINT32_MAX ? (n + BUF_BLOCK - 1) / BUF_BLOCK * BUF_BLOCK
					  : (uint64_t)UINT32_MAX * BUF_BLOCK;
}

struct body *body_new(struct arena *a, const struct body_limits *l, struct spool *s)
{
	struct body *b = arena_get(a, sizeof(*b));

	if (!b)
		return NULL;
	*b = (struct body){ .arena = a, .spool = s, .fd = -1,
			    .memory_most = whole_blocks(l->memory), .held_most = l->held,
			    .record_most = l->record,
			    .recording = l->record > 0 };
	return arena_at_end(a, body_over, b) ? b : NULL;
}

/* Writing. */

/* Where memory is short, what is left of the last block. */
static uint64_t memory_left(const struct body *b)
{
	if (b->held_most && block_held() > b->held_most)
		return block_room(b->memory.last);
	return b->end < b->memory_most ? b->memory_most - b->end : 0;
}

/* Octets that may come now. */
static uint64_t room_left(struct body *b)
{
	unsigned held = b->window.blocks;

	if (b->recording && !b->spilled) {
		uint64_t left = memory_left(b);

		if (left)
			return left;
		b->spilled = true;
	}
	if (!b->recording)
		held += b->memory.blocks;
	return block_room(tail_chain(b)->last) +
	       (held < WINDOW_BLOCKS ? (uint64_t)(WINDOW_BLOCKS - held) * BUF_BLOCK : 0);
}

static size_t give_slice(struct iovec *v, struct block *k, size_t most)
{
	size_t room = block_room(k);

	*v = (struct iovec){ k->base + k->used, room < most ? room : most };
	return v->iov_len;
}

/* Slices for up to `most` octets: the rest of the last block, then new ones. */
static int grant(struct body *b, size_t most, struct iovec v[BODY_IOV])
{
	struct block *last = tail_chain(b)->last, **next = &b->granted;
	int n = 0;

	if (most > 0 && block_room(last) > 0)
		most -= give_slice(&v[n++], last, most);
	for (; most > 0 && n < BODY_IOV; next = &(*next)->next) {
		if (!*next && !(*next = block_new(b)))
			break;
		most -= give_slice(&v[n++], *next, most);
	}
	return n;
}

int body_room(struct body *b, size_t most, struct iovec v[BODY_IOV])
{
	uint64_t left = room_left(b);
	int n;

	assert(body_sane(b) && !b->ended);
	b->no_memory = false;
	if (left < most)
		most = (size_t)left;
	n = grant(b, most, v);
	if (n > 0 || most == 0)
		return n;
	/* Out of memory: what was taken is the first thing to do without. */
	if (b->recording) {
		spool_fails(b);
		n = grant(b, most, v);
	}
	b->no_memory = n == 0 && b->cursor == b->end;
	return n;
}

void body_filled(struct body *b, size_t n)
{
	struct chain *c = tail_chain(b);

	while (n > 0) {
		size_t k = block_room(c->last);

		if (k == 0) {
			struct block *fresh = b->granted;

			assert(fresh);
			b->granted = fresh->next;
			chain_push(c, fresh, b->end);
			k = BUF_BLOCK;
		}
		if (k > n)
			k = n;
		c->last->used += (uint32_t)k;
		c->len += k;
		b->end += k;
		n -= k;
	}
	blocks_drop(b, &b->granted);
	if (b->recording && b->end > b->record_most)
		stop_recording(b);
	else if (b->recording && !window_flush(b))
		spool_fails(b);
	assert(body_sane(b));
}

size_t body_append(struct body *b, struct str octets)
{
	struct iovec v[BODY_IOV];
	size_t done = 0;

	while (done < octets.len) {
		size_t copied = 0;
		int n = body_room(b, octets.len - done, v);

		if (n == 0)
			break;
		for (int i = 0; i < n; i++) {
			memcpy(v[i].iov_base, octets.at + done + copied, v[i].iov_len);
			copied += v[i].iov_len;
		}
		body_filled(b, copied);
		done += copied;
	}
	return done;
}

void body_end(struct body *b)
{
	b->ended = true;
	blocks_drop(b, &b->granted);
}

/* Reading. */

static void span_of_chain(struct chain *c, uint64_t at, struct body_span *out)
{
	size_t skip;

	chain_seek(c, at);
	skip = (size_t)(at - c->seek_from);
	for (struct block *k = c->seek; k && out->n < BODY_IOV; k = k->next) {
		out->v[out->n++] = (struct iovec){ k->base + skip, k->used - skip };
		out->len += k->used - skip;
		skip = 0;
	}
}

void body_next(struct body *b, struct body_span *out)
{
	lent_drop(b);
	out->len = 0;
	out->n = 0;
	out->fd = -1;
	out->at = 0;
	if (chain_has(&b->memory, b->cursor)) {
		span_of_chain(&b->memory, b->cursor, out);
	} else if (b->fd >= 0 && b->cursor < b->file_to) {
		out->fd = b->fd;
		out->at = (off_t)(b->cursor - b->file_from);
		out->len = (size_t)(b->file_to - b->cursor);
	} else if (chain_has(&b->window, b->cursor)) {
		span_of_chain(&b->window, b->cursor, out);
		b->lent_to = b->cursor + out->len;
	}
}

void body_taken(struct body *b, size_t n)
{
	assert(n <= b->end - b->cursor);
	b->cursor += n;
	if (b->cursor >= b->lent_to)
		lent_drop(b);
	if (!b->recording)
		drop_taken(b);
	assert(body_sane(b));
}

bool body_has_ended(const struct body *b)
{
	return b->ended;
}

bool body_all_taken(const struct body *b)
{
	return b->ended && b->cursor == b->end;
}

/* A body of which nothing was taken yet is whole, recorded or not. */
bool body_can_rewind(const struct body *b)
{
	return b->recording || b->cursor == 0;
}

bool body_rewind(struct body *b)
{
	if (!body_can_rewind(b))
		return false;
	lent_drop(b);
	b->cursor = 0;
	return true;
}

void body_forget(struct body *b)
{
	stop_recording(b);
}

bool body_is_passed(const struct body *b)
{
	return !b->recording && b->cursor == b->end && !b->ended;
}

void body_pass(struct body *b, uint64_t n)
{
	assert(body_is_passed(b));
	b->cursor += n;
	b->end += n;
}

bool body_spool_failed(const struct body *b)
{
	return b->spool_failed;
}

bool body_failed(const struct body *b)
{
	return b->no_memory;
}

uint64_t body_length(const struct body *b)
{
	return b->end;
}

uint64_t body_taken_length(const struct body *b)
{
	return b->cursor;
}

uint64_t body_filed(const struct body *b)
{
	return b->file_to - b->file_from;
}
