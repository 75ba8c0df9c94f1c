/* preload: for libraries that are preloaded into a program to count or to fail calls.
 * glibc only. */
#ifndef TESTS_BENCH_PRELOAD_H
#define TESTS_BENCH_PRELOAD_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own, which need no dlsym(3), as that may allocate. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t align, size_t size);

/* The file that the environment names, mapped shared with whoever made it; or
 * `otherwise`. */
static inline void *preload_map(const char *variable, size_t size, void *otherwise)
{
	const char *path = getenv(variable);
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *at = otherwise;

	if (fd < 0)
		return otherwise;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return at == MAP_FAILED ? otherwise : at;
}

#endif
