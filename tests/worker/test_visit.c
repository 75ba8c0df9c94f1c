/* visit: looking at a worker from another thread. A worker that does not turn its
 * loop stands for one that hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quiet.h"
#include "worker/visit.h"

enum { LONG_MS = 60 * 1000 };

struct seen {
	unsigned calls, order[4];
	pthread_t by;
	struct worker *worker;
};

static struct spool spool;

static uint64_t in_ms(uint64_t ms)
{
	return clock_us() / 1000 + ms;
}

static void look(struct worker *w, void *arg)
{
	struct seen *s = arg;

	s->calls++;
	s->by = pthread_self();
	s->worker = w;
}

static void is_called_on_the_workers_thread(void **state)
{
	const char *why;
	struct worker *w = worker_start(0, config, &spool, NULL, 0, &why);
	struct seen seen = { 0 };

	assert_non_null(w);
	assert_true(visit_end(visit_begin(w, look, &seen), in_ms(LONG_MS)));
	assert_int_equal(seen.calls, 1);
	assert_ptr_equal(seen.worker, w);
	assert_true(pthread_equal(seen.by, w->thread));
	worker_tell(w, WORD_STOP);
	worker_free(w);
}

static void is_called_off_when_the_worker_hangs(void **state)
{
	const char *why;
	struct worker *w = worker_new(0, config, &spool, NULL, 0, &why);
	struct seen seen = { 0 };

	assert_false(visit_end(visit_begin(w, look, &seen), in_ms(20)));
	assert_int_equal(seen.calls, 0);
	worker_turn(w);				/* it lives again: too late */
	assert_int_equal(seen.calls, 0);
	worker_free(w);
}

static void nobody_came_for_it(void **state)
{
	const char *why;
	struct worker *w = worker_new(0, config, &spool, NULL, 0, &why);
	struct seen seen = { 0 };

	assert_false(visit_end(visit_begin(w, look, &seen), in_ms(1)));
	worker_free(w);				/* frees it: LeakSanitizer looks */
	assert_int_equal(seen.calls, 0);
	assert_false(visit_end(NULL, in_ms(LONG_MS)));
}

struct numbered {
	struct seen *seen;
	unsigned number;
};

static void note_order(struct worker *w, void *arg)
{
	struct numbered *step = arg;

	step->seen->order[step->seen->calls++] = step->number;
}

static void first_asked_first_served(void **state)
{
	const char *why;
	struct worker *w = worker_new(0, config, &spool, NULL, 0, &why);
	struct seen seen = { 0 };
	struct numbered steps[3] = { { &seen, 1 }, { &seen, 2 }, { &seen, 3 } };
	struct visit *visits[3];

	for (unsigned i = 0; i < 3; i++)
		visits[i] = visit_begin(w, note_order, &steps[i]);
	worker_turn(w);
	assert_int_equal(seen.calls, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(visit_end(visits[i], 0));
		assert_int_equal(seen.order[i], i + 1);
	}
	worker_free(w);
}

/* Time is up at about the moment the worker comes: either it was called, or it
 * never will be. */
static void a_race_has_one_winner(void **state)
{
	const char *why;
	struct worker *w = worker_start(0, config, &spool, NULL, 0, &why);
	unsigned came = 0, calls = 0;

	assert_non_null(w);
	for (unsigned i = 0; i < 500; i++) {
		struct seen seen = { 0 };
		bool said = visit_end(visit_begin(w, look, &seen), in_ms(0));

		assert_int_equal(seen.calls, said);
		came += said;
		calls += seen.calls;
	}
	assert_int_equal(came, calls);
	worker_tell(w, WORD_STOP);
	worker_free(w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_called_on_the_workers_thread),
		cmocka_unit_test(is_called_off_when_the_worker_hangs),
		cmocka_unit_test(nobody_came_for_it),
		cmocka_unit_test(first_asked_first_served),
		cmocka_unit_test(a_race_has_one_winner),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
