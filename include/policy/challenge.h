/* challenge: is this response a challenge, may it be answered, and with what?
 * (449.md 1-5.) Pure: facts in, a plan out. The closed lists of families and
 * of reasons stand here once; logs, metrics, Proxy-Status, the manual and
 * `check` speak from them. */
#ifndef POLICY_CHALLENGE_H
#define POLICY_CHALLENGE_H

#include <time.h>
#include "policy/rules.h"

#define FAMILY_TABLE(row) \
	row(NONE,       "",           "not a 449") \
	row(ECHO,       "echo",       "449 with Ms-Echo-Request (MS-WDV)") \
	row(SUPPLY,     "supply",     "449 that a rule answers with named headers") \
	row(BACKOFF,    "backoff",    "449 that a rule answers by waiting") \
	row(ACTIVESYNC, "activesync", "449 of Exchange ActiveSync: the device must provision") \
	row(OTHER,      "other",      "449 without a header or rule to answer it")
#define FAMILY_ENUM(name, word, text) FAMILY_##name,
enum family { FAMILY_TABLE(FAMILY_ENUM) FAMILY_COUNT };
#undef FAMILY_ENUM

/* A row: name, word, what it means, what an administrator can do next. */
#define UNANSWERED_TABLE(row) \
	row(NONE,            "",                 "answered", "") \
	row(OFF,             "off",              "a rule, `mode` or `max-replays` turns answering off here", \
	    "If it should be answered, change that; `retrywith match URL` names the rule.") \
	row(OBSERVE,         "observe",          "only watched (mode = observe): it would have been answered", \
	    "Set mode = answer when the log shows what you expect.") \
	row(METHOD,          "method",           "CONNECT, TRACE and upgraded connections are never replayed", \
	    "Nothing: for https inside of CONNECT, see `intercept`.") \
	row(NOT_IDEMPOTENT,  "not-idempotent",   "the method is not idempotent, and replay-methods = idempotent", \
	    "Set replay-methods = all, for this host by a rule, if its 449 means that nothing was done.") \
	row(CLIENT_ANSWERS,  "client-answers",   "the client sent Ms-Echo-Reply itself", \
	    "Nothing: such a client knows 449 and answers for itself.") \
	row(CLIENT_DECLINES, "client-declines",  "the client sent x-ms-noretry-449", \
	    "Nothing: the client asked to see the 449; take the field away if it should not.") \
	row(AGAIN,           "again",            "the server answered 449 to the replay as well", \
	    "Look at the server: it did not accept its own value, or it wants more, which a supply rule may give.") \
	row(NO_HEADER,       "no-header",        "no Ms-Echo-Request, and no rule says what is wanted", \
	    "Read the body of the 449: what it asks for can be given by a supply rule, and a busy server waited for by backoff.") \
	row(BAD_HEADER,      "bad-header",       "Ms-Echo-Request holds a control octet", \
	    "Tell whoever runs the server: such a value cannot be sent back.") \
	row(LONG_HEADER,     "long-header",      "Ms-Echo-Request is longer than 8 KiB", \
	    "Tell whoever runs the server: such a value is not sent back.") \
	row(BODY_TOO_LARGE,  "body-too-large",   "the request body went past body-limit and was not recorded whole", \
	    "Raise body-limit, and spool-total with it.") \
	row(SPOOL_FAILED,    "spool-failed",     "the request body could not be recorded (see spool-dir, spool-total)", \
	    "Make room in spool-dir, or raise spool-total.") \
	row(RETRY_AFTER,     "retry-after",      "Retry-After asks for more than retry-after-max", \
	    "Raise retry-after-max if clients can wait that long.") \
	row(AUTH_BOUND,      "auth-bound",       "the login belongs to the connection, and the replay could not use that one", \
	    "Let the server keep the connection open after its 449, or let clients log in with Basic or Digest over TLS.") \
	row(ACTIVESYNC,      "activesync",       "only the device may answer: it must provision", \
	    "Nothing: provision the device.") \
	row(SUBSTATUS,       "substatus",        "the server says, by x-ms-substatus, that waiting will not help", \
	    "Nothing: the client has to send another request.") \
	row(NO_VALUE,        "no-value",         "the value a supply rule names is not in the 449, or is no field value", \
	    "Compare the rule's `from` with the 449 as `curl -i` shows it; its body counts up to drain-limit.") \
	row(BREAKER,         "breaker",          "this origin's replays were answered 449 too often; pausing", \
	    "Find out why the server refuses its own values; breaker-trips and breaker-pause set the limits.") \
	row(TOO_LATE,        "too-late",         "the time for waiting is used up", \
	    "Raise backoff-total in the rule if clients can wait longer.") \
	row(NOT_SENT,        "not-sent",         "the replay could not be sent: no connection was to be had", \
	    "See why the server took no second connection: its own limits, or a firewall on the way.")
#define UNANSWERED_ENUM(name, word, text, next) UNANSWERED_##name,
enum unanswered { UNANSWERED_TABLE(UNANSWERED_ENUM) UNANSWERED_COUNT };
#undef UNANSWERED_ENUM

const char *family_word(enum family f);
const char *family_text(enum family f);
const char *unanswered_word(enum unanswered u);
const char *unanswered_text(enum unanswered u);
const char *unanswered_next(enum unanswered u);

enum { ECHO_VALUE_MOST = 8192 };	/* octets of an Ms-Echo-Request */

/* What is known when a response head has come. */
struct challenge_facts {
	const struct rule *rule;
	const struct request *request;	/* as the client sent it */
	const struct response *response;
	unsigned replays;		/* made so far for this request */
	uint32_t waited_ms;		/* by backoff so far */
	uint32_t random;		/* for jitter */
	bool can_rewind;		/* the body can be sent again */
	bool spool_failed;		/* ... not, because recording failed */
	bool connection_bound;		/* NTLM or Negotiate on this connection */
	bool breaker_open;
	time_t now;			/* for Retry-After dates and cookie expiry */
};

struct challenge_plan {
	enum family family;		/* NONE: not a 449 at all */
	enum unanswered unanswered;	/* NONE: answer it */
	uint32_t delay_ms;		/* before the replay */
	bool wants_body;		/* a supply rule reads the 449's body */
	bool same_connection;		/* replay on this connection or not at all */
	bool without_authorization;	/* the last token was accepted: do not send it again */
};

void challenge_judge(const struct challenge_facts *f, struct challenge_plan *plan);

/* The fields that the replay carries beyond the request's own and those of
 * challenge_always(); each replaces the request's lines of the same name, as
 * Cookie does when merged_cookie is set. */
struct challenge_answer {
	struct header *add;
	unsigned n;
	struct str echoed;		/* the Ms-Echo-Reply value; at NULL: none */
	bool merged_cookie;
	struct str cookie;
};

/* body: the 449's body as far as it was drained (empty unless wants_body).
 * UNANSWERED_NONE, or why there is no answer after all (NO_VALUE, which is also
 * what a full arena gives). Values are in the arena, the facts or the body. `https`:
 * the request went over TLS (Secure cookies). */
enum unanswered challenge_answer(const struct challenge_facts *f, const struct challenge_plan *p,
				 struct str body, bool https, struct arena *a,
				 struct challenge_answer *out);
/* The fields a rule adds to every request (`always = true`, fixed values); *n may
 * be 0. False: the arena is full. */
bool challenge_always(const struct rule *r, struct arena *a, struct header **add, unsigned *n);

#endif
