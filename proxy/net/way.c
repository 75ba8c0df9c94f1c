/* way: see the header. Reading and writing never wait, and say so in the manner
 * of BIOs: 0 or less, and a retry flag. An end of stream without close_notify in
 * the outer connection is a failure there, so it is one here. */
#include "net/way.h"

#include <sys/socket.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <openssl/bio.h>

#include "net/tls.h"

struct way {
	struct tls *outer;
	int fd;
	bool eof;
	char *early;			/* octets read before, or NULL */
	size_t at, len;
};

static int read_early(struct way *w, char *to, size_t size, size_t *got)
{
	*got = w->len - w->at < size ? w->len - w->at : size;
	memcpy(to, w->early + w->at, *got);
	w->at += *got;
	if (w->at == w->len) {
		free(w->early);
		w->early = NULL;
	}
	return 1;
}

static enum io read_socket(struct way *w, char *to, size_t size, size_t *got)
{
	ssize_t n = recv(w->fd, to, size, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? IO_WANT_READ : IO_FAILED;
	*got = (size_t)n;
	return n ? IO_DONE : IO_EOF;
}

static int say(BIO *b, enum io io)
{
	switch (io) {
	case IO_DONE:
		return 1;
	case IO_WANT_READ:
		BIO_set_retry_read(b);
		return 0;
	case IO_WANT_WRITE:
		BIO_set_retry_write(b);
		return 0;
	case IO_EOF:
		((struct way *)BIO_get_data(b))->eof = true;
		return 0;
	case IO_FAILED:
		break;
	}
	return -1;
}

static int on_read(BIO *b, char *to, size_t size, size_t *got)
{
	struct way *w = BIO_get_data(b);

	*got = 0;
	BIO_clear_retry_flags(b);
	if (w->early)
		return read_early(w, to, size, got);
	if (w->outer)
		return say(b, tls_read(w->outer, (struct iovec){ to, size }, got));
	return say(b, read_socket(w, to, size, got));
}

static enum io write_socket(struct way *w, const char *at, size_t len, size_t *put)
{
	ssize_t n = send(w->fd, at, len, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? IO_WANT_WRITE : IO_FAILED;
	*put = (size_t)n;
	return IO_DONE;
}

static int on_write(BIO *b, const char *at, size_t len, size_t *put)
{
	struct way *w = BIO_get_data(b);
	struct iovec v = { (void *)at, len };

	*put = 0;
	BIO_clear_retry_flags(b);
	if (w->outer)
		return say(b, tls_write(w->outer, &v, 1, put));
	return say(b, write_socket(w, at, len, put));
}

static long on_ctrl(BIO *b, int what, long n, void *to)
{
	const struct way *w = BIO_get_data(b);

	switch (what) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return w->eof;
	default:
		return 0;
	}
}

static int on_free(BIO *b)
{
	struct way *w = BIO_get_data(b);

	if (w)
		free(w->early);
	free(w);
	return 1;
}

static BIO_METHOD *method;

static void make_method(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "way");
	if (!method)
		return;
	BIO_meth_set_read_ex(method, on_read);
	BIO_meth_set_write_ex(method, on_write);
	BIO_meth_set_ctrl(method, on_ctrl);
	BIO_meth_set_destroy(method, on_free);
}

struct bio_st *way_new(int fd, struct tls *outer)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct way *w = calloc(1, sizeof(*w));
	BIO *b;

	pthread_once(&once, make_method);
	b = w && method ? BIO_new(method) : NULL;
	if (!b) {
		free(w);
		return NULL;
	}
	w->fd = fd;
	w->outer = outer;
	BIO_set_data(b, w);
	BIO_set_init(b, 1);
	return b;
}

bool way_unread(struct bio_st *b, struct str octets)
{
	struct way *w = BIO_get_data(b);
	size_t left = w->early ? w->len - w->at : 0;
	char *all = malloc(octets.len + left + 1);

	if (!all)
		return false;
	memcpy(all, octets.at, octets.len);
	if (left)
		memcpy(all + octets.len, w->early + w->at, left);
	free(w->early);
	w->early = all;
	w->at = 0;
	w->len = octets.len + left;
	return true;
}

bool way_has_pending(struct bio_st *b)
{
	const struct way *w = BIO_get_data(b);

	return w->early || (w->outer && tls_has_pending(w->outer));
}
