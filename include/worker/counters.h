/* counters: what a worker has counted. One writer, its worker, by counter_add();
 * readers on other threads take a copy that may be a moment old. */
#ifndef WORKER_COUNTERS_H
#define WORKER_COUNTERS_H

#include <stdint.h>
#include "ground/why.h"
#include "policy/challenge.h"

/* A row: its name here; its metric's (retrywith_NAME_total), which is its key in
 * /stats.json; and what it is. */
#define COUNTER_TABLE(row) \
	row(ACCEPTED,                 "client_connections_accepted", "client connections accepted") \
	row(REFUSED_CLIENTS,          "client_connections_refused", "client connections refused at once") \
	row(REQUESTS,                 "requests_received", "requests of clients") \
	row(ATTEMPTS,                 "upstream_requests", "requests sent upstream") \
	row(RETRIES,                  "upstream_retries", "requests sent again because a reused connection was stale") \
	row(REPLAYS,                  "replays_started", "requests sent again because of a 449") \
	row(REPLAYS_FINAL,            "replays_final", "replays that got a final answer") \
	row(REPLAYS_AGAIN,            "replays_again", "replays that got a 449 again") \
	row(REPLAYS_LOST,             "replays_lost", "replays that got no answer") \
	row(REPLAY_UPLOAD,            "replay_upload_bytes", "octets of request bodies sent again") \
	row(TUNNELS,                  "tunnels_opened", "tunnels opened") \
	row(INTERCEPT_OPENED,         "intercepts_opened", "tunnels whose TLS was opened") \
	row(INTERCEPT_REFUSED,        "intercepts_refused", "tunnels whose client broke the handshake off") \
	row(INTERCEPT_BLIND,          "intercepts_blind", "tunnels to be opened that held no TLS") \
	row(OCTETS_IN,                "request_body_bytes", "octets of request bodies received from clients") \
	row(OCTETS_OUT,               "response_bytes", "octets sent to clients") \
	row(BROKEN,                   "responses_broken", "responses broken off visibly") \
	row(ACCEPT_PAUSES,            "accept_pauses", "times accepting was paused for want of descriptors") \
	row(LOG_DROPPED,              "log_dropped", "lines of the access log dropped") \
	row(LEARNED,                  "learned_answers", "requests that carried a learned answer from the start") \
	row(STICKY,                   "sticky_answers", "requests that carried a sticky echo") \
	row(EXPECTED,                 "expect_first_requests", "requests sent with Expect: 100-continue by us") \
	row(BREAKER_TRIPS,            "breaker_trips", "times a circuit breaker opened") \
	row(CHALLENGE_BARE,           "challenges_bare", "449 responses without Ms-Echo-Request, where no rule knows better") \
	row(CHALLENGE_UNUSABLE,       "challenges_unusable", "449 responses whose Ms-Echo-Request cannot be sent back") \
	row(CHALLENGE_AFTER_ECHO,     "challenges_after_echo", "449 responses to a request that carried Ms-Echo-Reply")

#define COUNTER_ENUM(name, metric, text) COUNT_##name,
enum counter { COUNTER_TABLE(COUNTER_ENUM) COUNTERS };
#undef COUNTER_ENUM

/* The methods that are told apart; any token may come, so all others are one. */
#define COUNTED_TABLE(row) \
	row(GET) row(HEAD) row(POST) row(PUT) row(DELETE) row(CONNECT) row(OPTIONS) \
	row(TRACE) row(PATCH) row(PROPFIND) row(PROPPATCH) row(MKCOL) row(COPY) row(MOVE) \
	row(LOCK) row(UNLOCK) row(REPORT) row(SEARCH)

#define COUNTED_ENUM(name) COUNTED_##name,
enum counted { COUNTED_TABLE(COUNTED_ENUM) COUNTED_OTHER, COUNTED_METHODS };
#undef COUNTED_ENUM

enum { TIME_BUCKETS = 14, CODES = 600 };

struct times {
	uint64_t bucket[TIME_BUCKETS];		/* by ms: see counter_bucket_ms */
	uint64_t sum_ms;
};

struct counters {
	uint64_t n[COUNTERS];
	uint64_t why[WHY_COUNT];		/* our own answers, by reason */
	uint64_t family[FAMILY_COUNT];
	uint64_t unanswered[UNANSWERED_COUNT];
	uint64_t answers[COUNTED_METHODS][CODES];	/* to clients; code 0: none, or beyond */
	struct times duration;			/* of requests */
	struct times added;			/* until the last replay of a request began */
	struct times connect;			/* until a new upstream connection was ready */
	uint64_t clients, sessions_busy, tunnels;	/* now */
};

extern const uint32_t counter_bucket_ms[TIME_BUCKETS];	/* upper bounds; last is UINT32_MAX */
const char *counter_name(enum counter c);	/* "log_dropped" */
const char *counter_text(enum counter c);
const char *counted_method(enum counted m);	/* "GET", "other" */
void counters_add(struct counters *sum, const struct counters *one);
void counters_took(struct times *t, uint64_t ms);
void counters_answered(struct counters *c, struct str method, uint16_t status);

/* One writer, so no locked instruction; and a reader sees no half of it. */
static inline void counter_add(uint64_t *c, uint64_t n)
{
	__atomic_store_n(c, *c + n, __ATOMIC_RELAXED);
}

static inline void counter_sub(uint64_t *c, uint64_t n)
{
	__atomic_store_n(c, *c - n, __ATOMIC_RELAXED);
}

#endif
