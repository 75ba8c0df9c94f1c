/* session: see the header. The phase is an enum, and what each event means in
 * each phase stands in one switch; nothing else assigns s->phase but enter(),
 * and tunnel_begin(), which takes the connection over. */
#include "worker/session.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ground/log.h"
#include "worker/access_log.h"
#include "worker/clients.h"
#include "worker/redirect.h"
#include "worker/transaction.h"

enum { LINGER_MOST = 1 << 20 };		/* octets discarded after our last word */

static void on_client(void *owner, struct conn *c, enum conn_event ev);

struct str session_address(const struct session *s, char room[64])
{
	const void *octets = s->peer.sa.sa_family == AF_INET ?
		(const void *)&s->peer.in4.sin_addr : &s->peer.in6.sin6_addr;

	if (!session_peer(s) || !inet_ntop(s->peer.sa.sa_family, octets, room, 64))
		return STR("unix");
	return str_of(room);
}

struct str session_who(const struct session *s, char room[64])
{
	char address[64];
	bool in6 = s->peer.sa.sa_family == AF_INET6;
	int n;

	if (!session_peer(s))
		return STR("unix");
	session_address(s, address);
	n = snprintf(room, 64, in6 ? "[%s]:%u" : "%s:%u", address,
		     ntohs(in6 ? s->peer.in6.sin6_port : s->peer.in4.sin_port));
	return (struct str){ room, (size_t)n };
}

const struct sockaddr *session_peer(const struct session *s)
{
	return s->peer.sa.sa_family == AF_INET || s->peer.sa.sa_family == AF_INET6 ?
		&s->peer.sa : NULL;
}

static struct deadlines *deadlines_of(struct session *s)
{
	return &s->worker->net.deadlines;
}

static void enter(struct session *s, enum session_phase phase)
{
	s->phase = phase;
}

/* -- ends ------------------------------------------------------------------------- */

static void close_now(struct session *s)
{
	struct worker *w = s->worker;

	if (s->phase == SESSION_GONE)
		return;
	enter(s, SESSION_GONE);
	if (s->transaction)
		transaction_give(s->transaction);
	s->transaction = NULL;
	session_unbind(s);
	redirect_forget(s);
	free(s->inner);
	s->inner = NULL;
	deadline_clear(deadlines_of(s), &s->deadline);
	conn_close(s->client);
	buf_give(&s->in);
	*(s->prev ? &s->prev->next : &w->sessions) = s->next;
	if (s->next)
		s->next->prev = s->prev;
	counter_sub(&w->counters.clients, 1);
	clients_leave(&s->peer.sa);
	s->next = w->spare_sessions;
	w->spare_sessions = s;
}

/* A response that is on its way is cut where the client can see it; a tunnel, where
 * both ends can. */
void session_kill(struct session *s)
{
	struct transaction *t = s->transaction;

	if (t && t->exchange.response_begun)
		conn_abort(s->client);
	if (t && t->tunnel)
		conn_abort(t->upstream);
	close_now(s);
}

/* Our last word is with the kernel. If the client may still be sending, or did so
 * meanwhile, closing now would reset the connection and could take that word with
 * it (RFC 9112 9.6): half-close, discard, close. */
static void end(struct session *s, bool all_read)
{
	if (conn_is_dead(s->client) ||
	    (all_read && !buf_unread(&s->in).len && conn_is_quiet(s->client))) {
		close_now(s);
		return;
	}
	enter(s, SESSION_LINGER);
	s->body_mark = 0;
	buf_give(&s->in);
	conn_adopt(s->client, on_client, s);
	conn_shut(s->client);
	conn_resume(s->client);
	deadline_set(deadlines_of(s), &s->deadline, DEADLINE_LINGER);
}

static void linger(struct session *s)
{
	char sink[16384];
	struct iovec room = { sink, sizeof sink };
	size_t got;
	enum io io = conn_read(s->client, &room, 1, &got);

	s->body_mark += got;
	if (io == IO_EOF || io == IO_FAILED || s->body_mark > LINGER_MOST)
		close_now(s);
}

static bool is_quiet_at_times(const struct session *s)
{
	const struct transaction *t = s->transaction;

	return s->phase == SESSION_TUNNEL ||
	       (t && deadline_is_set(&t->deadline) && t->deadline.class == DEADLINE_TUNNEL);
}

void session_drain(struct session *s)
{
	struct transaction *t = s->transaction;

	if (s->phase == SESSION_IDLE)
		deadline_set(deadlines_of(s), &s->deadline, DEADLINE_DRAIN);
	else if (is_quiet_at_times(s))
		deadline_set(deadlines_of(s), &t->deadline, DEADLINE_TUNNEL);	/* shorter now */
	if (t)
		t->exchange.keep_client = false;
}

/* -- heads ------------------------------------------------------------------------- */

static void begin(struct session *s, enum why why)
{
	enter(s, SESSION_BUSY);
	deadline_clear(deadlines_of(s), &s->deadline);
	transaction_begin(s->transaction, why);
}

/* Looks at what is in the block: perhaps there is a whole head. */
static void parse(struct session *s)
{
	struct str span;
	size_t used = 0;
	enum step step;

	if (!s->transaction)
		s->transaction = transaction_take(s);
	if (!s->transaction || !s->transaction->from_client) {
		close_now(s);
		return;
	}
	step = reader_feed(s->transaction->from_client, buf_unread(&s->in), &used, &span);
	buf_used(&s->in, used);
	switch (step) {
	case STEP_HEAD:
		begin(s, WHY_DONE);
		buf_settle(&s->in);
		return;
	case STEP_BAD:
		begin(s, reader_why(s->transaction->from_client));
		return;
	case STEP_MORE:
	case STEP_BODY:
	case STEP_END:
		break;
	}
	if (s->phase == SESSION_IDLE) {
		enter(s, SESSION_HEAD);
		deadline_set(deadlines_of(s), &s->deadline, DEADLINE_HEAD);
	}
}

static bool make_room(struct session *s)
{
	if (!buf_take(&s->in))
		return false;
	if (buf_room(&s->in).iov_len)
		return true;
	buf_compact(&s->in);
	return buf_room(&s->in).iov_len || buf_grow(&s->in, s->in.cap * 2);
}

static void read_head(struct session *s)
{
	struct iovec room;
	size_t got;

	if (!make_room(s)) {
		close_now(s);
		return;
	}
	room = buf_room(&s->in);
	switch (conn_read(s->client, &room, 1, &got)) {
	case IO_DONE:
		buf_filled(&s->in, got);
		parse(s);
		return;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		buf_settle(&s->in);
		return;
	case IO_EOF:
	case IO_FAILED:
		close_now(s);
		return;
	}
}

/* -- between and behind exchanges ----------------------------------------------------- */

static void note(struct transaction *t)
{
	struct worker *w = t->worker;

	counters_took(&w->counters.duration, clock_ms() - t->started_ms);
	counters_answered(&w->counters, t->request.method, t->status);
	if (w->log)
		access_log_note(w->log, t);
	if (t->challenges) {
		answer_account(t);
		answer_record(t);
	}
	if (w->watch)
		w->watch(w->watch_arg, t);
}

static void next_exchange(struct session *s)
{
	struct transaction *t = s->transaction;
	bool login_lost = t->logged_in && !s->bound;
	bool keep = t->exchange.keep_client && !login_lost && !s->worker->draining &&
		    !conn_is_dead(s->client);
	bool whole = t->request_whole && t->why == WHY_DONE && s->phase != SESSION_TUNNEL;
	bool gone = t->why == WHY_CLIENT_GONE || s->phase == SESSION_TUNNEL;
	bool said_all = whole && !t->request.keep;

	note(t);
	s->transaction = NULL;
	transaction_give(t);
	if (gone) {
		close_now(s);
		return;
	}
	if (!keep || (!whole && why_status(t->why) != 407 && why_status(t->why) != 200)) {
		end(s, said_all);
		return;
	}
	enter(s, SESSION_IDLE);
	conn_resume(s->client);
	deadline_set(deadlines_of(s), &s->deadline,
		     conn_is_open(s->client) ? DEADLINE_IDLE : DEADLINE_HEAD);
	if (buf_unread(&s->in).len)
		parse(s);
	else
		buf_settle(&s->in);
}

void session_settle(struct session *s)
{
	while (s->phase != SESSION_GONE && s->transaction && s->transaction->over)
		next_exchange(s);
}

/* -- events ------------------------------------------------------------------------------ */

/* The request is whole and its answer not yet: octets now are the next request,
 * kept for later; an end means that nobody waits for the answer any more. */
static void watch(struct session *s)
{
	struct iovec room;
	size_t got;

	if (!make_room(s) || buf_unread(&s->in).len >= BUF_BLOCK / 2) {
		conn_pause(s->client);
		return;
	}
	room = buf_room(&s->in);
	switch (conn_read(s->client, &room, 1, &got)) {
	case IO_DONE:
		buf_filled(&s->in, got);
		return;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		buf_settle(&s->in);
		return;
	case IO_EOF:
	case IO_FAILED:
		transaction_lose_client(s->transaction);
		return;
	}
}

static void busy_readable(struct session *s)
{
	struct transaction *t = s->transaction;

	if (t->request_whole)
		watch(s);
	else if (t->refused_body || !t->body)
		conn_pause(s->client);	/* an answer or a login is on its way */
	else
		intake_readable(t);
}

static void readable(struct session *s)
{
	switch (s->phase) {
	case SESSION_IDLE:
	case SESSION_HEAD:
		read_head(s);
		return;
	case SESSION_BUSY:
		busy_readable(s);
		return;
	case SESSION_LINGER:
		linger(s);
		return;
	case SESSION_TUNNEL:
	case SESSION_GONE:
		return;
	}
}

static void writable(struct session *s)
{
	if (s->phase == SESSION_BUSY && deliver_flush(s->transaction))
		upstream_go_on(s->transaction);
}

static void say_insecure(const struct session *s)
{
	char room[64];
	struct log_ctx ctx = { s->id, session_who(s, room), "in the TLS handshake" };

	log_info(&ctx, "with the client it failed: %s%s", conn_detail(s->client),
		 s->inner ? " (does the client trust ca-cert?)" : "");
}

static void on_client(void *owner, struct conn *c, enum conn_event ev)
{
	struct session *s = owner;

	switch (ev) {
	case CONN_READABLE:
		readable(s);
		break;
	case CONN_WRITABLE:
		writable(s);
		break;
	case CONN_UP:			/* TLS with the client is up */
		if (s->inner)
			count(s->worker, COUNT_INTERCEPT_OPENED);
		deadline_set(deadlines_of(s), &s->deadline, DEADLINE_HEAD);
		break;
	case CONN_DOWN:
		if (s->inner)
			count(s->worker, COUNT_INTERCEPT_REFUSED);
		say_insecure(s);
		close_now(s);
		break;
	}
	session_settle(s);
}

/* A body may be slow, but not without end: since the last look it must have
 * brought min-rate octets a second, unless we made the client wait. */
static bool body_is_fast_enough(struct session *s)
{
	struct transaction *t = s->transaction;
	uint64_t now = body_length(t->body), since = now - s->body_mark;
	uint64_t least = t->snapshot->config->min_rate *
			 (deadlines_of(s)->length_ms[DEADLINE_BODY] / 1000);

	s->body_mark = now;
	return t->client_waits || (since && since >= least);
}

static void busy_late(struct session *s, enum deadline_class class)
{
	if (class == DEADLINE_BODY) {
		if (body_is_fast_enough(s))
			deadline_set(deadlines_of(s), &s->deadline, DEADLINE_BODY);
		else
			transaction_fail(s->transaction, WHY_BODY_TIMEOUT);
		return;
	}
	transaction_lose_client(s->transaction);
}

static void late(struct deadline *d)
{
	struct session *s = (void *)((char *)d - offsetof(struct session, deadline));

	switch (s->phase) {
	case SESSION_IDLE:
		read_head(s);		/* what is here already is not late */
		if (s->phase == SESSION_IDLE)
			close_now(s);
		break;
	case SESSION_LINGER:
		close_now(s);
		return;
	case SESSION_HEAD:
		begin(s, WHY_HEAD_TIMEOUT);
		break;
	case SESSION_BUSY:
		busy_late(s, d->class);
		break;
	case SESSION_TUNNEL:
	case SESSION_GONE:
		return;
	}
	session_settle(s);
}

/* -- inside ---------------------------------------------------------------------------------- */

/* A Host value has no port when it is the scheme's own. */
bool session_enclose(struct session *s, const struct url *u)
{
	struct str authority = u->authority;
	struct inner *in;

	if (u->port == 443)
		authority.len = u->host.len + (u->literal6 ? 2 : 0);
	in = malloc(sizeof *in + authority.len);
	if (!in)
		return false;
	memcpy(in->authority, authority.at, authority.len);
	authority.at = in->authority;
	in->url = (struct url){ .form = URL_ABSOLUTE, .scheme = SCHEME_HTTPS, .port = u->port,
				.authority = authority, .literal6 = u->literal6 };
	in->url.host = (struct str){ in->authority + u->literal6, u->host.len };
	free(s->inner);
	s->inner = in;
	conn_adopt(s->client, on_client, s);
	return true;
}

/* -- birth ----------------------------------------------------------------------------------- */

struct session *session_open(struct worker *w, int fd, const struct sockaddr *peer,
			     socklen_t len, struct tls_ctx *tls)
{
	struct session *s = w->spare_sessions;

	if (s)
		w->spare_sessions = s->next;
	else
		s = malloc(sizeof *s);
	if (!s) {
		clients_leave(peer);
		close(fd);
		return NULL;
	}
	memset(s, 0, sizeof *s);
	s->worker = w;
	s->deadline.fn = late;
	if (len <= sizeof s->peer)
		memcpy(&s->peer, peer, len);
	s->client = conn_accept(&w->net, fd, on_client, s);
	if (!s->client) {
		clients_leave(peer);
		s->next = w->spare_sessions;
		w->spare_sessions = s;
		return NULL;
	}
	s->id = (++w->next_id << 6) | (w->index & 63);
	s->next = w->sessions;
	if (s->next)
		s->next->prev = s;
	w->sessions = s;
	counter_add(&w->counters.clients, 1);
	deadline_set(deadlines_of(s), &s->deadline, DEADLINE_HEAD);
	if (tls && !conn_secure(s->client, tls, STR_NONE)) {
		close_now(s);
		return NULL;
	}
	return s;
}
