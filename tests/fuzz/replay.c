/* replay: the fuzz targets without libFuzzer, in any build: replay FILE... runs
 * each file, or each file of each directory, once. What a target objects to
 * ends the process. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_MOST = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned runs;

static void run_file(const char *path)
{
	static uint8_t room[FILE_MOST];
	FILE *in = fopen(path, "rb");
	uint8_t *data;
	size_t n;

	if (!in)
		return;
	n = fread(room, 1, sizeof room, in);
	fclose(in);
	data = malloc(n ? n : 1);	/* exactly so large: for the sanitizers */
	if (!data)
		abort();
	for (size_t i = 0; i < n; i++)
		data[i] = room[i];
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(data, n);
	free(data);
	runs++;
}

static void run(const char *path)
{
	char file[4096];
	DIR *d = opendir(path);
	struct dirent *e;

	if (!d) {
		run_file(path);
		return;
	}
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' &&
		    snprintf(file, sizeof file, "%s/%s", path, e->d_name) < (int)sizeof file)
			run_file(file);
	closedir(d);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run(argv[i]);
	printf("%u inputs\n", runs);
	return runs ? EXIT_SUCCESS : EXIT_FAILURE;
}
