/* fail_nth: one call fails. Preloaded (LD_PRELOAD), it counts the fallible calls of a
 * program, by family, in the file that FAIL_NTH names, which is mapped shared: whoever
 * made that file (a struct plan of zeros) says there which call is to fail, and reads
 * whether one did. glibc only. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../bench/preload.h"

enum family { MEMORY, READING, WRITING, OPENING, POLLING, SECURING };

struct plan {
	_Atomic uint64_t families;	/* bits: which of them count; 0: none, nothing fails */
	_Atomic uint64_t nth;		/* the call that fails; the first is 1 */
	_Atomic uint64_t for_ever;	/* and all behind it */
	_Atomic uint64_t calls;
	_Atomic uint64_t failed;
};

static struct plan before_mapped, *plan = &before_mapped;

__attribute__((constructor)) static void map_plan(void)
{
	plan = preload_map("FAIL_NTH", sizeof *plan, &before_mapped);
}

static bool fails(enum family f)
{
	uint64_t n;

	if (!(plan->families & (UINT64_C(1) << f)))
		return false;
	n = ++plan->calls;
	if (n != plan->nth && !(plan->for_ever && n > plan->nth && plan->nth))
		return false;
	++plan->failed;
	return true;
}

static bool fails_as(enum family f, int error)
{
	if (!fails(f))
		return false;
	errno = error;
	return true;
}

static int error_of(int fd, int of_file)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? ECONNRESET : of_file;
}

static bool fails_at(enum family f, int fd, int of_file)
{
	if (!fails(f))
		return false;
	errno = error_of(fd, of_file);
	return true;
}

/* -- memory ------------------------------------------------------------------- */

void *malloc(size_t size)
{
	return fails_as(MEMORY, ENOMEM) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails_as(MEMORY, ENOMEM) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	return fails_as(MEMORY, ENOMEM) ? NULL : __libc_realloc(old, size);
}

int posix_memalign(void **to, size_t align, size_t size)
{
	void *got = fails(MEMORY) ? NULL : __libc_memalign(align, size);

	if (!got)
		return ENOMEM;
	*to = got;
	return 0;
}

/* -- everything else: the same few lines around each function of the libraries ---- */

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP(result, name, parameters, arguments, failing, failed)	\
	result name parameters						\
	{								\
		static __typeof__(&name) next;				\
									\
		if (!next)						\
			next = NEXT(name);				\
		return (failing) ? (failed) : next arguments;		\
	}

WRAP(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), fails_at(READING, fd, EIO), -1)
WRAP(ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n), fails_at(READING, fd, EIO), -1)
WRAP(ssize_t, recv, (int fd, void *to, size_t n, int flags), (fd, to, n, flags),
     fails_at(READING, fd, EIO), -1)
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags), fails_at(READING, fd, EIO), -1)
WRAP(ssize_t, pread64, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at),
     fails_at(READING, fd, EIO), -1)
WRAP(ssize_t, sendfile64, (int to, int from, off64_t *at, size_t n), (to, from, at, n),
     fails_as(READING, EIO), -1)
WRAP(ssize_t, splice, (int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags),
     (from, a, to, b, n, flags), fails_as(READING, ECONNRESET), -1)

WRAP(ssize_t, write, (int fd, const void *at, size_t n), (fd, at, n), fails_at(WRITING, fd, ENOSPC), -1)
WRAP(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), fails_at(WRITING, fd, ENOSPC), -1)
WRAP(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t at), (fd, v, n, at),
     fails_at(WRITING, fd, ENOSPC), -1)
WRAP(ssize_t, send, (int fd, const void *at, size_t n, int flags), (fd, at, n, flags),
     fails_at(WRITING, fd, ENOSPC), -1)
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags),
     fails_at(WRITING, fd, ENOSPC), -1)
WRAP(int, shutdown, (int fd, int how), (fd, how), fails_as(WRITING, ENOTCONN), -1)

WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol),
     fails_as(OPENING, EMFILE), -1)
WRAP(int, connect, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len),
     fails_as(OPENING, ENETUNREACH), -1)
WRAP(int, accept4, (int fd, struct sockaddr *from, socklen_t *len, int flags), (fd, from, len, flags),
     fails_as(OPENING, EMFILE), -1)
WRAP(int, setsockopt, (int fd, int level, int name, const void *at, socklen_t len),
     (fd, level, name, at, len), fails_as(OPENING, ENOBUFS), -1)
WRAP(int, mkostemp64, (char *path, int flags), (path, flags), fails_as(OPENING, ENOSPC), -1)
WRAP(int, pipe2, (int fds[2], int flags), (fds, flags), fails_as(OPENING, EMFILE), -1)
WRAP(int, open64, (const char *path, int flags, ...), (path, flags, 0600), fails_as(OPENING, EMFILE), -1)

WRAP(int, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *ev), (epfd, op, fd, ev),
     op != EPOLL_CTL_DEL && fails_as(POLLING, ENOMEM), -1)

/* -- TLS. Its types are not needed here. --------------------------------------------- */

void *SSL_new(void *);
int SSL_do_handshake(void *);
int SSL_read_ex(void *, void *, size_t, size_t *);
int SSL_write_ex(void *, const void *, size_t, size_t *);
void *BIO_new(const void *);

WRAP(void *, SSL_new, (void *ctx), (ctx), fails_as(SECURING, ENOMEM), NULL)
WRAP(int, SSL_do_handshake, (void *s), (s), fails_as(SECURING, ECONNRESET), -1)
WRAP(int, SSL_read_ex, (void *s, void *to, size_t n, size_t *got), (s, to, n, got),
     fails_as(SECURING, ECONNRESET), 0)
WRAP(int, SSL_write_ex, (void *s, const void *at, size_t n, size_t *put), (s, at, n, put),
     fails_as(SECURING, ECONNRESET), 0)
WRAP(void *, BIO_new, (const void *method), (method), fails_as(SECURING, ENOMEM), NULL)
