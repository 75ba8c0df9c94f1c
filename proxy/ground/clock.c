/* clock: the two kernel clocks, read lazily once per turn, and the queues of
 * deadlines. The coarse clocks are enough for deadlines of whole ticks and for
 * dates of whole seconds, and cost no system call. */
#include "ground/clock.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

_Thread_local uint64_t clock_now_ms;

static _Thread_local struct {
	time_t wall, dated;
	bool wall_fresh;
	char date[64];
} now;

uint64_t clock_read_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	clock_now_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	return clock_now_ms;
}

time_t clock_wall(void)
{
	if (!now.wall_fresh) {
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME_COARSE, &ts);
		now.wall = ts.tv_sec;
		now.wall_fresh = true;
	}
	return now.wall;
}

/* Not strftime: names of days and months are English whatever the locale. */
const char *clock_date(void)
{
	static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul",
					  "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t wall = clock_wall();
	struct tm tm;

	if (wall == now.dated && now.date[0])
		return now.date;
	gmtime_r(&wall, &tm);
	snprintf(now.date, sizeof now.date, "%s, %02d %s %04d %02d:%02d:%02d GMT",
		 days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
		 tm.tm_hour, tm.tm_min, tm.tm_sec);
	now.dated = wall;
	return now.date;
}

void clock_turn(void)
{
	clock_now_ms = 0;
	now.wall_fresh = false;
}

uint64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void deadlines_init(struct deadlines *all)
{
	memset(all, 0, sizeof *all);
	for (unsigned i = 0; i < DEADLINE_CLASSES; i++)
		all->queue[i].prev = all->queue[i].next = &all->queue[i];
}

void deadline_clear(struct deadlines *all, struct deadline *d)
{
	if (!d->next)
		return;
	d->prev->next = d->next;
	d->next->prev = d->prev;
	d->prev = d->next = NULL;
	all->set--;
}

void deadline_set(struct deadlines *all, struct deadline *d, enum deadline_class class)
{
	struct deadline *queue = &all->queue[class];

	assert(d->fn);
	deadline_clear(all, d);
	if (!all->length_ms[class])
		return;
	d->class = class;
	d->at_ms = clock_ms() + all->length_ms[class];
	d->next = queue;
	d->prev = queue->prev;
	d->prev->next = d;
	queue->prev = d;
	all->set++;
}

static void run_class(struct deadlines *all, struct deadline *queue, uint64_t ms)
{
	while (queue->next != queue && queue->next->at_ms <= ms) {
		struct deadline *d = queue->next;

		deadline_clear(all, d);
		d->fn(d);
	}
}

void deadlines_run(struct deadlines *all)
{
	uint64_t ms = clock_ms();

	for (unsigned i = 0; i < DEADLINE_CLASSES; i++)
		run_class(all, &all->queue[i], ms);
}
