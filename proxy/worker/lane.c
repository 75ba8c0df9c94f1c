/* lane: see the header. */
#include "worker/lane.h"

#include <assert.h>

void lane_add(struct lane *l, struct str octets)
{
	struct iovec *last = l->n > l->at ? &l->v[l->n - 1] : NULL;

	if (!octets.len)
		return;
	if (last && (char *)last->iov_base + last->iov_len == octets.at) {
		last->iov_len += octets.len;
		return;
	}
	assert(l->n < LANE_IOV && l->fd < 0);
	l->v[l->n++] = (struct iovec){ (void *)octets.at, octets.len };
}

void lane_add_file(struct lane *l, int fd, off_t at, size_t len, struct str after)
{
	assert(l->fd < 0);
	l->fd = fd;
	l->file_at = at;
	l->file_left = len;
	l->after = after;
}

void lane_drop(struct lane *l)
{
	l->at = l->n = 0;
	l->fd = -1;
	l->file_left = 0;
	l->after = STR_NONE;
}

struct str lane_copy(const struct lane *l, struct arena *a)
{
	size_t sum = 0;
	char *copy, *to;

	for (unsigned i = l->at; i < l->n; i++)
		sum += l->v[i].iov_len;
	copy = to = arena_get(a, sum + 1);
	if (!copy)
		return STR_NONE;
	for (unsigned i = l->at; i < l->n; i++)
		to = mempcpy(to, l->v[i].iov_base, l->v[i].iov_len);
	return (struct str){ copy, sum };
}

static void advance(struct lane *l, size_t put)
{
	l->moved += put;
	while (put && l->at < l->n) {
		struct iovec *v = &l->v[l->at];
		size_t n = put < v->iov_len ? put : v->iov_len;

		v->iov_base = (char *)v->iov_base + n;
		v->iov_len -= n;
		put -= n;
		if (!v->iov_len)
			l->at++;
	}
	if (l->at == l->n)
		l->at = l->n = 0;
}

static enum io flush_slices(struct lane *l, struct conn *to)
{
	size_t put;
	enum io io = IO_DONE;

	while (io == IO_DONE && l->n) {
		io = conn_write(to, l->v + l->at, l->n - l->at, &put);
		advance(l, put);
		if (l->n && io == IO_DONE)
			return IO_WANT_WRITE;
	}
	return io;
}

static enum io flush_file(struct lane *l, struct conn *to)
{
	while (l->file_left) {
		size_t put;
		enum io io = conn_write_file(to, l->fd, l->file_at, l->file_left, &put);

		if (io != IO_DONE)
			return io;
		l->file_at += (off_t)put;
		l->file_left -= put;
		l->moved += put;
		if (l->file_left && conn_write_waits(to))
			return IO_WANT_WRITE;
	}
	l->fd = -1;
	return IO_DONE;
}

enum io lane_flush(struct lane *l, struct conn *to)
{
	enum io io = flush_slices(l, to);

	if (io == IO_DONE && l->fd >= 0)
		io = flush_file(l, to);
	if (io == IO_DONE && l->after.len) {
		struct str after = l->after;

		l->after = STR_NONE;
		lane_add(l, after);
		io = flush_slices(l, to);
	}
	return io;
}
