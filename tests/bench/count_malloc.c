/* count_malloc: how often memory is asked for. Preloaded (LD_PRELOAD), it counts
 * calls in the file that COUNT_MALLOC names, which is mapped shared: whoever made
 * that file reads the count as a native uint64_t at its beginning. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own, which need no dlsym(3), as that would allocate. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t align, size_t size);

static _Atomic uint64_t before_mapped;
static _Atomic uint64_t *calls = &before_mapped;

__attribute__((constructor)) static void map_count(void)
{
	const char *path = getenv("COUNT_MALLOC");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *at;

	if (fd < 0)
		return;
	at = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		calls = at;
}

void *malloc(size_t size)
{
	++*calls;
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	++*calls;
	return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	++*calls;
	return __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t n, size_t size)
{
	size_t all;

	++*calls;
	if (__builtin_mul_overflow(n, size, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(old, all);
}

void *memalign(size_t align, size_t size)
{
	++*calls;
	return __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	++*calls;
	return __libc_memalign(align, size);
}

int posix_memalign(void **to, size_t align, size_t size)
{
	++*calls;
	*to = __libc_memalign(align, size);
	return *to ? 0 : ENOMEM;
}
