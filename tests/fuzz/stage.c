/* stage: see the header. clock_gettime() of this file comes before the library's
 * for the proxy and for libevent; libFuzzer itself needs the true time, so the
 * clock stands still only while a script runs. */
#include "stage.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { READ_MOST = 1 << 16, RUNS = 64 };

/* --- text --- */

void text_add(struct text *t, const void *at, size_t len)
{
	while (t->cap - t->len < len) {
		t->cap = t->cap ? 2 * t->cap : 4096;
		t->at = realloc(t->at, t->cap);
		if (!t->at)
			abort();
	}
	if (len)
		memcpy(t->at + t->len, at, len);
	t->len += len;
}

void text_free(struct text *t)
{
	free(t->at);
	*t = (struct text){ NULL, 0, 0 };
}

/* --- doors --- */

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int door_at(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	struct sockaddr_in a = loopback(port);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
		abort();
	if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 64) == 0)
		return fd;
	close(fd);
	return -1;
}

static uint16_t port_of(int door)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;

	if (getsockname(door, (struct sockaddr *)&a, &len) != 0)
		abort();
	return ntohs(a.sin_port);
}

/* A port that the kernel chose is forgotten when the door is shut, so the door
 * asks for it by its number. */
int door_open(uint16_t *port, int send_room)
{
	int fd = -1, any;

	for (int i = 0; i < RUNS && fd < 0; i++) {
		any = door_at(0);
		*port = port_of(any);
		close(any);
		fd = door_at(*port);
	}
	if (fd < 0)
		abort();
	if (send_room)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_room, sizeof send_room);
	return fd;
}

void door_shut(int door)
{
	shutdown(door, SHUT_RD);
}

void door_again(int door)
{
	uint16_t port = port_of(door);

	if (listen(door, 64) != 0 || port_of(door) != port)
		abort();
}

/* --- actors --- */

bool actor_dial(struct actor *a, uint16_t port)
{
	struct sockaddr_in to = loopback(port);

	*a = (struct actor){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
	return a->fd >= 0 && (connect(a->fd, (struct sockaddr *)&to, sizeof to) == 0 ||
			      errno == EINPROGRESS);
}

bool actor_accept(struct actor *a, int door)
{
	int fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return false;
	*a = (struct actor){ .fd = fd };
	return true;
}

void actor_say(struct actor *a, size_t most)
{
	while (a->fd >= 0 && !a->fin && most && a->said < a->out.len) {
		size_t n = a->out.len - a->said;
		ssize_t r = send(a->fd, a->out.at + a->said, n < most ? n : most, MSG_NOSIGNAL);

		if (r <= 0)
			return;
		a->said += (size_t)r;
		most -= (size_t)r;
	}
}

void actor_hear(struct actor *a)
{
	static char room[READ_MOST];

	for (int i = 0; i < RUNS && a->fd >= 0 && !a->deaf && !a->eof && !a->reset; i++) {
		ssize_t r = recv(a->fd, room, sizeof room, 0);

		if (r > 0)
			text_add(&a->in, room, (size_t)r);
		else if (r == 0)
			a->eof = true;
		else if (errno == EAGAIN)
			return;
		else
			a->reset = true;
	}
}

void actor_fin(struct actor *a)
{
	if (a->fd < 0 || a->fin)
		return;
	shutdown(a->fd, SHUT_WR);
	a->fin = true;
}

void actor_reset(struct actor *a)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (a->fd < 0)
		return;
	setsockopt(a->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(a->fd);
	a->fd = -1;
	a->left = true;
}

void actor_clear(struct actor *a)
{
	actor_reset(a);
	text_free(&a->in);
	text_free(&a->out);
}

/* --- clocks --- */

static bool frozen;
static uint64_t now_ms;
static int alarm_fd = -1;		/* the timer of the only worker ... */
static uint64_t alarm_ms;		/* ... rings then; 0 is not set */

int clock_gettime(clockid_t id, struct timespec *ts)
{
	bool wall = id == CLOCK_REALTIME_COARSE;
	uint64_t ms = now_ms + (wall ? UINT64_C(1790000000000) : 0);

	if (!frozen || id == CLOCK_REALTIME)	/* which libFuzzer reads at any time */
		return (int)syscall(SYS_clock_gettime, id, ts);
	ts->tv_sec = (time_t)(ms / 1000);
	ts->tv_nsec = (long)(ms % 1000) * 1000000;
	return 0;
}

static void alarm_real(int fd, int64_t ns)
{
	struct itimerspec when = { .it_value = { ns / 1000000000, ns % 1000000000 } };

	syscall(SYS_timerfd_settime, fd, 0, &when, NULL);
}

/* Relative and once: what a worker asks for. */
int timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *was)
{
	int64_t ns = when->it_value.tv_sec * 1000000000 + when->it_value.tv_nsec;

	if (flags || was || when->it_interval.tv_sec || when->it_interval.tv_nsec || ns < 0)
		abort();
	alarm_fd = fd;
	alarm_ms = now_ms + (uint64_t)ns / 1000000;
	alarm_real(fd, frozen ? 0 : ns);
	return 0;
}

/* Later than anything that was set by the clock of the machine, however long that
 * has been up. */
void clock_freeze(void)
{
	struct timespec ts;

	clock_thaw();
	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (now_ms < (uint64_t)ts.tv_sec * 1000)
		now_ms = (uint64_t)ts.tv_sec * 1000;
	now_ms += 1000000;
	frozen = true;
	clock_jump(0);
}

void clock_jump(uint32_t ms)
{
	now_ms += ms;
	if (!alarm_ms || alarm_ms > now_ms)
		return;
	alarm_ms = 0;
	alarm_real(alarm_fd, 1);
	poll(&(struct pollfd){ .fd = alarm_fd, .events = POLLIN }, 1, -1);
}

void clock_thaw(void)
{
	frozen = false;
}
