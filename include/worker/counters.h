/* counters: what a worker has counted. One writer, its worker; readers take
 * a copy that may be a moment old. Every row is a metric. */
#ifndef WORKER_COUNTERS_H
#define WORKER_COUNTERS_H

#include <stdint.h>
#include "ground/why.h"
#include "policy/challenge.h"

#define COUNTER_TABLE(row) \
	row(ACCEPTED,          "client connections accepted") \
	row(REFUSED_CLIENTS,   "client connections refused at once") \
	row(REQUESTS,          "requests of clients") \
	row(ATTEMPTS,          "requests sent upstream") \
	row(RETRIES,           "requests sent again because a reused connection was stale") \
	row(REPLAYS,           "requests sent again because of a 449") \
	row(REPLAYS_FINAL,     "replays that got a final answer") \
	row(REPLAYS_AGAIN,     "replays that got a 449 again") \
	row(REPLAYS_LOST,      "replays that got no answer") \
	row(REPLAY_UPLOAD,     "octets of request bodies sent again") \
	row(TUNNELS,           "tunnels opened") \
	row(INTERCEPTED,       "tunnels whose TLS was opened") \
	row(OCTETS_IN,         "octets of request bodies received from clients") \
	row(OCTETS_OUT,        "octets sent to clients") \
	row(BROKEN,            "responses broken off visibly") \
	row(ACCEPT_PAUSES,     "times accepting was paused for want of descriptors") \
	row(LOG_DROPPED,       "lines of the access log dropped") \
	row(LEARNED,           "requests that carried a learned answer from the start") \
	row(STICKY,            "requests that carried a sticky echo") \
	row(EXPECTED,          "requests sent with Expect: 100-continue by us") \
	row(BREAKER_TRIPS,     "times a circuit breaker opened") \
	row(CHALLENGE_BARE,    "449 responses without Ms-Echo-Request, where no rule knows better") \
	row(CHALLENGE_UNUSABLE, "449 responses whose Ms-Echo-Request cannot be sent back") \
	row(CHALLENGE_AFTER_ECHO, "449 responses to a request that carried Ms-Echo-Reply")

#define COUNTER_ENUM(name, text) COUNT_##name,
enum counter { COUNTER_TABLE(COUNTER_ENUM) COUNTERS };
#undef COUNTER_ENUM

enum { TIME_BUCKETS = 14 };

struct counters {
	uint64_t n[COUNTERS];
	uint64_t why[WHY_COUNT];		/* our own answers, by reason */
	uint64_t family[FAMILY_COUNT];
	uint64_t unanswered[UNANSWERED_COUNT];
	uint64_t status[1000];			/* answers to clients */
	uint64_t duration[TIME_BUCKETS];	/* requests, by ms: see counter_bucket_ms */
	uint64_t duration_ms, replay_ms;	/* sums */
	uint64_t clients, sessions_busy, tunnels;	/* now */
};

extern const uint32_t counter_bucket_ms[TIME_BUCKETS];	/* upper bounds; last is UINT32_MAX */
const char *counter_name(enum counter c);	/* "requests" */
const char *counter_text(enum counter c);
void counters_add(struct counters *sum, const struct counters *one);
void counters_took(struct counters *c, uint64_t ms);

#endif
