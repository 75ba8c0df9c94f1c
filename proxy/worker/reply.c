/* reply: our own words to a client: one line of text, the status that RFC 9110
 * and 9209 recommend for the reason, and Proxy-Status. Every reply but 407 and
 * the local answers ends the connection. */
#include "worker/transaction.h"

#include <stdio.h>

#include "ground/log.h"

static const struct { uint16_t status; const char *phrase; } phrases[] = {
	{ 200, "OK" }, { 400, "Bad Request" }, { 403, "Forbidden" },
	{ 407, "Proxy Authentication Required" }, { 408, "Request Timeout" },
	{ 413, "Content Too Large" }, { 414, "URI Too Long" },
	{ 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
	{ 501, "Not Implemented" }, { 502, "Bad Gateway" }, { 503, "Service Unavailable" },
	{ 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
};

static const char *phrase_of(uint16_t status)
{
	for (unsigned i = 0; i < sizeof phrases / sizeof *phrases; i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return "Error";
}

/* An sf-string (RFC 8941 3.3.3): printable ASCII, quotes and backslashes escaped. */
static struct str quoted(struct transaction *t, const char *text)
{
	char room[2 * DETAIL_ROOM], *to = room;

	for (; *text && to < room + sizeof room - 2; text++) {
		if (*text == '"' || *text == '\\')
			*to++ = '\\';
		*to++ = (char)(*text >= 0x20 && *text < 0x7f ? *text : '?');
	}
	return arena_keep(t->arena, (struct str){ room, (size_t)(to - room) });
}

static struct str error_status(struct transaction *t)
{
	struct str details = quoted(t, *t->detail ? t->detail : why_text(t->why));

	if (!*why_token(t->why))
		return STR_NONE;
	if (t->challenges)
		return arena_print(t->arena, "retrywith; error=%s; received-status=449; "
				   "details=\"%.*s\"", why_token(t->why), STR_FMT(details));
	return arena_print(t->arena, "retrywith; error=%s; details=\"%.*s\"",
			   why_token(t->why), STR_FMT(details));
}

struct str proxy_status(struct transaction *t)
{
	if (!t->snapshot->config->proxy_status)
		return STR_NONE;
	if (t->exchange.state == EX_FLUSH && t->why != WHY_DONE && !t->replays && !t->challenges)
		return error_status(t);
	if (t->unanswered != UNANSWERED_NONE)
		return arena_print(t->arena, "retrywith; received-status=449; "
				   "details=\"unanswered=%s\"", unanswered_word(t->unanswered));
	return STR("retrywith; received-status=449; details=\"replayed\"");
}

static struct str trace_text(struct transaction *t)
{
	struct headers *fields = &t->request.fields;
	struct head_extra x = { .host = t->request.host, .target = t->request.target };

	for (unsigned i = 0; i < fields->count; i++)
		if (header_traits(fields->at[i].id) & TRAIT_SECRET)
			fields->at[i].dropped = true;
	return request_head(&t->request, &x, t->arena);
}

static struct str text_of(struct transaction *t, uint16_t status)
{
	if (status == 200)
		return t->request.kind == METHOD_TRACE ? trace_text(t) : STR("");
	return arena_print(t->arena, "retrywith: %u %s: %s%s%s\n", status, why_name(t->why),
			   why_text(t->why), *t->detail ? ": " : "", t->detail);
}

static struct str head_of(struct transaction *t, uint16_t status, struct str text, bool close)
{
	const char *type = status == 200 ? "message/http" : "text/plain; charset=utf-8";
	struct str more = STR("");

	if (t->snapshot->config->proxy_status) {
		struct str p = error_status(t);

		if (p.len)
			more = arena_print(t->arena, "Proxy-Status: %.*s\r\n", STR_FMT(p));
	}
	if (status == 407)
		more = arena_print(t->arena, "%.*sProxy-Authenticate: Basic realm=\"retrywith\", "
				   "charset=\"UTF-8\"\r\n", STR_FMT(more));
	if (status == 503)
		more = arena_print(t->arena, "%.*sRetry-After: 1\r\n", STR_FMT(more));
	if (t->request.kind == METHOD_OPTIONS && status == 200)
		more = arena_print(t->arena, "%.*sAllow: GET, HEAD, POST, PUT, DELETE, OPTIONS, "
				   "TRACE, CONNECT\r\n", STR_FMT(more));
	return arena_print(t->arena,
			   "HTTP/1.1 %u %s\r\nDate: %s\r\n%s%s%sContent-Length: %zu\r\n"
			   "Cache-Control: no-store\r\n%.*s%s\r\n",
			   status, phrase_of(status), clock_date(),
			   text.len ? "Content-Type: " : "", text.len ? type : "",
			   text.len ? "\r\n" : "", text.len, STR_FMT(more),
			   close ? "Connection: close\r\n" : "");
}

static void say(struct transaction *t, uint16_t status)
{
	char room[64];
	struct log_ctx ctx = transaction_log_ctx(t, room);

	if (status >= 500)
		log_warn(&ctx, "%u %s: %s%s%s (%.*s)", status, why_name(t->why), why_text(t->why),
			 *t->detail ? ": " : "", t->detail, STR_FMT(t->key.host));
	else if (status >= 400)
		log_info(&ctx, "%u %s: %s", status, why_name(t->why), why_text(t->why));
}

/* HEAD gets no content, whatever else is wrong with the request (RFC 9110 9.3.2):
 * of a head that was never split, the first octets tell. */
static bool is_head(const struct transaction *t)
{
	return t->request.kind == METHOD_HEAD ||
	       (!t->request.method.len &&
		str_starts(buf_unread(&t->session->in), STR("HEAD ")));
}

void reply(struct transaction *t)
{
	uint16_t status = why_status(t->why);
	bool stays = status == 200 || status == 407;
	struct str text, head;

	deadline_clear(&t->worker->net.deadlines, &t->deadline);
	transaction_sleep(t);
	if (!status) {			/* nobody to say it to */
		t->exchange.keep_client = false;
		POST(t, .event = CLIENT_TOOK_ALL);
		return;
	}
	/* In place of a head that nobody has seen; but behind an interim one, of which
	 * the client may have a part. */
	if (t->status)
		lane_drop(&t->down);
	t->status = status;
	counter_add(&t->worker->counters.why[t->why], 1);
	say(t, status);
	t->exchange.keep_client = t->exchange.keep_client && stays && t->request_whole;
	text = text_of(t, status);
	head = head_of(t, status, text, !t->exchange.keep_client);
	if (arena_full(t->arena))
		head = STR("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n"
			   "Connection: close\r\n\r\n");
	t->saved_waits = false;
	t->heads += head.len;
	lane_add(&t->down, head);
	if (!is_head(t) && !arena_full(t->arena))
		lane_add(&t->down, text);
	deliver_flush(t);
}
