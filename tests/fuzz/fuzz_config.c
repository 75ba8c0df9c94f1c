/* fuzz_config: configuration files.
 *
 * A file is taken or refused with words, and nothing else happens: no descriptor
 * stays open. What was taken, printed and read again, prints the same. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/config.h"

/* Options that name files of the machine are for other tests. */
static bool names_files(const uint8_t *data, size_t size)
{
	static const struct str names[] = {
		{ "file", 4 }, { "htpasswd", 8 }, { "include", 7 },
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (memmem(data, size, names[i].at, names[i].len))
			return true;
	return false;
}

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static struct config *load(const void *text, size_t size, char **err)
{
	char path[64];
	int fd = memfd_create("fuzz.conf", MFD_CLOEXEC);
	struct config *c;

	if (fd < 0 || write(fd, text, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	c = config_load(path, NULL, 0, err);
	close(fd);
	return c;
}

static char *print(const struct config *c, size_t *size)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, size);

	config_print(c, out);
	fclose(out);
	return text;
}

static void check_again(const struct config *c)
{
	size_t size, size2;
	char *text = print(c, &size), *text2, *err;
	struct config *again = load(text, size, &err);

	if (!again) {
		fprintf(stderr, "printed, and not taken again: %s\n%s\n", err, text);
		abort();
	}
	text2 = print(again, &size2);
	if (size != size2 || memcmp(text, text2, size) != 0) {
		fprintf(stderr, "printed:\n%s\nand again:\n%s\n", text, text2);
		abort();
	}
	config_release(again);
	free(text);
	free(text2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned open_before;
	struct config *c;
	char *err;

	if (names_files(data, size))
		return -1;
	if (!open_before)
		open_before = descriptors();
	c = load(data, size, &err);
	if (!c && !err)
		abort();
	if (c && err)
		abort();
	if (c)
		check_again(c);
	free(err);
	config_release(c);
	if (descriptors() != open_before)
		abort();
	return 0;
}
