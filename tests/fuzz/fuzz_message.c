/* fuzz_message: the gate, the readers and the writers of heads against each
 * other, and against strict.h.
 *
 * Input: one octet of flags (see enum flag), one count of splits, so many
 * octets that say where, then what a peer sends.
 *
 * What has to hold: the same verdict, the same heads and the same body whether
 * the octets come whole, split there, or one by one; what would be sent on is
 * what a strict parser takes, with exactly one framing; and it would be sent on
 * unchanged the next time. (P02) */
#include <stdio.h>
#include <stdlib.h>

#include "ground/buf.h"
#include "http/message.h"
#include "strict.h"

enum flag { FLAG_RESPONSE = 1, FLAG_TO = 6, FLAG_EOF = 8, FLAG_TIGHT = 16 };
enum { MESSAGES_MOST = 4, ARENA_MOST = 256 * 1024, SPLITS_MOST = 15 };

static const enum method_kind kinds[] = {
	METHOD_GET, METHOD_HEAD, METHOD_CONNECT, METHOD_POST,
};

static const struct reader_limits wide = { 65536, 32768, 100, 16384, 16384, 16 };
static const struct reader_limits tight = { 512, 128, 8, 64, 128, 2 };

struct text {
	char *at;
	size_t len, cap;
};

/* What was seen of the octets of one peer. */
struct seen {
	unsigned flags;
	struct text out;		/* what would be sent on */
	struct text body;		/* of the message at hand */
	size_t whole;			/* octets of whole messages in `out` */
	size_t used;			/* octets of the input */
	enum step last;
	enum why why;
};

__attribute__((noreturn, format(printf, 1, 2)))
static void broken(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

static void add(struct text *t, struct str s)
{
	while (t->cap - t->len < s.len) {
		t->cap = t->cap ? 2 * t->cap : 4096;
		t->at = realloc(t->at, t->cap);
		if (!t->at)
			abort();
	}
	if (s.len)
		memcpy(t->at + t->len, s.at, s.len);
	t->len += s.len;
}

static struct str of(const struct text *t)
{
	return (struct str){ t->at, t->len };
}

/* One message being read. */
struct reading {
	struct seen *seen;
	struct arena *arena;
	struct reader *reader;
	struct request request;
	struct response response;
	enum framing framing;		/* that of the message as sent on */
	bool headed;
};

static void open_reading(struct reading *r, struct seen *seen)
{
	const struct reader_limits *l = seen->flags & FLAG_TIGHT ? &tight : &wide;

	*r = (struct reading){ .seen = seen };
	r->arena = arena_new(4096, ARENA_MOST);
	r->reader = seen->flags & FLAG_RESPONSE ?
		reader_of_responses(r->arena, l, kinds[(seen->flags & FLAG_TO) >> 1],
				    &r->response) :
		reader_of_requests(r->arena, l, &r->request);
}

static struct str request_again(struct reading *r)
{
	struct request *q = &r->request;
	struct head_extra x = { .target = q->target, .upgrade = q->upgrade,
				.host = q->url.authority.len ? q->url.authority : q->host };

	headers_drop_hop_by_hop(&q->fields);
	r->framing = q->framing;
	return request_head(q, &x, r->arena);
}

/* As a client of HTTP/1.1 would get it. */
static struct str response_again(struct reading *r)
{
	struct response p = r->response;
	struct head_extra x = { .upgrade = p.status == 101 ? p.upgrade : STR_NONE };

	headers_drop_hop_by_hop(&p.fields);
	if (p.framing == FRAMING_UNTIL_CLOSE)
		p.framing = FRAMING_CHUNKED;
	r->framing = p.framing;
	return response_head(&p, &x, r->arena);
}

static void saw_head(struct reading *r)
{
	struct str head = r->seen->flags & FLAG_RESPONSE ? response_again(r) : request_again(r);

	if (!head.at)
		broken("no room for a head of an input that small");
	add(&r->seen->out, head);
	r->headed = true;
	r->seen->body.len = 0;
}

static void saw_body_end(struct reading *r, bool whole)
{
	struct seen *s = r->seen;
	char room[20];
	struct headers *trailers = s->flags & FLAG_RESPONSE ? &r->response.trailers :
							      &r->request.trailers;

	if (!r->headed)
		return;
	if (r->framing == FRAMING_CHUNKED && s->body.len) {
		add(&s->out, chunk_line(room, s->body.len));
		add(&s->out, of(&s->body));
		add(&s->out, STR("\r\n"));
	} else {
		add(&s->out, of(&s->body));
	}
	if (whole && r->framing == FRAMING_CHUNKED)
		add(&s->out, chunk_last(trailers, r->arena));
	if (whole)
		s->whole = s->out.len;
}

static enum step one_step(struct reading *r, struct str in, size_t *used)
{
	struct str span;
	enum step step = reader_feed(r->reader, in, used, &span);

	if (*used > in.len)
		broken("used more than there was");
	if (step == STEP_BODY && (span.at < in.at || span.at + span.len > in.at + in.len))
		broken("a span that is not of the input");
	if (step == STEP_HEAD)
		saw_head(r);
	if (step == STEP_BODY)
		add(&r->seen->body, span);
	return step;
}

/* Octets up to `end`, of which `at` are used. */
static enum step feed(struct reading *r, const char *in, size_t *at, size_t end)
{
	enum step step;
	size_t used;

	do {
		step = one_step(r, (struct str){ in + *at, end - *at }, &used);
		*at += used;
	} while (step == STEP_HEAD || step == STEP_BODY);
	return step;
}

/* Reads messages until the octets are used up. sizes: of the pieces; n 0: one
 * octet at a time. */
static void read_all(struct seen *s, struct str in, const uint8_t *sizes, unsigned n, bool whole)
{
	size_t at = 0, end = 0;

	s->last = STEP_END;
	for (unsigned i = 0, m = 0; m < MESSAGES_MOST && s->last == STEP_END && at < in.len; m++) {
		struct reading r;

		open_reading(&r, s);
		s->last = feed(&r, in.at, &at, end);
		while (s->last == STEP_MORE && end < in.len) {
			end += whole ? in.len : n ? 1 + (size_t)sizes[i++ % n] : 1;
			if (end > in.len)
				end = in.len;
			s->last = feed(&r, in.at, &at, end);
		}
		if (s->last == STEP_MORE && s->flags & FLAG_EOF)
			s->last = reader_eof(r.reader);
		s->why = s->last == STEP_BAD ? reader_why(r.reader) : WHY_DONE;
		if (s->last == STEP_BAD && s->why == WHY_DONE)
			broken("bad, but no reason");
		saw_body_end(&r, s->last == STEP_END);
		arena_free(r.arena);
	}
	s->used = at;
}

static void forget(struct seen *s)
{
	free(s->out.at);
	free(s->body.at);
}

static void compare(const struct seen *a, const struct seen *b, const char *how)
{
	if (a->last != b->last || a->why != b->why)
		broken("%s: step %d %s, whole: step %d %s", how, (int)b->last, why_name(b->why),
		       (int)a->last, why_name(a->why));
	if (a->last != STEP_BAD && a->used != b->used)
		broken("%s: %zu used, whole: %zu", how, b->used, a->used);
	if (!str_eq(of(&a->out), of(&b->out)) || a->whole != b->whole)
		broken("%s: sent on\n%.*s\nwhole:\n%.*s", how, STR_FMT(of(&b->out)),
		       STR_FMT(of(&a->out)));
}

/* Everything that would be sent on, as its receiver sees it. */
static void check_strictly(const struct seen *s)
{
	static const enum strict_side to[] = {
		STRICT_RESPONSE, STRICT_TO_HEAD, STRICT_TO_CONNECT, STRICT_RESPONSE,
	};
	enum strict_side side = s->flags & FLAG_RESPONSE ? to[(s->flags & FLAG_TO) >> 1] :
							   STRICT_REQUEST;

	for (size_t at = 0; at < s->out.len; ) {
		struct strict m = { .body_to = NULL };
		enum strict_verdict is = strict_read(&m, s->out.at + at, s->out.len - at, side);

		if (is == STRICT_WRONG)
			broken("not what may be sent: %s\n%.*s", m.wrong,
			       (int)(s->out.len - at), s->out.at + at);
		if (is == STRICT_SHORT && at < s->whole)
			broken("short, but sent on as whole:\n%.*s", (int)(s->out.len - at),
			       s->out.at + at);
		at += m.used;
	}
}

static void check_again(const struct seen *s)
{
	struct seen again = { .flags = s->flags & ~(unsigned)(FLAG_EOF | FLAG_TIGHT) };
	struct str out = str_first(of(&s->out), s->whole);

	if (out.len) {
		read_all(&again, out, NULL, 0, true);
		if (!str_eq(of(&again.out), out))
			broken("sent on twice (%s):\n%.*s\nonce:\n%.*s", why_name(again.why),
			       STR_FMT(of(&again.out)), STR_FMT(out));
	}
	forget(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole = { 0 }, split = { 0 }, single = { 0 };
	struct str in;
	unsigned n;

	if (size < 2 || size < 2u + data[1] % (SPLITS_MOST + 1))
		return -1;
	n = data[1] % (SPLITS_MOST + 1);
	whole.flags = split.flags = single.flags = data[0];
	in = (struct str){ (const char *)data + 2 + n, size - 2 - n };
	read_all(&whole, in, NULL, 0, true);
	read_all(&split, in, data + 2, n, false);
	read_all(&single, in, NULL, 0, false);
	compare(&whole, &split, "split");
	compare(&whole, &single, "octet by octet");
	check_strictly(&whole);
	check_again(&whole);
	forget(&whole);
	forget(&split);
	forget(&single);
	return 0;
}
