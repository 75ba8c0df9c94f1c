/* learn: what a worker remembers between exchanges, all of it bounded in
 * number and in time (449.md 3 sticky echo, 6 learning, 7 circuit breaker).
 * Only a yes or no per origin and path prefix is remembered by default; values
 * only where a rule says so, for one client address, or as a sticky echo, for
 * one use. Time is passed in, so tests own the clock. Belongs to one worker. */
#ifndef POLICY_LEARN_H
#define POLICY_LEARN_H

#include "ground/str.h"

struct learn;

struct learn_options {
	uint32_t entries_most;		/* of each table: oldest out first */
	uint32_t challenger_ttl_ms;	/* "this origin challenges" */
	uint32_t breaker_trips;		/* 449s in a row to replays: 20; 0: never */
	uint32_t breaker_pause_ms;	/* 30 s */
};

struct learn *learn_new(const struct learn_options *o);
void learn_free(struct learn *l);

/* origin: "scheme://host:port"; path with query: its first two segments count. */
void learn_challenged(struct learn *l, struct str origin, struct str path, uint64_t now_ms);
void learn_not_challenged(struct learn *l, struct str origin, struct str path, uint64_t now_ms);
bool learn_is_challenger(struct learn *l, struct str origin, struct str path, uint64_t now_ms);
/* Expect: 100-continue did not help there (417, or a silent second). */
void learn_no_expect(struct learn *l, struct str origin, uint64_t now_ms);
bool learn_may_expect(struct learn *l, struct str origin, uint64_t now_ms);

/* Circuit breaker: call after each replay's response head. True: it just tripped. */
bool learn_replay_result(struct learn *l, struct str origin, bool again_449, uint64_t now_ms);
bool learn_breaker_open(struct learn *l, struct str origin, uint64_t now_ms);

/* Learned values (rule `learn = true`): accepted twice in a row with one value,
 * attached from then on until ttl, a 4xx, or another challenge. */
void learn_value_accepted(struct learn *l, struct str client, struct str origin, struct str method,
			  struct str path, struct str value, uint32_t ttl_ms, uint64_t now_ms);
void learn_value_refused(struct learn *l, struct str client, struct str origin, struct str method,
			 struct str path);
/* The slice is good until the next call; at NULL: none. */
struct str learn_value(struct learn *l, struct str client, struct str origin, struct str method,
		       struct str path, uint64_t now_ms);

/* Sticky echo: key is the session's id as text, or address + User-Agent. One use. */
void learn_stick(struct learn *l, struct str key, struct str method, struct str url,
		 struct str value, uint32_t ttl_ms, uint64_t now_ms);
struct str learn_unstick(struct learn *l, struct str key, struct str method, struct str url,
			 uint64_t now_ms);
unsigned learn_entries(const struct learn *l);
bool learn_sticks(const struct learn *l);	/* is there anything to unstick? */

#endif
