/* count_malloc: how often memory is asked for. Preloaded (LD_PRELOAD), it counts
 * calls in the file that COUNT_MALLOC names, which is mapped shared: whoever made
 * that file reads the count as a native uint64_t at its beginning. */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>

#include "preload.h"

static _Atomic uint64_t before_mapped;
static _Atomic uint64_t *calls = &before_mapped;

__attribute__((constructor)) static void map_count(void)
{
	calls = preload_map("COUNT_MALLOC", sizeof *calls, &before_mapped);
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
