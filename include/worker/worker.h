/* worker: one thread, one loop, and everything a connection needs, shared with
 * nobody: pool, resolver, TLS contexts, memory of origins, counters. Other
 * threads talk to it by worker_tell() and visit.h only. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <pthread.h>
#include "net/conn.h"
#include "net/pool.h"
#include "net/resolver.h"
#include "policy/learn.h"
#include "http/body.h"
#include "worker/config.h"
#include "worker/counters.h"
#include "worker/origins.h"

struct access_log;
struct login;
struct recorder;
struct session;
struct transaction;
struct listener;
struct event;
struct mint;
struct visit;

/* One configuration as one worker uses it: freed when retired and unused. */
struct snapshot {
	struct config *config;
	struct tls_ctx *upstream_tls, **rule_tls, *listen_tls, *inside_tls;
	struct pool_via parent, parent_tunnel;	/* for http:// requests; for all others */
	struct mint *mint;			/* NULL: nothing is intercepted */
	struct reader_limits limits;
	struct str own_via;			/* to find ourselves in a Via */
	struct str via_line;			/* "1.1 pseudonym" */
	unsigned users;
	bool retired;
	struct worker *worker;
};

enum worker_word { WORD_CONFIG = 1, WORD_DRAIN = 2, WORD_STOP = 4, WORD_REOPEN = 8,
		   WORD_DUMP = 16, WORD_VISIT = 32 };

struct worker {
	unsigned index;
	pthread_t thread;
	struct event_base *base;
	struct net net;
	struct resolver *resolver;
	struct pool *pool;
	struct learn *learn;
	struct login *login;
	struct recorder *recorder;
	struct access_log *log;
	struct snapshot *now;
	struct spool *spool;			/* shared by all workers */
	struct counters counters;
	struct origins origins;
	struct listener *listeners;
	uint64_t max_clients;			/* of all workers */
	size_t memory_most;			/* octets in blocks: this worker's share */
	struct session *sessions;		/* all of them */
	struct session *spare_sessions;
	struct transaction *spare_transactions;
	uint64_t next_id;
	struct event *tick, *ear;
	int tick_fd, ear_fd;			/* timerfd, eventfd */
	_Atomic unsigned words;			/* enum worker_word, not yet heard */
	_Atomic(struct config *) next_config;
	_Atomic(struct visit *) visits;	/* asked for: see visit.h */
	_Atomic uint64_t beats;			/* turns of the loop: for the watchdog */
	void (*watch)(void *arg, const struct transaction *t);	/* each exchange as it ends */
	void *watch_arg;
	_Atomic bool ended;			/* the loop is left */
	bool draining, stopping, threaded, ticking;
};

/* What main gives a worker: listening sockets it may accept on. */
struct listening {
	int fd;
	bool tls;
	bool passed;			/* by systemd, which goes on listening */
	struct sockaddr_storage addr;
	socklen_t len;
};

/* Starts the thread. c is held by the worker. NULL and *why on failure. */
struct worker *worker_start(unsigned index, struct config *c, struct spool *spool,
			    const struct listening *l, unsigned n, const char **why);
/* The same without a thread, for tests and `check`: the caller runs the loop. */
struct worker *worker_new(unsigned index, struct config *c, struct spool *spool,
			  const struct listening *l, unsigned n, const char **why);
void worker_run(struct worker *w);		/* until it is stopped */
void worker_turn(struct worker *w);		/* one turn of its loop */
void worker_poll(struct worker *w);		/* the same, without waiting */
void worker_free(struct worker *w);
/* From any thread. */
void worker_tell(struct worker *w, unsigned words);
void worker_reconfigure(struct worker *w, struct config *c);
void worker_join(struct worker *w);

struct snapshot *snapshot_hold(struct worker *w);
void snapshot_release(struct snapshot *s);

/* contexts.c. NULL when it cannot be made (logged). */
/* For https origins: that of the rule (or NULL) when it has one, else that of all. */
struct tls_ctx *snapshot_upstream_tls(struct snapshot *s, const struct rule *r);
bool rule_has_tls(const struct rule *r);
/* For listen-tls, and for clients inside an intercepted CONNECT. */
struct tls_ctx *snapshot_listen_tls(struct snapshot *s);
struct tls_ctx *snapshot_inside_tls(struct snapshot *s);
void contexts_free(struct snapshot *s);
/* Can all files that the configuration names be used? The reason, if not. */
bool contexts_usable(const struct config *c, char *why, size_t size);

static inline void count(struct worker *w, enum counter c)
{
	counter_add(&w->counters.n[c], 1);
}

#endif
