/* transaction: the life of one exchange at the edge. It holds what the pure
 * score (exchange.h) decides about: the request, the recorder, the upstream
 * connection, the response. Facts go in by transaction_post(); their effects
 * are performed at once, in the order of their bits.
 *
 * Files: transaction.c (facts and effects), route.c (where to, may it pass),
 * upstream.c (attempts), receive.c (responses), answer.c (449), memory.c (what is
 * remembered), bound.c (logins), deliver.c (the client's side), reply.c (our own
 * words), tunnel.c. */
#ifndef WORKER_TRANSACTION_H
#define WORKER_TRANSACTION_H

#include "exchange/exchange.h"
#include "policy/challenge.h"
#include "worker/lane.h"
#include "worker/session.h"

enum { FACTS_MOST = 8, ATTEMPTS_MOST = 6, DETAIL_ROOM = 160, CHUNK_ROOMS = 4 };

struct attempt {			/* for log, recorder and check */
	uint64_t started_ms, head_ms;
	uint64_t body_octets;
	const struct header *add;	/* sent beyond the client's fields */
	unsigned add_n;
	uint16_t status;		/* 0: none came */
	bool reused;
};

struct transaction {
	struct session *session;
	struct worker *worker;
	struct snapshot *snapshot;
	struct exchange exchange;
	uint8_t facts_first, facts_n;
	bool running, over;
	const char *doing;		/* when the last fact came: for the log */

	/* the request */
	struct request request;
	struct reader *from_client;
	struct body *body;		/* NULL: none */
	bool request_whole;		/* all of it was received */
	bool client_waits;		/* the client is paused: the window is full */
	bool piping;			/* the body goes past the recorder by splice */
	bool refused_body;		/* its octets are no HTTP: read no more */
	struct login_wait *login;	/* the client's password is being checked */
	const struct rule *rule;

	/* where to */
	struct pool_key key;
	struct str origin;		/* scheme://host:port, the key of learn.h */
	struct str host, target;	/* for the request line and Host */
	struct str rule_host;		/* for rules; empty: the key's */
	bool https;
	bool trusted;			/* the operator named it: not vetted */
	bool by_parent;

	/* CONNECT to a host of `intercept` */
	bool intercept;			/* until it turns out not to be TLS */
	struct minting *minting;
	struct tls_identity *leaf;
	struct str opening;		/* of a tunnel after all: what is left of our 200 */

	/* the attempt */
	struct conn *upstream;
	struct want *want;
	uint64_t dialled_ms;
	struct buf up_in;		/* octets from upstream; the down lane points into it */
	struct reader *from_upstream;
	struct response response;
	size_t span;			/* octets of the recorder in the up lane */
	char chunk[20];
	bool last_loaded;		/* the end of the body is in the up lane, or was */
	bool send_failed;		/* no more writing; the read side will tell why */
	bool reused, heard;
	bool upstream_waits;		/* paused: the client is slow */
	bool expecting;			/* we added Expect: 100-continue to this attempt ... */
	bool holding;			/* ... and hold the body until something is heard */
	uint64_t sends_on_conn;
	struct header *add;		/* fields of this attempt beyond the client's; each takes
					 * the place of the client's lines of its name */
	unsigned add_n;
	unsigned attempts_n;
	struct deadline deadline;	/* RESPONSE, MIDWAY */

	/* 449 */
	struct challenge_plan plan;	/* of the last 449 seen */
	struct challenge_answer answer;
	struct response saved;		/* the challenge, should the replay not be sent */
	struct body *saved_body;
	bool saved_whole;
	bool saved_waits;		/* its body is on its way to the client ... */
	size_t saved_span;		/* ... and these octets of it are in the lane */
	struct headers carried;		/* lines of challenges that the client must see */
	struct str cookie;		/* the request's, with what challenges set; at NULL: none */
	unsigned challenges, replays;
	unsigned replays_heard;		/* ... that got an answer */
	uint64_t replay_octets;		/* of the body, sent in replays */
	enum family family;		/* of the first challenge */
	enum unanswered unanswered;	/* why the last 449 was passed on */
	uint32_t waited_ms;
	struct event *delay;		/* see transaction_wake() */
	void (*wake)(struct transaction *t);
	bool sticky, learned;
	bool bound;			/* the upstream connection stays with this client ... */
	bool logged_in;			/* ... and has been sent a login that belongs to it */

	/* to the client */
	uint64_t heads;			/* octets of heads, interim ones too */
	uint64_t said;			/* octets of it before the final response; UINT64_MAX:
					 * some of them wait in front of that */
	uint8_t down_chunks;		/* rooms in use by the lane */
	bool chunk_down;		/* we chunk the response */
	bool splicing;
	bool response_whole;		/* all of it was received; some may wait */
	bool response_keep;		/* and its connection can carry another */
	bool said_continue;
	uint16_t status;		/* of what the client got; 0: nothing */
	enum why why;			/* of our own answer, or of the end */
	uint64_t started_us, started_ms;
	struct tunnel *tunnel;

	/* large, and not zeroed: lanes are made empty, the others are counted */
	struct lane up, down;		/* octets to the upstream, to the client */
	struct exchange_fact facts[FACTS_MOST];
	struct attempt attempts[ATTEMPTS_MOST];
	char down_chunk[CHUNK_ROOMS][20];
	char detail[DETAIL_ROOM];	/* to why, in a person's words */

	/* these outlive the exchange */
	struct arena *arena;
	struct transaction *next;	/* spare */
};

/* One for a new head; NULL: out of memory. */
struct transaction *transaction_take(struct session *s);
void transaction_give(struct transaction *t);
void transactions_free(struct worker *w);	/* the spare ones */
/* The head is whole, or bad (why): the exchange begins. */
void transaction_begin(struct transaction *t, enum why why);
/* Performs the fact's effects before it returns, unless it is called from
 * within an effect: then right after that one. */
void transaction_post(struct transaction *t, struct exchange_fact fact);
#define POST(t, ...) transaction_post((t), (struct exchange_fact){ __VA_ARGS__ })
/* Something is wrong with the request or the time is up. */
void transaction_fail(struct transaction *t, enum why why);
void transaction_lose_client(struct transaction *t);
void transaction_lose_upstream(struct transaction *t, enum why why);

/* Calls fn in so many ms, unless the exchange ends before or nobody waits any
 * more; one at a time. False: out of memory. */
bool transaction_wake(struct transaction *t, uint32_t ms, void (*fn)(struct transaction *t));
void transaction_sleep(struct transaction *t);	/* not any more */

/* transaction.c: the request's body */
void intake_buffered(struct transaction *t);	/* what is in session->in */
void intake_readable(struct transaction *t);
void intake_resume(struct transaction *t);	/* the window has room again */
bool intake_flush_pipe(struct transaction *t);	/* nothing waits in it any more? */

/* route.c */
enum why route(struct transaction *t);
void route_to(struct transaction *t, const struct url *u);
struct str route_target(struct transaction *t, struct str path);	/* in origin-form */

/* upstream.c */
void upstream_open(struct transaction *t, bool fresh);
void upstream_send(struct transaction *t);
void upstream_pump(struct transaction *t);
void upstream_keep(struct transaction *t);
void upstream_drop(struct transaction *t);
void upstream_blind(struct transaction *t);	/* a plain connection for a tunnel */
struct str transaction_via(struct transaction *t, uint8_t minor);	/* what we add; empty: nothing */
bool upstream_in_absolute_form(const struct transaction *t);	/* to a parent */
void upstream_release(struct transaction *t);	/* send the body that was held */
struct attempt *attempt_now(struct transaction *t);

/* receive.c */
void receive(struct transaction *t);		/* the upstream is readable */
void upstream_go_on(struct transaction *t);	/* the client took all: read again */
/* It ended its stream: was that the proper end of the response? */
bool upstream_ended_well(struct transaction *t);

/* answer.c */
void answer_judge(struct transaction *t, struct exchange_fact *fact);
void answer_drain(struct transaction *t);
void answer_drained(struct transaction *t, struct str span);
void answer_ask(struct transaction *t);
void answer_none(struct transaction *t, enum unanswered u);	/* the client gets the 449 */
void answer_account(struct transaction *t);	/* what the 449s of this exchange cost */
void answer_record(struct transaction *t);	/* into the flight recorder, at the end */
/* memory.c: what rules and the worker's memory add to a first attempt, and what
 * is learned from a final response head (bool: go on; false: it was our Expect
 * that was refused, and the request is sent again without). */
void memory_first(struct transaction *t);
bool memory_held(struct transaction *t);	/* a body that waits for a 100 */
bool memory_seen(struct transaction *t);
void memory_challenged(struct transaction *t);	/* by a 449 that is answered */
struct str memory_origin(struct transaction *t);
/* bound.c: logins that belong to a connection (NTLM, Negotiate) */
void bound_request(struct transaction *t);
void bound_response(struct transaction *t);
bool bound_is_token(struct str value);	/* "Negotiate oYG..." */
struct conn *bound_take(struct transaction *t, vet_fn *vet);
bool bound_keep(struct transaction *t, struct conn *c);

/* deliver.c */
void deliver_interim(struct transaction *t);
void deliver_head(struct transaction *t);
struct str deliver_switch(struct transaction *t);	/* the head of a 101 */
void deliver_body(struct transaction *t, struct str span);
void deliver_end(struct transaction *t);
void deliver_restore(struct transaction *t);
void deliver_break(struct transaction *t);
/* Hands on what waits; true: nothing waits any more. */
bool deliver_flush(struct transaction *t);
bool deliver_has_room(const struct transaction *t);	/* for another span? */
bool deliver_can_splice(const struct transaction *t);
void deliver_splice(struct transaction *t);

/* reply.c */
void reply(struct transaction *t);
/* "retrywith; received-status=449; ..." in the arena; empty: none. */
struct str proxy_status(struct transaction *t);

/* tunnel.c */
void tunnel_begin(struct transaction *t);

/* For errors: the session's prefix and what is being done. */
struct log_ctx transaction_log_ctx(const struct transaction *t, char room[64]);

#endif
