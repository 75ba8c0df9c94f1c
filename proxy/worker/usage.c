/* usage: see the header. */
#include "worker/usage.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	uint64_t n = 0;
	const struct dirent *e;

	if (!dir)
		return 0;
	while ((e = readdir(dir)))
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void take_memory(struct usage *u)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned long long size, resident;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f && fscanf(f, "%llu %llu", &size, &resident) == 2) {
		u->virtual = size * page;
		u->resident = resident * page;
	}
	if (f)
		fclose(f);
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

void usage_take(struct usage *u)
{
	struct rusage r;
	struct rlimit fds;

	memset(u, 0, sizeof *u);
	if (getrusage(RUSAGE_SELF, &r) == 0)
		u->cpu_s = seconds(r.ru_utime) + seconds(r.ru_stime);
	if (getrlimit(RLIMIT_NOFILE, &fds) == 0)
		u->fds_most = fds.rlim_cur;
	u->fds = count_entries("/proc/self/fd");
	if (u->fds)
		u->fds--;		/* the one that looked */
	take_memory(u);
}
