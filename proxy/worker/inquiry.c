/* inquiry: see the header. */
#include "worker/inquiry.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "worker/value.h"

enum { PATIENCE_S = 5, ANSWER_MOST = 8 << 20 };

static int reach(const struct sockaddr_storage *to, socklen_t len)
{
	static const struct timeval patience = { PATIENCE_S, 0 };
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (const struct sockaddr *)to, len) == 0)
		return fd;
	close(fd);
	return -1;
}

/* All that it says until it closes; NUL-terminated, malloc'ed. */
static char *read_all(int fd, size_t *size)
{
	size_t room = 1 << 16;
	char *all = malloc(room);
	ssize_t got = 1;

	for (*size = 0; all && got > 0 && *size < ANSWER_MOST; *size += (size_t)got) {
		char *wider = *size + 1 < room ? all : realloc(all, room *= 2);

		if (!wider)
			break;
		all = wider;
		got = recv(fd, all + *size, room - *size - 1, 0);
		if (got <= 0)
			break;
	}
	if (all)
		all[*size] = '\0';
	return all;
}

/* The listener closes behind its answer: what came until then is all. */
static void understand(struct inquiry *i, size_t size)
{
	char *body = i->all ? strstr(i->all, "\r\n\r\n") : NULL;

	if (!body || sscanf(i->all, "HTTP/1.1 %3d ", &i->status) != 1)
		return;
	i->body = body + 4;
	i->len = size - (size_t)(i->body - i->all);
}

bool inquiry_has_address(struct str admin, const char *command)
{
	if (!admin.len)
		fprintf(stderr, "retrywith %s: where? Say --admin ADDR:PORT or unix:PATH, as the "
			"running proxy has it\n", command);
	return admin.len > 0;
}

struct inquiry inquiry_make(struct str admin, const char *path)
{
	struct inquiry i = { .body = "" };
	struct sockaddr_storage to = { 0 };
	socklen_t len = sizeof to;
	size_t size = 0;
	int fd = value_address(admin, &to, &len) ? reach(&to, len) : -1;

	if (fd < 0)
		return i;
	signal(SIGPIPE, SIG_IGN);	/* it may be closed before it was asked */
	if (dprintf(fd, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		    path) > 0) {
		i.all = read_all(fd, &size);
		understand(&i, size);
	}
	close(fd);
	return i;
}

void inquiry_free(struct inquiry *i)
{
	free(i->all);
	*i = (struct inquiry){ .body = "" };
}
