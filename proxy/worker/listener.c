/* listener: see the header. */
#include "worker/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "ground/log.h"
#include "worker/clients.h"
#include "worker/redirect.h"
#include "worker/session.h"

/* A worker with more than its part of the clients looks away from a socket that
 * others share for LOOK_AWAY_MS; a worker that hangs delays nobody for longer. */
enum { BATCH = 64, PAUSE_MS = 100, LOOK_AWAY_MS = 5 };

struct listener {
	struct listener *next;
	struct worker *worker;
	struct event accepting, pausing;
	int fd;
	bool tls, passed;
	enum { OPEN, PAUSED, LOOKS_AWAY, STOPPED } state;
};

/* -- accepting ------------------------------------------------------------------------ */

/* Without a timer to end it, there is no pause: a door must not stay shut. */
static void pause_accepting(struct listener *l, const char *reason)
{
	struct timeval tv = { 0, PAUSE_MS * 1000 };

	if (evtimer_add(&l->pausing, &tv) != 0)
		return;
	if (l->state != PAUSED)
		log_warn(NULL, "accepting is paused for %d ms: %s", PAUSE_MS, reason);
	l->state = PAUSED;
	event_del(&l->accepting);
	count(l->worker, COUNT_ACCEPT_PAUSES);
}

/* One line, so that a person sees why. What the kernel does not take is lost. */
static void turn_away(struct worker *w, int fd, enum why why)
{
	static const char words[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
		"Proxy-Status: retrywith; error=connection_limit_reached\r\n"
		"Content-Type: text/plain\r\nContent-Length: 46\r\nConnection: close\r\n\r\n"
		"retrywith: 503 too-many-clients: please retry\n";

	count(w, COUNT_REFUSED_CLIENTS);
	counter_add(&w->counters.why[why], 1);
	if (send(fd, words, sizeof words - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		shutdown(fd, SHUT_WR);
	close(fd);
}

static void welcome(struct listener *l, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct worker *w = l->worker;
	const struct config *c = w->now->config;
	struct session *s;
	struct tls_ctx *tls = l->tls ? snapshot_listen_tls(w->now) : NULL;

	if (l->tls && !tls) {
		close(fd);
		return;
	}
	if (!clients_enter(sa, w->max_clients, c->max_clients_per_address)) {
		turn_away(w, fd, WHY_TOO_MANY_CLIENTS);
		return;
	}
	count(w, COUNT_ACCEPTED);
	s = session_open(w, fd, sa, len, tls);
	if (!s)
		return;
	s->denied = access_client(&c->access, sa) != WHY_DONE;
	if (c->transparent && sa->sa_family != AF_UNIX)
		redirect_learn(s);
}

static void accept_some(struct listener *l, unsigned most)
{
	for (unsigned i = 0; i < most; i++) {
		struct sockaddr_storage sa = { 0 };
		socklen_t len = sizeof sa;
		int client = accept4(l->fd, (struct sockaddr *)&sa, &len,
				     SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (client >= 0) {
			welcome(l, client, (struct sockaddr *)&sa, len);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_accepting(l, strerror(errno));
		if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

static bool look_away(struct listener *l)
{
	struct timeval tv = { 0, LOOK_AWAY_MS * 1000 };

	if (!clients_unfair(l->worker->counters.clients, l->worker->now->config->workers) ||
	    evtimer_add(&l->pausing, &tv) != 0)
		return false;
	l->state = LOOKS_AWAY;
	event_del(&l->accepting);
	return true;
}

/* Of a socket that all workers share each takes one at a time: the kernel does not
 * spread the clients there. */
static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	if (!l->passed)
		accept_some(l, BATCH);
	else if (!look_away(l))
		accept_some(l, 1);
}

static void go_on(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	bool looked_away = l->state == LOOKS_AWAY;

	if (l->state == STOPPED)
		return;
	l->state = OPEN;
	if (event_add(&l->accepting, NULL) != 0)
		pause_accepting(l, strerror(ENOMEM));
	else if (looked_away)
		accept_some(l, 1);	/* a client that nobody else took by now */
}

bool listener_add(struct worker *w, const struct listening *from)
{
	struct listener *l = calloc(1, sizeof *l);

	if (!l)
		return false;
	l->worker = w;
	l->fd = from->fd;
	l->tls = from->tls;
	l->passed = from->passed;
	event_assign(&l->accepting, w->base, l->fd, EV_READ | EV_PERSIST, on_accept, l);
	evtimer_assign(&l->pausing, w->base, go_on, l);
	l->next = w->listeners;
	w->listeners = l;
	return event_add(&l->accepting, NULL) == 0;
}

/* Clients that come now are refused, rather than left to wait in a queue that
 * nobody looks at. */
void listeners_stop(struct worker *w)
{
	for (struct listener *l = w->listeners; l; l = l->next) {
		l->state = STOPPED;
		event_del(&l->accepting);
		event_del(&l->pausing);
		if (!l->passed)
			shutdown(l->fd, SHUT_RDWR);
	}
}

void listeners_free(struct worker *w)
{
	listeners_stop(w);
	while (w->listeners) {
		struct listener *l = w->listeners;

		w->listeners = l->next;
		free(l);
	}
}
