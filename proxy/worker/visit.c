/* visit: see the header. A visit has two holders, who asked and the worker; the
 * last one frees it. One atomic word decides who is first when the time is up
 * just as the worker comes. */
#include "worker/visit.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

enum { ASKED, COMING, DONE, CALLED_OFF };

struct visit {
	struct visit *next;
	visit_fn *fn;
	void *arg;
	_Atomic int state;
	_Atomic unsigned holders;
	sem_t done;
};

static void let_go(struct visit *v)
{
	if (atomic_fetch_sub(&v->holders, 1) > 1)
		return;
	sem_destroy(&v->done);
	free(v);
}

struct visit *visit_begin(struct worker *w, visit_fn *fn, void *arg)
{
	struct visit *v = calloc(1, sizeof *v);

	if (!v)
		return NULL;
	v->fn = fn;
	v->arg = arg;
	v->holders = 2;
	sem_init(&v->done, 0, 0);
	v->next = atomic_load(&w->visits);
	while (!atomic_compare_exchange_weak(&w->visits, &v->next, v))
		;
	worker_tell(w, WORD_VISIT);
	return v;
}

/* True: the worker is done. */
static bool wait_until(struct visit *v, uint64_t until_ms)
{
	struct timespec until = { (time_t)(until_ms / 1000), (long)(until_ms % 1000) * 1000000 };
	int failed;

	do
		failed = sem_clockwait(&v->done, CLOCK_MONOTONIC, &until);
	while (failed && errno == EINTR);
	return !failed;
}

static void wait_for_worker(struct visit *v)
{
	while (sem_wait(&v->done) != 0)
		;			/* EINTR */
}

bool visit_end(struct visit *v, uint64_t until_ms)
{
	int expected = ASKED;
	bool came;

	if (!v)
		return false;
	came = wait_until(v, until_ms);
	if (!came && !atomic_compare_exchange_strong(&v->state, &expected, CALLED_OFF)) {
		wait_for_worker(v);	/* it is at it: arg must stay until it is done */
		came = true;
	}
	assert(!came || atomic_load(&v->state) == DONE);
	let_go(v);
	return came;
}

/* Those asked for first come first. */
static struct visit *take_all(struct worker *w)
{
	struct visit *v = atomic_exchange(&w->visits, NULL), *first = NULL, *next;

	for (; v; v = next) {
		next = v->next;
		v->next = first;
		first = v;
	}
	return first;
}

void visits_run(struct worker *w)
{
	struct visit *next;

	for (struct visit *v = take_all(w); v; v = next) {
		int expected = ASKED;

		next = v->next;
		if (atomic_compare_exchange_strong(&v->state, &expected, COMING)) {
			v->fn(w, v->arg);
			atomic_store(&v->state, DONE);
			sem_post(&v->done);
		}
		let_go(v);
	}
}

void visits_drop(struct worker *w)
{
	struct visit *next;

	for (struct visit *v = take_all(w); v; v = next) {
		next = v->next;
		let_go(v);
	}
}
