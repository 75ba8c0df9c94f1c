/* A loop for the tests of net, turned by hand, with time of its own: the clock
 * stands still until a test lets time pass, for ground/clock and for libevent
 * alike. To be included once, by the test's .c file. */
#ifndef TESTS_NET_LOOP_H
#define TESTS_NET_LOOP_H

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "net/conn.h"

enum { TURNS_MOST = 5000 };		/* 1 ms each: what loopback may take */

static uint64_t time_ms = 1000000;
static struct event_base *base;
static struct net net;
static unsigned fds_before;

/* Ours comes first when the program is linked, so libevent gets it, too. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	*ts = (struct timespec){ (time_t)(time_ms / 1000), (long)(time_ms % 1000 * 1000000) };
	return 0;
}

static inline void turn(void)
{
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	clock_turn();
	net_bury(&net);
}

static inline void nap(void)
{
	nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
}

/* Turns the loop until `condition`, or fails. */
#define TURN_UNTIL(condition) \
	do { \
		for (int turns_ = 0; !(condition); turns_++) { \
			if (turns_ == TURNS_MOST) \
				fail_msg("waited in vain: %s", #condition); \
			turn(); \
			if (turns_ > 10) \
				nap(); \
		} \
	} while (0)

/* Nothing more is to come: enough turns for whatever is under way on loopback. */
static inline void turn_quiet(void)
{
	for (int i = 0; i < 20; i++) {
		turn();
		nap();
	}
}

static inline void pass(uint64_t ms)
{
	time_ms += ms;
	clock_turn();
	turn();
	deadlines_run(&net.deadlines);
	turn();
}

static inline unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static inline void loop_open(void)
{
	signal(SIGPIPE, SIG_IGN);
	clock_turn();
	fds_before = count_fds();
	base = event_base_new();
	assert_non_null(base);
	net_init(&net, base);
}

/* Everything must be gone by now. */
static inline void loop_close(void)
{
	net_bury(&net);
	assert_int_equal(net.deadlines.set, 0);
	assert_int_equal(net.opened, net.closed);
	net_free(&net);
	event_base_free(base);
	assert_int_equal(count_fds(), fds_before);
}

struct door {				/* a listening socket */
	int fd;
	struct sockaddr_in at;
};

/* On 127.0.0.`host`; port 0: a free one. False: that port is taken there. */
static inline bool door_open(struct door *d, uint8_t host, uint16_t port, int backlog)
{
	socklen_t len = sizeof(d->at);

	d->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	d->at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(0x7f000000u | host) };
	if (bind(d->fd, (struct sockaddr *)&d->at, len) != 0 || listen(d->fd, backlog) != 0) {
		close(d->fd);
		d->fd = -1;
		return false;
	}
	getsockname(d->fd, (struct sockaddr *)&d->at, &len);
	return true;
}

static inline uint16_t door_port(const struct door *d)
{
	return ntohs(d->at.sin_port);
}

static inline void door_close(struct door *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

#endif
