/* rules: what an operator says of some requests. A rule names hosts, path,
 * methods and user agents; the first that matches in the order of the file
 * decides; the default rule (answer = echo) decides for the rest. Exact hosts and
 * `*.suffix` patterns are found by hash, so the cost of a lookup does not grow
 * with the number of rules. Pure; built once, then read only. */
#ifndef POLICY_RULES_H
#define POLICY_RULES_H

#include "ground/arena.h"
#include "http/message.h"

enum family_bit {			/* what may be answered */
	ANSWER_ECHO = 1 << 0,
	ANSWER_SUPPLY = 1 << 1,
	ANSWER_BACKOFF = 1 << 2,
};

enum rule_mode { MODE_ANSWER, MODE_OBSERVE, MODE_OFF };

enum supply_source {
	SUPPLY_FIXED,			/* text */
	SUPPLY_HEADER,			/* header:NAME of the 449 */
	SUPPLY_COOKIE,			/* cookie:NAME of the 449's Set-Cookie */
	SUPPLY_POINTER,			/* body:/json/pointer */
	SUPPLY_REGEX,			/* body~REGEX: group 1, or the whole match */
};

struct supply {
	struct str name;		/* of the field to add */
	enum supply_source from;
	struct str text;		/* fixed value (also read from a file), name, pointer or regex */
	void *compiled;			/* pcre2_code of SUPPLY_REGEX */
	bool always;			/* added to every request of the rule */
	bool secret;			/* came from a file: never shown */
};

struct rule {
	struct str name;
	struct str *hosts;		/* globs, lower case; none: any host */
	unsigned hosts_n;
	struct str path;		/* glob over path and query; empty: any */
	struct str *methods;		/* none: any */
	unsigned methods_n;
	struct str user_agent;		/* glob; empty: any */
	enum rule_mode mode;
	unsigned answer;		/* family_bit; 0: nothing is answered */
	struct supply *supply;
	unsigned supply_n;
	uint8_t max_replays;		/* echo and supply */
	bool replay_idempotent_only;
	uint32_t retry_after_max_ms;
	uint32_t drain_limit;		/* octets of a 449's body */
	struct {
		uint32_t first_ms, factor, step_most_ms, jitter_ms, total_ms;
		uint8_t most;		/* replays */
	} backoff;
	bool learn;			/* values; see learn.h */
	uint32_t learn_ttl_ms;
	uint64_t expect_threshold;	/* octets; UINT64_MAX: never Expect-first */
	struct str client_cert, client_key;	/* files; empty: none */
	struct str pinned_sha256;	/* of the upstream certificate; empty: verify */
};

struct rules;

/* The rules live in the arena, in the order given; `otherwise` is the default. */
struct rules *rules_new(struct arena *a, const struct rule *otherwise);
bool rules_add(struct rules *r, const struct rule *rule);
/* Call once after the last rules_add(). */
bool rules_seal(struct rules *r);
/* Never NULL. host without port; path with query. */
const struct rule *rules_find(const struct rules *r, struct str host, struct str path,
			      struct str method, struct str user_agent);
unsigned rules_count(const struct rules *r);
const struct rule *rules_at(const struct rules *r, unsigned i);
/* Why `rule` does not match: "host", "path", "method", "user-agent", or NULL. */
const char *rule_misses(const struct rule *rule, struct str host, struct str path,
			struct str method, struct str user_agent);

#endif
