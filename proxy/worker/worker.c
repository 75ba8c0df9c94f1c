/* worker: the loop of one thread. Between two turns it buries dead connections,
 * writes the access log, and arms the one coarse tick that serves every
 * deadline. Messages arrive as bits in an atomic word and an eventfd. */
#include "worker/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/ssl.h>

#include "ground/log.h"
#include "net/mint.h"
#include "worker/access_log.h"
#include "worker/listener.h"
#include "worker/login.h"
#include "worker/parent.h"
#include "worker/recorder.h"
#include "worker/session.h"
#include "worker/transaction.h"
#include "worker/visit.h"

enum {
	RECORDED = 64,			/* challenged exchanges in the flight recorder */
	LEARN_ENTRIES = 4096,
	LEAVES = 512,			/* certificates kept for intercepted hosts */
	CHALLENGER_MS = 10 * 60 * 1000,
	IDLE_PER_KEY = 256, IDLE_IN_ALL = 8192,
	ATTEMPT_DELAY_MS = 250,		/* RFC 8305 5 */
	LINGER_MS = 2000, DRAIN_IDLE_MS = 1000, DRAIN_QUIET_MS = 5000,
	FDS_PER_CLIENT = 2, FDS_SPARE = 64,
};

/* -- configuration ------------------------------------------------------------------- */

struct snapshot *snapshot_hold(struct worker *w)
{
	w->now->users++;
	return w->now;
}

static void snapshot_free(struct snapshot *s)
{
	contexts_free(s);
	mint_free(s->mint);
	config_release(s->config);
	free((void *)s->via_line.at);
	free(s);
}

void snapshot_release(struct snapshot *s)
{
	if (--s->users == 0 && s->retired)
		snapshot_free(s);
}

/* A signing process that stays has one mint in each worker, and what it knows. */
static struct mint *mint_for(struct worker *w, const struct config *c)
{
	const struct snapshot *old = w->now;

	if (old && old->mint && old->config->signer == c->signer)
		return mint_hold(old->mint);
	return mint_new(w->base, c->signer, w->index, LEAVES);
}

static struct snapshot *snapshot_new(struct worker *w, struct config *c)
{
	struct snapshot *s = calloc(1, sizeof *s);
	char *line;

	if (!s)
		return NULL;
	if (asprintf(&line, "1.1 %.*s", STR_FMT(c->via)) < 0) {
		free(s);
		return NULL;
	}
	s->worker = w;
	s->config = config_hold(c);
	s->own_via = c->via;
	s->via_line = c->via.len ? str_of(line) : (struct str){ line, 0 };
	parent_open(s);
	s->limits = (struct reader_limits){
		.head = (uint32_t)c->head_limit, .line = (uint32_t)(c->head_limit / 2),
		.fields = (uint16_t)c->fields_limit, .extensions = 16384, .trailer = 16384,
		.interim = 16,
	};
	if (!c->signer || (s->mint = mint_for(w, c)))
		return s;
	snapshot_free(s);
	return NULL;
}

static void set_lengths(struct worker *w, const struct config *c)
{
	uint32_t *ms = w->net.deadlines.length_ms;

	ms[DEADLINE_HEAD] = c->head_timeout;
	ms[DEADLINE_BODY] = c->body_timeout;
	ms[DEADLINE_IDLE] = c->idle_timeout;
	ms[DEADLINE_WRITE] = c->write_timeout;
	ms[DEADLINE_CONNECT] = c->connect_timeout;
	ms[DEADLINE_RESPONSE] = c->response_timeout;
	ms[DEADLINE_MIDWAY] = c->read_timeout;
	ms[DEADLINE_TUNNEL] = c->tunnel_timeout;
	ms[DEADLINE_POOL] = c->pool_timeout;
	ms[DEADLINE_LINGER] = LINGER_MS;
	ms[DEADLINE_DRAIN] = DRAIN_IDLE_MS;
}

static uint64_t share(const struct config *c, uint64_t of)
{
	uint64_t workers = c->workers ? c->workers : 1;

	return (of + workers - 1) / workers;
}

/* A client may need two descriptors, and a pipe or a spool file at times. */
static uint64_t clients_at_all(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur > FDS_SPARE)
		return (r.rlim_cur - FDS_SPARE) / FDS_PER_CLIENT;
	return 1000;
}

static uint64_t clients_most(const struct config *c)
{
	uint64_t most = clients_at_all();

	return c->max_clients && c->max_clients < most ? c->max_clients : most;
}

/* As many as busy ones could be at most: descriptors are not for keeping alone. */
static uint32_t idle_most(const struct config *c)
{
	uint64_t most = share(c, clients_at_all());

	return most < IDLE_IN_ALL ? (uint32_t)most : IDLE_IN_ALL;
}

static bool use_config(struct worker *w, struct config *c)
{
	struct snapshot *s = snapshot_new(w, c), *old = w->now;

	if (!s)
		return false;
	w->now = s;
	w->max_clients = clients_most(c);
	w->memory_most = share(c, c->memory_total);
	set_lengths(w, c);
	if (!old)
		return true;
	pool_flush(w->pool);		/* keys hold the old TLS context */
	old->retired = true;
	old->users++;
	snapshot_release(old);
	return true;
}

/* -- words from other threads ----------------------------------------------------------- */

/* For a person who waits for the end: what for, or what was not waited for. */
static void say_open(struct worker *w, const char *what)
{
	unsigned exchanges = 0, tunnels = 0;

	for (struct session *s = w->sessions; s; s = s->next) {
		exchanges += s->phase == SESSION_HEAD || s->phase == SESSION_BUSY;
		tunnels += s->phase == SESSION_TUNNEL;
	}
	if (exchanges || tunnels)
		log_notice(NULL, "worker %u %s %u exchange%s and %u tunnel%s", w->index, what,
			   exchanges, exchanges == 1 ? "" : "s", tunnels, tunnels == 1 ? "" : "s");
}

/* A tunnel never says that it is done: one in which nothing moves is taken for
 * a connection that a client keeps for later, and does not hold up a restart. */
static void drain(struct worker *w)
{
	struct session *next;
	uint32_t *quiet_ms = &w->net.deadlines.length_ms[DEADLINE_TUNNEL];

	w->draining = true;
	listeners_stop(w);
	say_open(w, "waits for");
	if (*quiet_ms == 0 || *quiet_ms > DRAIN_QUIET_MS)
		*quiet_ms = DRAIN_QUIET_MS;
	for (struct session *s = w->sessions; s; s = next) {
		next = s->next;
		session_drain(s);
	}
}

static void reopen_log(struct worker *w)
{
	const struct config *c = w->now->config;
	const char *path = c->access_log.at;

	if (w->log && !access_log_reopen(w->log))
		log_error(NULL, "cannot reopen %s: %s", path, strerror(errno));
}

static void hear(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	uint64_t n;
	unsigned words;
	struct config *c;

	if (read(fd, &n, sizeof n) < 0)
		return;
	words = atomic_exchange(&w->words, 0);
	if (words & WORD_CONFIG && (c = atomic_exchange(&w->next_config, NULL))) {
		if (!use_config(w, c))
			log_error(NULL, "out of memory: the configuration stays as it was");
		config_release(c);
	}
	if (words & WORD_REOPEN)
		reopen_log(w);
	if (words & WORD_DUMP)
		recorder_dump_text(w->recorder, stderr);
	if (words & WORD_VISIT)
		visits_run(w);
	if (words & WORD_DRAIN)
		drain(w);
	if (words & WORD_STOP)
		w->stopping = true;
}

void worker_tell(struct worker *w, unsigned words)
{
	uint64_t one = 1;

	atomic_fetch_or(&w->words, words);
	if (write(w->ear_fd, &one, sizeof one) < 0)
		return;			/* the counter is full: it will wake anyway */
}

void worker_reconfigure(struct worker *w, struct config *c)
{
	struct config *missed = atomic_exchange(&w->next_config, config_hold(c));

	if (missed)
		config_release(missed);
	worker_tell(w, WORD_CONFIG);
}

/* -- the loop ------------------------------------------------------------------------------ */

static void ticked(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	uint64_t times;

	if (read(fd, &times, sizeof times) < 0)
		return;			/* not yet: it will be readable again */
	w->ticking = false;
	deadlines_run(&w->net.deadlines);
}

/* A timer of the kernel's that stays set while the worker sleeps and wakes. One of
 * libevent's would be given to the kernel anew with every wait. */
static void arm_tick(struct worker *w)
{
	static const struct itimerspec once = { .it_value.tv_nsec = CLOCK_TICK_MS * 1000000L };

	if (!w->ticking)
		w->ticking = timerfd_settime(w->tick_fd, 0, &once, NULL) == 0;
}

static void turn(struct worker *w, int how)
{
	if (w->net.deadlines.set || access_log_waits(w->log))
		arm_tick(w);
	event_base_loop(w->base, how);
	clock_turn();
	net_bury(&w->net);
	if (w->log)
		access_log_turn(w->log);
	atomic_store_explicit(&w->beats, w->beats + 1, memory_order_relaxed);
}

void worker_turn(struct worker *w)
{
	turn(w, EVLOOP_ONCE);
}

void worker_poll(struct worker *w)
{
	turn(w, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

void worker_run(struct worker *w)
{
	while (!w->stopping && !(w->draining && !w->sessions))
		worker_turn(w);
	say_open(w, "cuts off");
	while (w->sessions)
		session_kill(w->sessions);
	access_log_flush(w->log);
	atomic_store(&w->ended, true);
}

/* What belongs to the thread that ran the loop. */
static void let_go(struct worker *w)
{
	listeners_free(w);
	pool_free(w->pool);
	w->pool = NULL;
	transactions_free(w);
	while (w->spare_sessions) {
		struct session *s = w->spare_sessions;

		w->spare_sessions = s->next;
		free(s);
	}
	if (w->base)
		net_free(&w->net);
}

static void *thread_main(void *arg)
{
	struct worker *w = arg;
	char name[16];

	snprintf(name, sizeof name, "worker-%u", w->index);
	pthread_setname_np(pthread_self(), name);
	worker_run(w);
	net_bury(&w->net);
	let_go(w);
	block_sweep();
	return NULL;
}

/* -- life ------------------------------------------------------------------------------------ */

static struct event_base *base_new(void)
{
	struct event_config *c = event_config_new();
	struct event_base *base;

	if (!c)
		return NULL;
	event_config_set_flag(c, EVENT_BASE_FLAG_NOLOCK);
	event_config_set_flag(c, EVENT_BASE_FLAG_IGNORE_ENV);
	base = event_base_new_with_config(c);
	event_config_free(c);
	return base;
}

static bool make_rooms(struct worker *w)
{
	const struct config *c = w->now->config;
	struct resolver_options r = {
		.timeout_ms = c->connect_timeout, .cache_most = 4096, .cache_ttl_most_s = 60,
		.servers = c->dns_servers.len ? c->dns_servers.at : NULL,
		.hosts_file = c->hosts_file.len ? c->hosts_file.at : NULL,
	};
	struct pool_options p = { IDLE_PER_KEY, idle_most(c), ATTEMPT_DELAY_MS,
				  c->connect_timeout };
	struct learn_options l = { LEARN_ENTRIES, CHALLENGER_MS, c->breaker_trips,
				   c->breaker_pause };

	w->resolver = resolver_new(w->base, &r);
	w->pool = w->resolver ? pool_new(&w->net, w->resolver, &p) : NULL;
	w->learn = learn_new(&l);
	w->login = login_new(w->base);
	w->recorder = recorder_new(RECORDED);
	return w->pool && w->learn && w->login && w->recorder;
}

static bool make_ears(struct worker *w)
{
	w->ear_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	w->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (w->ear_fd < 0 || w->tick_fd < 0)
		return false;
	w->ear = event_new(w->base, w->ear_fd, EV_READ | EV_PERSIST, hear, w);
	w->tick = event_new(w->base, w->tick_fd, EV_READ | EV_PERSIST, ticked, w);
	return w->ear && w->tick && event_add(w->ear, NULL) == 0 && event_add(w->tick, NULL) == 0;
}

static bool open_log(struct worker *w, const char **why)
{
	const struct config *c = w->now->config;

	w->log = access_log_new(c->access_log.at, &w->counters);
	if (w->log || errno == 0)
		return true;
	*why = "the access log cannot be opened";
	return false;
}

struct worker *worker_new(unsigned index, struct config *c, struct spool *spool,
			  const struct listening *l, unsigned n, const char **why)
{
	struct worker *w = calloc(1, sizeof *w);

	*why = "out of memory or descriptors";
	if (!w)
		return NULL;
	w->index = index;
	w->spool = spool;
	w->ear_fd = w->tick_fd = -1;
	w->base = base_new();
	if (!w->base || (net_init(&w->net, w->base), !use_config(w, c)) || !make_rooms(w) ||
	    !make_ears(w) || !open_log(w, why)) {
		worker_free(w);
		return NULL;
	}
	for (unsigned i = 0; i < n; i++)
		if (!listener_add(w, &l[i])) {
			worker_free(w);
			return NULL;
		}
	return w;
}

struct worker *worker_start(unsigned index, struct config *c, struct spool *spool,
			    const struct listening *l, unsigned n, const char **why)
{
	struct worker *w = worker_new(index, c, spool, l, n, why);

	if (!w)
		return NULL;
	w->threaded = true;
	if (pthread_create(&w->thread, NULL, thread_main, w) == 0)
		return w;
	*why = "no thread";
	w->threaded = false;
	worker_free(w);
	return NULL;
}

void worker_join(struct worker *w)
{
	if (w->threaded)
		pthread_join(w->thread, NULL);
	w->threaded = false;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	worker_join(w);
	let_go(w);
	if (w->resolver)
		resolver_free(w->resolver);
	visits_drop(w);
	learn_free(w->learn);
	login_free(w->login);
	recorder_free(w->recorder);
	access_log_free(w->log);
	if (w->ear)
		event_free(w->ear);
	if (w->tick)
		event_free(w->tick);
	if (w->ear_fd >= 0)
		close(w->ear_fd);
	if (w->tick_fd >= 0)
		close(w->tick_fd);
	if (w->now)
		snapshot_free(w->now);
	if (w->base)
		event_base_free(w->base);
	free(w);
}
