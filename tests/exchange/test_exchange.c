/* The score, played: written plays that a person can read, then random play
 * of legal facts with invariants asserted at every step. (P05, P07) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "exchange/exchange.h"

struct line {
	struct exchange_fact fact;
	unsigned effects;
	enum exchange_state state;
};

static void play(const struct line *lines, size_t n)
{
	struct exchange x;

	exchange_begin(&x, 1);
	for (size_t i = 0; i < n; i++) {
		unsigned effects = exchange_step(&x, &lines[i].fact);

		if (effects != lines[i].effects || x.state != lines[i].state)
			fail_msg("line %zu (%s): effects %#x state %s, wanted %#x %s", i,
				 exchange_event_name(lines[i].fact.event), effects,
				 exchange_state_name(x.state), lines[i].effects,
				 exchange_state_name(lines[i].state));
	}
}

#define PLAY(...) do { \
	static const struct line lines[] = { __VA_ARGS__ }; \
	play(lines, sizeof lines / sizeof *lines); \
} while (0)
#define F(...) { __VA_ARGS__ }

static void plain_get(void **state)
{
	PLAY({ F(.event = GOT_REQUEST, .keep = true), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = REQUEST_SENT), 0, EX_SEND },
	     { F(.event = GOT_RESPONSE), DO_STREAM, EX_STREAM },
	     { F(.event = RESPONSE_ENDED, .keep = true), DO_KEEP_UPSTREAM, EX_FLUSH },
	     { F(.event = CLIENT_TOOK_ALL), DO_FINISH, EX_OVER });
}

static void challenge_on_one_connection(void **state)
{
	PLAY({ F(.event = GOT_REQUEST, .keep = true), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = REQUEST_SENT), 0, EX_SEND },
	     { F(.event = GOT_RESPONSE, .challenge = true), DO_DRAIN, EX_DRAIN },
	     { F(.event = RESPONSE_ENDED, .keep = true), DO_ASK, EX_ANSWER },
	     { F(.event = GOT_ANSWER), DO_SEND, EX_SEND },
	     { F(.event = REQUEST_SENT), 0, EX_SEND },
	     /* a second 449: max-replays is used up, it is the client's */
	     { F(.event = GOT_RESPONSE, .challenge = true), DO_STREAM, EX_STREAM },
	     { F(.event = RESPONSE_ENDED, .keep = false), DO_DROP_UPSTREAM, EX_FLUSH },
	     { F(.event = CLIENT_TOOK_ALL), DO_FINISH, EX_OVER });
}

/* A connection whose request was cut short is never kept, whatever the response said. */
static void early_answer(void **state)
{
	PLAY({ F(.event = GOT_REQUEST, .keep = true), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = GOT_RESPONSE), DO_STREAM, EX_STREAM },
	     { F(.event = RESPONSE_ENDED, .keep = true), DO_DROP_UPSTREAM, EX_FLUSH },
	     { F(.event = CLIENT_TOOK_ALL), DO_FINISH, EX_OVER });
}

static void early_challenge_that_is_read(void **state)
{
	PLAY({ F(.event = GOT_REQUEST, .keep = true), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = GOT_RESPONSE, .challenge = true), DO_DRAIN, EX_DRAIN },
	     { F(.event = RESPONSE_ENDED, .keep = true), DO_DROP_UPSTREAM | DO_ASK, EX_ANSWER },
	     { F(.event = GOT_ANSWER), DO_OPEN_NEW, EX_OPEN });
}

static void early_challenge_then_loss(void **state)
{
	PLAY({ F(.event = GOT_REQUEST, .keep = true), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = GOT_RESPONSE, .challenge = true, .drop = true),
	       DO_DROP_UPSTREAM | DO_ASK, EX_ANSWER },
	     { F(.event = GOT_ANSWER), DO_OPEN_NEW, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = LOST_UPSTREAM), DO_DROP_UPSTREAM | DO_REPLY, EX_FLUSH },
	     { F(.event = CLIENT_TOOK_ALL), DO_FINISH, EX_OVER });
}

static void replay_cannot_be_sent(void **state)
{
	PLAY({ F(.event = GOT_REQUEST, .keep = true), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = REQUEST_SENT), 0, EX_SEND },
	     { F(.event = GOT_RESPONSE, .challenge = true), DO_DRAIN, EX_DRAIN },
	     { F(.event = RESPONSE_ENDED, .keep = false), DO_DROP_UPSTREAM | DO_ASK, EX_ANSWER },
	     { F(.event = GOT_ANSWER), DO_OPEN_NEW, EX_OPEN },
	     { F(.event = LOST_UPSTREAM, .kept = true), DO_RESTORE, EX_FLUSH },
	     { F(.event = CLIENT_TOOK_ALL), DO_FINISH, EX_OVER });
}

static void stale_connection(void **state)
{
	PLAY({ F(.event = GOT_REQUEST, .keep = true), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = LOST_UPSTREAM, .retryable = true),
	       DO_DROP_UPSTREAM | DO_OPEN_NEW, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = LOST_UPSTREAM, .retryable = true),
	       DO_DROP_UPSTREAM | DO_REPLY, EX_FLUSH });
}

static void bound_login_closes(void **state)
{
	PLAY({ F(.event = GOT_REQUEST, .keep = true), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = REQUEST_SENT), 0, EX_SEND },
	     { F(.event = GOT_RESPONSE, .challenge = true, .bound = true), DO_DRAIN, EX_DRAIN },
	     { F(.event = RESPONSE_ENDED, .keep = false),
	       DO_DROP_UPSTREAM | DO_RESTORE, EX_FLUSH });
}

static void challenge_too_long_to_swallow(void **state)
{
	PLAY({ F(.event = GOT_REQUEST, .keep = true), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = REQUEST_SENT), 0, EX_SEND },
	     { F(.event = GOT_RESPONSE, .challenge = true, .bound = true), DO_DRAIN, EX_DRAIN },
	     { F(.event = NO_ANSWER), DO_STREAM, EX_STREAM },
	     { F(.event = RESPONSE_ENDED, .keep = true), DO_KEEP_UPSTREAM, EX_FLUSH },
	     { F(.event = CLIENT_TOOK_ALL), DO_FINISH, EX_OVER });
}

static void refused_and_broken(void **state)
{
	PLAY({ F(.event = GOT_REQUEST, .refused = true), DO_REPLY, EX_FLUSH },
	     { F(.event = CLIENT_TOOK_ALL), DO_FINISH, EX_OVER });
	PLAY({ F(.event = GOT_REQUEST), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = GOT_RESPONSE), DO_STREAM, EX_STREAM },
	     { F(.event = LOST_UPSTREAM),
	       DO_DROP_UPSTREAM | DO_BREAK | DO_FINISH, EX_OVER });
	/* ... its last octets not yet taken: it is no more whole than in the middle */
	PLAY({ F(.event = GOT_REQUEST, .keep = true), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = GOT_RESPONSE), DO_STREAM, EX_STREAM },
	     { F(.event = RESPONSE_ENDED), DO_DROP_UPSTREAM, EX_FLUSH },
	     { F(.event = GAVE_UP), DO_BREAK | DO_FINISH, EX_OVER });
	/* ... before the client heard of it: then there is a better word */
	PLAY({ F(.event = GOT_REQUEST), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM), DO_SEND, EX_SEND },
	     { F(.event = GOT_RESPONSE), DO_STREAM, EX_STREAM },
	     { F(.event = LOST_UPSTREAM, .unsaid = true),
	       DO_DROP_UPSTREAM | DO_REPLY, EX_FLUSH });
	PLAY({ F(.event = GOT_REQUEST), DO_OPEN, EX_OPEN },
	     { F(.event = GOT_UPSTREAM, .tunnel = true), DO_TUNNEL, EX_TUNNEL },
	     { F(.event = RESPONSE_ENDED), DO_DROP_UPSTREAM | DO_FINISH, EX_OVER });
}

struct tally {
	unsigned sends, finishes, replies, opens;
	bool begun, upstream;
};

static void check(const struct exchange *x, unsigned effects, struct tally *t)
{
	unsigned ours = effects & (DO_REPLY | DO_RESTORE);

	assert_int_not_equal(effects & (DO_DROP_UPSTREAM | DO_KEEP_UPSTREAM),
			     DO_DROP_UPSTREAM | DO_KEEP_UPSTREAM);
	assert_false((effects & DO_DROP_UPSTREAM) && !t->upstream);
	assert_false((effects & DO_KEEP_UPSTREAM) && !t->upstream);
	if (effects & (DO_DROP_UPSTREAM | DO_KEEP_UPSTREAM))
		t->upstream = false;
	assert_false((effects & (DO_SEND | DO_DRAIN | DO_STREAM)) && !t->upstream);
	assert_false((effects & (DO_OPEN | DO_OPEN_NEW)) && t->upstream);
	/* never our own words after the upstream's response began */
	assert_false(ours && t->begun);
	assert_false((effects & DO_SEND) && t->begun);
	if (effects & (DO_STREAM | DO_REPLY | DO_RESTORE | DO_TUNNEL))
		t->begun = true;
	t->sends += (effects & DO_SEND) != 0;
	t->finishes += (effects & DO_FINISH) != 0;
	assert_true(t->sends <= 3);		/* one, one replay, one retry */
	assert_int_equal(t->finishes, x->state == EX_OVER);
	assert_int_equal(x->has_upstream, t->upstream);
}

static void random_play(void **state)
{
	static bool touched[EX_STATES][EX_EVENTS];
	unsigned filled = 0, seen = 0;

	srand(1);
	for (unsigned game = 0; game < 200000; game++) {
		struct exchange x;
		struct tally t = { 0 };
		unsigned steps = 0;

		exchange_begin(&x, 1);
		while (x.state != EX_OVER) {
			enum exchange_event e = (enum exchange_event)(rand() % EX_EVENTS);
			unsigned r = (unsigned)rand();
			struct exchange_fact f = {
				.event = e, .refused = r & 1, .challenge = (r & 6) != 0,
				.drop = r & 8, .bound = (r & 0x30) == 0x30,
				.tunnel = (r & 0x1c0) == 0x1c0, .retryable = r & 0x200,
				.unsent = r & 0x400, .keep = r & 0x800, .kept = r & 0x1000,
			};

			if (!exchange_knows(x.state, e))
				continue;
			touched[x.state][e] = true;
			if (e == GOT_UPSTREAM)
				t.upstream = true;
			check(&x, exchange_step(&x, &f), &t);
			assert_true(++steps < 1000);
		}
		assert_int_equal(t.finishes, 1);
	}
	for (unsigned s = 0; s < EX_STATES; s++)
		for (unsigned e = 0; e < EX_EVENTS; e++) {
			filled += exchange_knows(s, e);
			seen += touched[s][e];
		}
	assert_int_equal(seen, filled);
}

/* A fact that cannot be ends the exchange, with and without an upstream. */
static void impossible_facts(void **state)
{
	for (unsigned s = 0; s < EX_OVER; s++)
		for (unsigned e = 0; e < EX_EVENTS; e++) {
			struct exchange x = { .state = s, .has_upstream = s >= EX_SEND };
			struct exchange_fact f = { .event = e };

			if (exchange_knows(s, e))
				continue;
			x.response_begun = s >= EX_STREAM;
			assert_true(exchange_step(&x, &f) & (DO_REPLY | DO_BREAK));
			assert_true(x.state == EX_FLUSH || x.state == EX_OVER);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_get),
		cmocka_unit_test(challenge_on_one_connection),
		cmocka_unit_test(early_answer),
		cmocka_unit_test(early_challenge_that_is_read),
		cmocka_unit_test(early_challenge_then_loss),
		cmocka_unit_test(replay_cannot_be_sent),
		cmocka_unit_test(stale_connection),
		cmocka_unit_test(bound_login_closes),
		cmocka_unit_test(challenge_too_long_to_swallow),
		cmocka_unit_test(refused_and_broken),
		cmocka_unit_test(random_play),
		cmocka_unit_test(impossible_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
