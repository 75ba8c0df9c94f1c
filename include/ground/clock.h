/* clock: one reading of the kernel's clocks per turn of a worker's loop, and
 * deadlines of a few constant lengths.
 *
 * A class of deadlines has one length, so its queue is in order of expiry by
 * construction: setting is O(1), running looks at heads only. One coarse tick
 * per worker serves all classes (CLOCK_TICK_MS). */
#ifndef GROUND_CLOCK_H
#define GROUND_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { CLOCK_TICK_MS = 250 };

/* Monotonic milliseconds; read at most once between two clock_turn() calls. */
static inline uint64_t clock_ms(void);
/* Seconds since 1970 as of the same reading; follows steps of the wall clock. */
time_t clock_wall(void);
/* The current second as IMF-fixdate, 29 octets (RFC 9110 5.6.7); good until
 * the next clock_turn(). */
const char *clock_date(void);
/* The turn of the loop ended: the next question reads the clocks again. */
void clock_turn(void);
/* Monotonic microseconds, read now: for measuring, not on the hot path. */
uint64_t clock_us(void);

extern _Thread_local uint64_t clock_now_ms;	/* clock_ms()'s: 0 is not read yet */
uint64_t clock_read_ms(void);

static inline uint64_t clock_ms(void)
{
	return clock_now_ms ? clock_now_ms : clock_read_ms();
}

enum deadline_class {
	DEADLINE_HEAD,			/* a whole request head */
	DEADLINE_BODY,			/* the next part of a request body */
	DEADLINE_IDLE,			/* between two requests */
	DEADLINE_WRITE,			/* the client takes nothing */
	DEADLINE_CONNECT,		/* lookup, dial, handshake */
	DEADLINE_RESPONSE,		/* a response head, replays included */
	DEADLINE_MIDWAY,		/* the next part of a response body */
	DEADLINE_TUNNEL,		/* either direction of a tunnel */
	DEADLINE_POOL,			/* an idle upstream connection */
	DEADLINE_LINGER,		/* after our last word */
	DEADLINE_DRAIN,			/* an idle client, when we are ending */
	DEADLINE_CLASSES
};

struct deadline {
	struct deadline *prev, *next;	/* NULL when not set */
	uint64_t at_ms;
	void (*fn)(struct deadline *d);	/* called once, when late; may set it again */
	enum deadline_class class;
};

struct deadlines {
	struct deadline queue[DEADLINE_CLASSES];
	uint32_t length_ms[DEADLINE_CLASSES];	/* 0: never */
	unsigned set;				/* how many are set */
};

void deadlines_init(struct deadlines *all);
/* (Re)starts d: late in length_ms[class] from now. d->fn must be set. */
void deadline_set(struct deadlines *all, struct deadline *d, enum deadline_class class);
void deadline_clear(struct deadlines *all, struct deadline *d);
/* Calls fn of all that are late; each is cleared first. */
void deadlines_run(struct deadlines *all);

static inline bool deadline_is_set(const struct deadline *d)
{
	return d->next != NULL;
}

#endif
