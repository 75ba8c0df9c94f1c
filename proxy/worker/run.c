/* run: the main thread. It opens sockets, starts workers, then only waits for
 * signals: it never touches a connection. */
#include "worker/run.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "ground/log.h"
#include "net/signer.h"
#include "worker/access_log.h"
#include "worker/admin.h"
#include "worker/ca.h"
#include "worker/manager.h"
#include "worker/sandbox.h"
#include "worker/sockets.h"
#include "worker/worker.h"

enum { WORKERS_MOST = 64, STEP_MS = 100 };

enum stage { STAGE_RUN, STAGE_DRAIN, STAGE_OVER };

struct process {
	struct config *config;
	struct sockets sockets;
	struct spool spool;
	struct worker *workers[WORKERS_MOST];
	unsigned workers_n;
	struct admin *admin;		/* NULL: none */
	uint64_t beats[WORKERS_MOST];	/* of each, when last looked at */
	uint32_t watchdog_ms;
	enum stage stage;
	uint64_t drain_until_ms;
	sigset_t signals;
};

static uint64_t now_ms(void)
{
	return clock_us() / 1000;
}

/* -- words to all workers ----------------------------------------------------------- */

static void tell_all(struct process *p, unsigned words)
{
	for (unsigned i = 0; i < p->workers_n; i++)
		worker_tell(p->workers[i], words);
}

/* What the configuration cannot know: the port that 0 became, systemd's sockets. */
static void fill_own(struct process *p, struct config *c)
{
	unsigned known = c->access.own_n, n = p->sockets.n;
	bool admin = p->sockets.admin.fd >= 0;
	struct sockaddr_storage *own = arena_get(c->arena, (known + n + 1) * sizeof *own);

	if (!own)
		return;
	if (known)
		memcpy(own, c->access.own, known * sizeof *own);
	for (unsigned i = 0; i < n; i++)
		own[known + i] = p->sockets.at[i * p->sockets.workers].addr;
	if (admin)
		own[known + n] = p->sockets.admin.addr;
	c->access.own = own;
	c->access.own_n = known + n + admin;
}

/* What TLS needs of a configuration: its files, and the signing process. */
static bool prepare_tls(struct config *c, const struct config *old, char *why, size_t size)
{
	return contexts_usable(c, why, size) && ca_sign_for(c, old, why, size);
}

/* The file again, ready for use; NULL, and the reason as malloc'ed text. */
static struct config *read_again(struct process *p, char **err)
{
	struct config *c = config_again(p->config, err);
	char why[512] = "out of memory";

	if (!c)
		return NULL;
	c->workers = p->sockets.workers;
	fill_own(p, c);
	if (prepare_tls(c, p->config, why, sizeof why))
		return c;
	*err = strdup(why);
	config_release(c);
	return NULL;
}

/* The status line of `systemctl status`. */
static void say_ready(struct process *p, const char *but, const char *why)
{
	char status[400];

	snprintf(status, sizeof status, "serving with %u worker%s%s%s%s", p->workers_n,
		 p->workers_n == 1 ? "" : "s", *but ? "; " : "", but, why);
	status[strcspn(status, "\n")] = '\0';
	manager_ready(status);
}

static void reload(struct process *p)
{
	char *err = NULL, waiting[256];
	struct config *c = read_again(p, &err);

	if (!c) {
		log_error(NULL, "the configuration stays as it was: %s", err ? err : "");
		admin_reloaded(p->admin, NULL);
		say_ready(p, "the new configuration is bad and not used: ", err ? err : "");
		free(err);
		return;
	}
	for (unsigned i = 0; i < p->workers_n; i++)
		worker_reconfigure(p->workers[i], c);
	admin_reloaded(p->admin, c);
	log_threshold = (enum log_level)c->log_level;
	log_notice(NULL, "the configuration was read again");
	if (config_waits(p->config, c, waiting, sizeof waiting)) {
		log_warn(NULL, "changed, but not used before a restart: %s", waiting);
		say_ready(p, "changed, but not used before a restart: ", waiting);
	} else {
		say_ready(p, "", "");
	}
	config_release(p->config);
	p->config = c;
}

static void drain(struct process *p)
{
	p->stage = STAGE_DRAIN;
	p->drain_until_ms = now_ms() + p->config->drain_timeout;
	log_notice(NULL, "draining: no new clients, at most %u s for what is under way",
		   p->config->drain_timeout / 1000);
	manager_stopping("draining: finishing what is under way");
	admin_draining(p->admin);
	tell_all(p, WORD_DRAIN);
}

static void stop(struct process *p)
{
	p->stage = STAGE_OVER;
	tell_all(p, WORD_STOP);
}

/* A new one is had by reading the configuration again, where starting programs is
 * still allowed; what was signed so far stays in use in any case. */
static void child_ended(struct process *p)
{
	if (p->stage != STAGE_RUN || !p->config->signer || !signer_has_ended(p->config->signer))
		return;
	log_error(NULL, "the process that signs for intercept has ended: hosts that were not "
		  "intercepted yet are answered 502 until it is started anew");
	reload(p);
}

static void on_signal(struct process *p, int sig)
{
	switch (sig) {
	case SIGCHLD:
		child_ended(p);
		return;
	case SIGTERM:
		if (p->stage == STAGE_RUN)
			drain(p);
		else
			stop(p);
		return;
	case SIGINT:
		stop(p);
		return;
	case SIGHUP:
		manager_reloading();
		reload(p);
		return;
	case SIGUSR1:
		if (!log_reopen())
			log_error(NULL, "cannot reopen the error log: %s", strerror(errno));
		tell_all(p, WORD_REOPEN);
		return;
	case SIGUSR2:
		tell_all(p, WORD_DUMP);
		return;
	}
}

/* -- waiting -------------------------------------------------------------------------- */

static bool all_ended(struct process *p)
{
	for (unsigned i = 0; i < p->workers_n; i++)
		if (!atomic_load(&p->workers[i]->ended))
			return false;
	return true;
}

/* The watchdog is fed only if every worker's loop has turned since it was last
 * woken: a worker that hangs takes the service down, and systemd restarts it. */
static void feed_watchdog(struct process *p)
{
	bool alive = true;

	for (unsigned i = 0; i < p->workers_n; i++) {
		uint64_t beats = atomic_load(&p->workers[i]->beats);

		alive = alive && beats != p->beats[i];
		p->beats[i] = beats;
	}
	if (alive)
		manager_feed();
	else
		log_error(NULL, "a worker does not answer: the watchdog is not fed");
	tell_all(p, 0);			/* wakes each loop for a turn */
}

/* The next signal; 0: it is time to look around. */
static int next_signal(struct process *p)
{
	uint32_t ms = p->stage == STAGE_RUN ? p->watchdog_ms : STEP_MS;
	struct timespec step = { ms / 1000, (ms % 1000) * 1000000L };
	int sig = ms ? sigtimedwait(&p->signals, NULL, &step) : sigwaitinfo(&p->signals, NULL);

	return sig > 0 ? sig : 0;
}

static void wait_for_end(struct process *p)
{
	uint64_t fed = now_ms();

	p->watchdog_ms = manager_watchdog_ms();
	tell_all(p, 0);
	while (!all_ended(p)) {
		int sig = next_signal(p);

		if (sig)
			on_signal(p, sig);
		else if (p->stage == STAGE_DRAIN && now_ms() > p->drain_until_ms)
			stop(p);
		if (p->watchdog_ms && now_ms() - fed >= p->watchdog_ms) {
			feed_watchdog(p);
			fed = now_ms();
		}
	}
}

/* -- starting --------------------------------------------------------------------------- */

static void block_signals(struct process *p)
{
	static const int ours[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* a spool file at its limit is an errno */
	sigemptyset(&p->signals);
	for (unsigned i = 0; i < sizeof ours / sizeof *ours; i++)
		sigaddset(&p->signals, ours[i]);
	pthread_sigmask(SIG_BLOCK, &p->signals, NULL);
}

static void raise_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

/* What passes through us is others' secrets: it must not end in a core file. */
static void forbid_cores(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
}

static unsigned workers_wanted(const struct config *c)
{
	cpu_set_t cpus;
	unsigned n = c->workers;

	if (!n && sched_getaffinity(0, sizeof cpus, &cpus) == 0)
		n = (unsigned)CPU_COUNT(&cpus);
	return n < 1 ? 1 : n > WORKERS_MOST ? WORKERS_MOST : n;
}

static int start(struct process *p)
{
	unsigned wanted = p->sockets.workers;

	for (unsigned i = 0; i < wanted; i++) {
		struct listening l[LISTENERS_MOST];
		unsigned n = sockets_of(&p->sockets, i, l);
		const char *why = "";

		p->workers[i] = worker_start(i, p->config, &p->spool, l, n, &why);
		if (!p->workers[i]) {
			log_error(NULL, "cannot start worker %u: %s", i, why);
			return EXIT_FAILURE;
		}
		p->workers_n++;
	}
	return 0;
}

/* The first address where clients are served in plain HTTP. */
static const struct sockaddr_storage *proxy_address(const struct sockets *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct listening *l = &s->at[i * s->workers];

		if (!l->tls && l->addr.ss_family != AF_UNIX)
			return &l->addr;
	}
	return NULL;
}

static int start_admin(struct process *p)
{
	const char *why = "";
	struct admin_options o = {
		.fd = p->sockets.admin.fd, .workers = p->workers, .workers_n = p->workers_n,
		.spool = &p->spool, .config = p->config, .proxy = proxy_address(&p->sockets),
	};

	if (o.fd < 0)
		return 0;
	p->admin = admin_start(&o, &why);
	if (p->admin)
		return 0;
	log_error(NULL, "admin: %s", why);
	return EX_UNAVAILABLE;
}

static int cannot_write(const char *option, const char *path)
{
	log_error(NULL, "%s %s: %s", option, path, strerror(errno));
	return EX_CANTCREAT;
}

static int open_error_log(const struct config *c)
{
	const char *path = c->error_log.at;

	log_threshold = (enum log_level)c->log_level;
	if (log_open(strcmp(path, "-") && *path ? path : NULL))
		return 0;
	return cannot_write("error-log", path);
}

/* Each worker opens it for itself; once before, so that a reason is told. */
static int try_access_log(const struct config *c)
{
	struct access_log *log = access_log_new(c->access_log.at, NULL);

	if (!log && errno)
		return cannot_write("access-log", c->access_log.at);
	access_log_free(log);
	return 0;
}

/* We can go on without these, but whoever named them should know. */
static void look_at_files(const struct config *c)
{
	if (access(c->spool_dir.at, W_OK | X_OK) != 0)
		log_warn(NULL, "spool-dir %s: %s: no 449 to a body beyond body-memory can be "
			 "answered", c->spool_dir.at, strerror(errno));
	if (c->hosts_file.len && access(c->hosts_file.at, R_OK) != 0)
		log_warn(NULL, "hosts-file %s: %s: no name is found in it", c->hosts_file.at,
			 strerror(errno));
}

static int prepare(struct process *p)
{
	struct config *c = p->config;
	int status = open_error_log(c);
	char why[512] = "";

	if (status)
		return status;
	block_signals(p);
	raise_descriptors();
	forbid_cores();
	p->spool.dir = c->spool_dir.at;
	p->spool.total = c->spool_total;
	status = sockets_open(&p->sockets, c, workers_wanted(c));
	if (status)
		return status;
	c->workers = p->sockets.workers;
	fill_own(p, c);
	if (!prepare_tls(c, NULL, why, sizeof why)) {
		log_error(NULL, "%s", why);
		return EX_CONFIG;
	}
	status = sandbox_drop_root(c);
	if (!status)
		status = try_access_log(c);	/* its owner is whom we became */
	if (status)
		return status;
	look_at_files(c);
	sandbox_enter(c);
	status = start(p);
	return status ? status : start_admin(p);
}

int run_main(struct config *c)
{
	static struct process p;
	int status;

	p = (struct process){ .config = c };
	status = prepare(&p);
	if (!status) {
		sockets_say(&p.sockets);
		say_ready(&p, "", "");
		wait_for_end(&p);
	} else {
		stop(&p);
	}
	admin_stop(p.admin);
	for (unsigned i = 0; i < p.workers_n; i++)
		worker_free(p.workers[i]);
	sockets_close(&p.sockets);
	config_release(p.config);
	return status;
}
