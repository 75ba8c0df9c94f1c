/* admin: the listener for those who look after the proxy: metrics, health, the
 * flight recorder, a page to look at, and what browsers want to be set up with. It
 * changes nothing. A thread of its own, which touches no connection of a client and
 * looks at workers by visits only (census.h). HTTP is libmicrohttpd's. */
#ifndef WORKER_ADMIN_H
#define WORKER_ADMIN_H

#include "worker/worker.h"

struct admin;

struct admin_options {
	int fd;				/* listening, not blocking; stays the caller's */
	struct worker *const *workers;	/* outlive it */
	unsigned workers_n;
	const struct spool *spool;
	struct config *config;		/* held */
	const struct sockaddr_storage *proxy;	/* where clients are served; NULL: nowhere by TCP */
};

#ifdef HAVE_ADMIN
/* NULL and *why on failure. */
struct admin *admin_start(const struct admin_options *o, const char **why);
/* A configuration was read again: this one is used now, or NULL: it was bad. */
void admin_reloaded(struct admin *a, struct config *c);
void admin_draining(struct admin *a);		/* not ready any more */
void admin_stop(struct admin *a);
#else
static inline struct admin *admin_start(const struct admin_options *o, const char **why)
{
	*why = "this build has no admin listener (libmicrohttpd was not there)";
	return NULL;
}
static inline void admin_reloaded(struct admin *a, struct config *c) { }
static inline void admin_draining(struct admin *a) { }
static inline void admin_stop(struct admin *a) { }
#endif

#endif
