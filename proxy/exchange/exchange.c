/* exchange: the score. Every square of the table is a small function that
 * returns effects and sets the next state; a square nobody wrote is a fact
 * that cannot be, and ends the exchange visibly rather than going on.
 *
 * What this room does not know: who the client is, what 449 means, how octets
 * move. The edge says `challenge` only when it could answer it. */
#include "exchange/exchange.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

typedef unsigned square(struct exchange *x, const struct exchange_fact *f);

/* The only assignment to x->state outside exchange_begin(). */
static unsigned go(struct exchange *x, enum exchange_state next, unsigned effects)
{
	if (effects & (DO_DROP_UPSTREAM | DO_KEEP_UPSTREAM | DO_TUNNEL))
		x->has_upstream = x->has_upstream && (effects & DO_TUNNEL) != 0;
	if (effects & DO_SEND) {
		x->request_sent = false;
		x->sends++;
	}
	if (effects & (DO_STREAM | DO_RESTORE | DO_REPLY | DO_TUNNEL))
		x->response_begun = true;
	x->state = next;
	return effects;
}

static unsigned drop(const struct exchange *x)
{
	return x->has_upstream ? DO_DROP_UPSTREAM : 0;
}

static unsigned finish(struct exchange *x, const struct exchange_fact *f)
{
	return go(x, EX_OVER, drop(x) | DO_FINISH);
}

static unsigned cut(struct exchange *x, const struct exchange_fact *f)
{
	x->keep_client = false;
	return go(x, EX_OVER, drop(x) | DO_BREAK | DO_FINISH);
}

/* Our own words to the client, or, once its response has begun, a visible break. */
static unsigned give_up(struct exchange *x)
{
	return x->response_begun ? cut(x, NULL) : go(x, EX_FLUSH, drop(x) | DO_REPLY);
}

/* The replay could not be sent: the client gets the challenge itself. */
static unsigned restore(struct exchange *x)
{
	return go(x, EX_FLUSH, drop(x) | DO_RESTORE);
}

static unsigned admit(struct exchange *x, const struct exchange_fact *f)
{
	x->keep_client = f->keep;
	if (f->refused)
		return go(x, EX_FLUSH, DO_REPLY);
	return go(x, EX_OPEN, DO_OPEN);
}

static unsigned head_late(struct exchange *x, const struct exchange_fact *f)
{
	x->keep_client = false;
	return give_up(x);
}

static unsigned opened(struct exchange *x, const struct exchange_fact *f)
{
	x->has_upstream = true;
	if (f->tunnel)
		return go(x, EX_TUNNEL, DO_TUNNEL);
	return go(x, EX_SEND, DO_SEND);
}

static unsigned no_upstream(struct exchange *x, const struct exchange_fact *f)
{
	return x->answered && f->kept ? restore(x) : give_up(x);
}

static unsigned note_sent(struct exchange *x, const struct exchange_fact *f)
{
	x->request_sent = true;
	return go(x, x->state, 0);
}

static unsigned judge(struct exchange *x, const struct exchange_fact *f)
{
	if (f->tunnel)
		return go(x, EX_TUNNEL, DO_TUNNEL);
	if (!f->challenge || !x->replays_left)
		return go(x, EX_STREAM, DO_STREAM);
	x->replays_left--;
	x->answered = true;
	x->bound = f->bound;
	if (f->drop)
		return go(x, EX_ANSWER, drop(x) | DO_ASK);
	return go(x, EX_DRAIN, DO_DRAIN);
}

/* A reused connection that was already closed at the other end: once more, on
 * a new one, where RFC 9110 9.2.2 allows it. */
static unsigned lost_while_sending(struct exchange *x, const struct exchange_fact *f)
{
	if (f->retryable && x->retries_left && !x->bound) {
		x->retries_left--;
		return go(x, EX_OPEN, drop(x) | DO_OPEN_NEW);
	}
	if (x->answered && f->unsent && f->kept)
		return restore(x);
	return give_up(x);
}

static unsigned gave_up(struct exchange *x, const struct exchange_fact *f)
{
	return give_up(x);
}

static unsigned drained(struct exchange *x, const struct exchange_fact *f)
{
	bool keep = f->keep && x->request_sent;

	if (x->bound && !keep)
		return restore(x);
	return go(x, EX_ANSWER, (keep ? 0 : drop(x)) | DO_ASK);
}

/* Its body was too long, or the connection went: the answer does not need it. */
static unsigned lost_while_draining(struct exchange *x, const struct exchange_fact *f)
{
	if (x->bound)
		return f->kept ? restore(x) : give_up(x);
	return go(x, EX_ANSWER, drop(x) | DO_ASK);
}

/* Its body is too long to be swallowed, and the answer needs it, or needs this
 * connection: the client gets what was kept aside, and what still comes. */
static unsigned not_answered(struct exchange *x, const struct exchange_fact *f)
{
	x->answered = x->bound = false;
	return go(x, EX_STREAM, DO_STREAM);
}

static unsigned answered(struct exchange *x, const struct exchange_fact *f)
{
	if (x->has_upstream)
		return go(x, EX_SEND, DO_SEND);
	return go(x, EX_OPEN, DO_OPEN_NEW);
}

static unsigned no_answer(struct exchange *x, const struct exchange_fact *f)
{
	return f->kept ? restore(x) : give_up(x);
}

static unsigned forget_upstream(struct exchange *x, const struct exchange_fact *f)
{
	if (x->bound)
		return no_answer(x, f);
	return go(x, EX_ANSWER, drop(x));
}

static unsigned response_done(struct exchange *x, const struct exchange_fact *f)
{
	bool keep = f->keep && x->request_sent;

	return go(x, EX_FLUSH, keep ? DO_KEEP_UPSTREAM : drop(x));
}

static unsigned lost_midway(struct exchange *x, const struct exchange_fact *f)
{
	x->response_begun = !f->unsaid;
	return f->unsaid ? give_up(x) : cut(x, f);
}

static square *const score[EX_STATES][EX_EVENTS] = {
	[EX_HEAD] = {
		[GOT_REQUEST] = admit, [LOST_CLIENT] = finish, [GAVE_UP] = head_late,
	},
	[EX_OPEN] = {
		[GOT_UPSTREAM] = opened, [LOST_UPSTREAM] = no_upstream,
		[LOST_CLIENT] = finish, [GAVE_UP] = gave_up,
	},
	[EX_SEND] = {
		[REQUEST_SENT] = note_sent, [GOT_RESPONSE] = judge,
		[LOST_UPSTREAM] = lost_while_sending,
		[LOST_CLIENT] = finish, [GAVE_UP] = gave_up,
	},
	[EX_DRAIN] = {
		[RESPONSE_ENDED] = drained, [NO_ANSWER] = not_answered,
		[LOST_UPSTREAM] = lost_while_draining,
		[LOST_CLIENT] = finish, [GAVE_UP] = gave_up,
	},
	[EX_ANSWER] = {
		[GOT_ANSWER] = answered, [NO_ANSWER] = no_answer,
		[LOST_UPSTREAM] = forget_upstream,
		[LOST_CLIENT] = finish, [GAVE_UP] = gave_up,
	},
	[EX_STREAM] = {
		[REQUEST_SENT] = note_sent, [RESPONSE_ENDED] = response_done,
		[LOST_UPSTREAM] = lost_midway,
		[LOST_CLIENT] = finish, [GAVE_UP] = lost_midway,
	},
	[EX_FLUSH] = {
		[CLIENT_TOOK_ALL] = finish, [LOST_CLIENT] = finish, [GAVE_UP] = cut,
	},
	[EX_TUNNEL] = {
		[RESPONSE_ENDED] = finish, [LOST_UPSTREAM] = lost_midway,
		[LOST_CLIENT] = finish, [GAVE_UP] = finish,
	},
};

void exchange_begin(struct exchange *x, unsigned replays)
{
	memset(x, 0, sizeof *x);
	x->state = EX_HEAD;
	x->replays_left = (uint8_t)(replays > UINT8_MAX ? UINT8_MAX : replays);
	x->retries_left = 1;
}

unsigned exchange_step(struct exchange *x, const struct exchange_fact *f)
{
	square *turn;

	assert(x->state < EX_STATES && f->event < EX_EVENTS);
	turn = score[x->state][f->event];
	return turn ? turn(x, f) : give_up(x);
}

bool exchange_knows(enum exchange_state s, enum exchange_event e)
{
	return score[s][e] != NULL;
}

const char *exchange_doing(const struct exchange *x)
{
	static const char *const doing[EX_STATES] = {
		[EX_HEAD] = "reading the request",
		[EX_OPEN] = "connecting to the upstream server",
		[EX_SEND] = "waiting for the response",
		[EX_DRAIN] = "reading the challenge",
		[EX_ANSWER] = "preparing the replay",
		[EX_STREAM] = "passing on the response",
		[EX_FLUSH] = "finishing the response",
		[EX_TUNNEL] = "tunnelling",
		[EX_OVER] = NULL,
	};

	return doing[x->state];
}

const char *exchange_state_name(enum exchange_state s)
{
	static const char *const names[EX_STATES] = {
		"HEAD", "OPEN", "SEND", "DRAIN", "ANSWER", "STREAM", "FLUSH", "TUNNEL", "OVER",
	};

	return names[s];
}

const char *exchange_event_name(enum exchange_event e)
{
	static const char *const names[EX_EVENTS] = {
		"GOT_REQUEST", "GOT_UPSTREAM", "REQUEST_SENT", "GOT_RESPONSE", "RESPONSE_ENDED",
		"GOT_ANSWER", "NO_ANSWER", "CLIENT_TOOK_ALL", "LOST_UPSTREAM", "LOST_CLIENT",
		"GAVE_UP",
	};

	return names[e];
}
