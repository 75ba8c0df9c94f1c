/* receive: the response comes in. Octets of the upstream become interim and final
 * heads, body spans for the client's lane or for the drain, and an end; what they
 * mean for the exchange is posted as facts. */
#include "worker/transaction.h"

#include <stdio.h>

#include "worker/intercept.h"

/* A second 100 (the replay's) is swallowed, and so is one we asked for. */
static void took_interim(struct transaction *t)
{
	bool is_continue = t->response.status == 100;

	if (is_continue && t->expecting) {
		transaction_sleep(t);
		upstream_release(t);
		return;
	}
	if (is_continue && t->said_continue)
		return;
	if (is_continue)
		t->said_continue = true;
	deliver_interim(t);
}

/* Only to what the client offered, and when all of its request was sent (RFC 9110
 * 7.8): what came behind would else be half HTTP, half not. */
static bool may_switch(const struct transaction *t)
{
	struct str list = t->response.upgrade, protocol;
	bool any = false;

	while (str_list_next(&list, &protocol)) {
		if (!str_list_has(t->request.upgrade, protocol))
			return false;
		any = true;
	}
	return any && t->exchange.request_sent;
}

static void took_head(struct transaction *t)
{
	struct exchange_fact fact = { .event = GOT_RESPONSE };
	uint16_t status = t->response.status;

	if (status < 200 && status != 101) {
		headers_drop_hop_by_hop(&t->response.fields);
		took_interim(t);
		return;
	}
	headers_drop_hop_by_hop(&t->response.fields);
	bound_response(t);
	transaction_sleep(t);
	attempt_now(t)->status = status;
	attempt_now(t)->head_ms = clock_ms() - attempt_now(t)->started_ms;
	if (status == 407 && upstream_in_absolute_form(t)) {
		transaction_lose_upstream(t, WHY_PARENT_AUTH);
		return;
	}
	if (status == 101) {
		if (!may_switch(t)) {
			transaction_lose_upstream(t, WHY_BAD_UPGRADE);
			return;
		}
		fact.tunnel = true;
	} else if (status == 449) {
		answer_judge(t, &fact);
	}
	if (!fact.challenge && !memory_seen(t))
		fact = (struct exchange_fact){ .event = LOST_UPSTREAM, .retryable = true };
	transaction_post(t, fact);
}

static void took_end(struct transaction *t)
{
	bool surplus = buf_unread(&t->up_in).len != 0;

	t->response_whole = true;
	t->response_keep = t->response.keep && !surplus && !t->send_failed;
	deliver_end(t);
}

static bool stands(const struct transaction *t, const struct conn *c)
{
	return t->upstream == c && !t->over &&
	       (t->exchange.state == EX_SEND || t->exchange.state == EX_DRAIN ||
		t->exchange.state == EX_STREAM);
}

static void took_body(struct transaction *t, struct str span)
{
	if (t->exchange.state == EX_STREAM)
		deliver_body(t, span);
	else
		answer_drained(t, span);
}

/* Takes apart what is in the block, until it is used up or the client's lane
 * is full. */
static void digest(struct transaction *t)
{
	struct conn *c = t->upstream;

	while (stands(t, c) && !t->response_whole) {
		struct str span = STR_NONE;
		size_t used = 0;
		enum step step;

		if (!deliver_has_room(t) && !deliver_flush(t))
			return;
		step = reader_feed(t->from_upstream, buf_unread(&t->up_in), &used, &span);
		buf_used(&t->up_in, used);
		switch (step) {
		case STEP_HEAD:
			took_head(t);
			break;
		case STEP_BODY:
			took_body(t, span);
			break;
		case STEP_END:
			took_end(t);
			break;
		case STEP_MORE:
			deliver_flush(t);
			return;
		case STEP_BAD:
			transaction_lose_upstream(t, reader_why(t->from_upstream));
			break;
		}
	}
	if (!t->over && t->exchange.state != EX_TUNNEL)
		deliver_flush(t);
}

/* The kernel tells of a reset once. If a write was told, what the reader sees looks
 * like an end. */
bool upstream_ended_well(struct transaction *t)
{
	bool may_be_reset = t->send_failed && conn_is_plain(t->upstream);

	return !may_be_reset && reader_eof(t->from_upstream) == STEP_END;
}

static void took_eof(struct transaction *t)
{
	if (t->exchange.state == EX_ANSWER) {
		transaction_lose_upstream(t, WHY_DONE);
		return;
	}
	if (upstream_ended_well(t)) {
		t->response_whole = true;
		t->response_keep = false;
		deliver_end(t);
		if (!t->over)
			deliver_flush(t);
		return;
	}
	transaction_lose_upstream(t, t->heard ? WHY_RESPONSE_INCOMPLETE : WHY_UPSTREAM_CLOSED);
}

static bool make_room(struct transaction *t)
{
	uint32_t most = t->snapshot->limits.head + BUF_BLOCK;

	if (!buf_take(&t->up_in))
		return false;
	if (buf_room(&t->up_in).iov_len)
		return true;
	buf_compact(&t->up_in);
	return buf_room(&t->up_in).iov_len ||
	       (t->up_in.cap < most && buf_grow(&t->up_in, t->up_in.cap * 2));
}

static void renew_deadline(struct transaction *t)
{
	if (t->exchange.state == EX_STREAM)
		deadline_set(&t->worker->net.deadlines, &t->deadline, DEADLINE_MIDWAY);
}

void receive(struct transaction *t)
{
	struct iovec room;
	size_t got;

	if (t->exchange.state == EX_STREAM && !lane_is_empty(&t->down) && !deliver_flush(t))
		return;			/* paused by deliver_flush */
	if (t->exchange.state == EX_STREAM && deliver_can_splice(t)) {
		deliver_splice(t);
		renew_deadline(t);
		return;
	}
	if (!make_room(t)) {
		transaction_lose_upstream(t, WHY_OUT_OF_MEMORY);
		return;
	}
	room = buf_room(&t->up_in);
	switch (conn_read(t->upstream, &room, 1, &got)) {
	case IO_DONE:
		t->heard = true;
		buf_filled(&t->up_in, got);
		renew_deadline(t);
		if (t->exchange.state == EX_ANSWER)	/* surplus behind the challenge */
			transaction_lose_upstream(t, WHY_DONE);
		else
			digest(t);
		break;
	case IO_EOF:
		took_eof(t);
		break;
	case IO_FAILED:
		transaction_lose_upstream(t, t->heard ? WHY_RESPONSE_INCOMPLETE :
							WHY_UPSTREAM_CLOSED);
		break;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		break;
	}
	if (!t->over && lane_is_empty(&t->down))
		buf_settle(&t->up_in);
}

void upstream_go_on(struct transaction *t)
{
	if (!t->upstream_waits || !t->upstream)
		return;
	t->upstream_waits = false;
	conn_resume(t->upstream);
	renew_deadline(t);
	if (buf_unread(&t->up_in).len)
		digest(t);
}
