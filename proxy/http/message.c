/* message: see the header. Two halves: the reader, and the writing of heads.
 *
 * What llhttp sees. The gate has split and validated the head and knows where
 * the message ends; llhttp is asked for a second opinion on that, and only on
 * that. It is fed a digest: a stand-in start line (its list of methods and its
 * idea of a status line are narrower and wider than ours), the fields that
 * decide the length with their values verbatim, an empty line. If it then
 * expects another body than we do, the message is refused. A message with no
 * such field would make the same few octets for everybody and prove nothing:
 * it is not asked then, nor where no body can follow whatever the fields say
 * (there, llhttp 8 is known to be wrong).
 *
 * Content that ends after so many octets, or with the connection, does not
 * pass through llhttp: counting is ours, and the octets may be spliced past
 * us. A chunked body does: our decoder reads the size lines (llhttp 8 refuses
 * legal extensions, and has no limits), llhttp gets them normalised with the
 * same data, and has to see the same chunk, the same span and the same end.
 *
 * The two halves know one struct and one set of names: longer than a room should
 * be. */
#include "http/message.h"

#include <assert.h>
#include <stdlib.h>

#include <llhttp.h>

#include "http/chunk.h"
#include "http/gate.h"

enum phase {
	PHASE_HEAD,
	PHASE_LENGTH, PHASE_CHUNKED, PHASE_UNTIL_CLOSE,
	PHASE_END, PHASE_BAD,
};

/* What llhttp said during the octets it was fed last. */
struct opinion {
	llhttp_t parser;
	uint64_t length;		/* of the body, or of a chunk */
	uint16_t flags;
	struct str span;
	bool head, chunk, end;
};

enum { DIGEST_ROOM = 64 };

struct reader {
	struct arena *arena;
	struct reader_limits limits;
	struct request *request;	/* one of the two */
	struct response *response;
	enum method_kind to;
	enum phase phase;
	enum why why;
	struct gate_scan scan;
	uint64_t left;			/* octets of a PHASE_LENGTH body to come */
	unsigned interim;		/* 1xx so far */
	bool closing;			/* one of them does not let the connection be kept */
	struct str options;		/* Connection, for the trailers */
	/* From here on it is begun when it is needed. */
	struct opinion second;
	struct chunks chunks;
};

/* --- the second opinion ---------------------------------------------------- */

static int on_head(llhttp_t *p)
{
	struct opinion *o = p->data;

	o->head = true;
	o->flags = p->flags;
	o->length = p->content_length;
	return 0;
}

static int on_chunk(llhttp_t *p)
{
	struct opinion *o = p->data;

	o->chunk = true;
	o->length = p->content_length;
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
	struct opinion *o = p->data;

	o->span = (struct str){ at, len };
	return 0;
}

static int on_end(llhttp_t *p)
{
	struct opinion *o = p->data;

	o->end = true;
	return 0;
}

static const llhttp_settings_t settings = {
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_chunk_header = on_chunk,
	.on_message_complete = on_end,
};

static bool tell(struct opinion *o, struct str octets)
{
	o->chunk = o->end = false;
	o->span = STR_NONE;
	return octets.len == 0 ||
	       llhttp_execute(&o->parser, octets.at, octets.len) == HPE_OK;
}

/* A start line and the name of the field are the same in every digest: llhttp
 * reads them once, before main(), and each message goes on from a copy. */
enum beginning { REQUEST_LENGTH, REQUEST_CODING, RESPONSE_LENGTH, RESPONSE_CODING, BEGINNINGS };
static llhttp_t begun[BEGINNINGS];

__attribute__((constructor))
static void begin_digests(void)
{
	static const char *const text[BEGINNINGS] = {
		[REQUEST_LENGTH] = "POST / HTTP/1.1\r\nContent-Length: ",
		[REQUEST_CODING] = "POST / HTTP/1.1\r\nTransfer-Encoding: ",
		[RESPONSE_LENGTH] = "HTTP/1.1 200 OK\r\nContent-Length: ",
		[RESPONSE_CODING] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: ",
	};

	for (unsigned i = 0; i < BEGINNINGS; i++) {
		llhttp_init(&begun[i], i < RESPONSE_LENGTH ? HTTP_REQUEST : HTTP_RESPONSE,
			    &settings);
		if (llhttp_execute(&begun[i], text[i], strlen(text[i])) != HPE_OK)
			abort();
	}
}

static void begin(struct opinion *o, enum beginning beginning)
{
	o->parser = begun[beginning];
	o->parser.data = o;
	o->head = false;
}

/* The gate has found all numbers equal, and llhttp takes one only: the first.
 * One so padded with zeros that it does not fit is not agreed on. */
static bool agrees_on_length(struct reader *r, const struct headers *h, uint64_t length)
{
	struct str number = headers_find(h, HEADER_CONTENT_LENGTH)->value;
	struct opinion *o = &r->second;
	char room[DIGEST_ROOM];
	size_t n = 0;

	for (; n < number.len && number.at[n] >= '0' && number.at[n] <= '9'; n++) {
		if (n == sizeof room - 4)
			return false;
		room[n] = number.at[n];
	}
	memcpy(room + n, "\r\n\r\n", 4);
	begin(o, r->request ? REQUEST_LENGTH : RESPONSE_LENGTH);
	return tell(o, (struct str){ room, n + 4 }) && o->head &&
	       (o->flags & (F_CONTENT_LENGTH | F_TRANSFER_ENCODING | F_CHUNKED)) ==
	       F_CONTENT_LENGTH && o->length == length;
}

static bool agrees_on_coding(struct reader *r, const struct headers *h)
{
	struct opinion *o = &r->second;
	const struct header *f = headers_find(h, HEADER_TRANSFER_ENCODING);
	bool fine;

	begin(o, r->request ? REQUEST_CODING : RESPONSE_CODING);
	fine = tell(o, f->value);
	while (fine && (f = headers_next(h, HEADER_TRANSFER_ENCODING, f)))
		fine = tell(o, STR("\r\nTransfer-Encoding: ")) && tell(o, f->value);
	return fine && tell(o, STR("\r\n\r\n")) && o->head && o->flags & F_CHUNKED &&
	       !(o->flags & F_CONTENT_LENGTH);
}

/* --- heads ----------------------------------------------------------------- */

static enum step refuse(struct reader *r, enum why why)
{
	r->phase = PHASE_BAD;
	r->why = why;
	return STEP_BAD;
}

static struct reader *reader_new(struct arena *a, const struct reader_limits *l,
				 struct request *q, struct response *p)
{
	struct reader *r = arena_get(a, sizeof *r);

	if (r) {
		memset(r, 0, offsetof(struct reader, second));
		r->arena = a;
		r->limits = *l;
		r->request = q;
		r->response = p;
	}
	return r;
}

struct reader *reader_of_requests(struct arena *a, const struct reader_limits *l,
				  struct request *out)
{
	return reader_new(a, l, out, NULL);
}

struct reader *reader_of_responses(struct arena *a, const struct reader_limits *l,
				   enum method_kind to, struct response *out)
{
	struct reader *r = reader_new(a, l, NULL, out);

	if (r)
		r->to = to;
	return r;
}

static void begin_chunks(struct reader *r, const struct headers *h)
{
	const struct chunk_limits limits = {
		r->limits.extensions, r->limits.trailer, r->limits.fields,
	};

	chunk_begin(&r->chunks, r->arena, &limits);
	/* By the time the trailers come, its line may have been dropped. */
	r->options = headers_join(h, HEADER_CONNECTION, r->arena);
}

/* The head is fine: what comes next? */
static enum step begin_body(struct reader *r, const struct headers *h,
			    enum framing framing, uint64_t length)
{
	bool agreed = false;

	switch (framing) {
	case FRAMING_NONE:
		r->phase = PHASE_END;
		return STEP_HEAD;
	case FRAMING_UNTIL_CLOSE:
		r->phase = PHASE_UNTIL_CLOSE;
		return STEP_HEAD;
	case FRAMING_LENGTH:
		r->phase = length ? PHASE_LENGTH : PHASE_END;
		r->left = length;
		agreed = agrees_on_length(r, h, length);
		break;
	case FRAMING_CHUNKED:
		r->phase = PHASE_CHUNKED;
		begin_chunks(r, h);
		agreed = agrees_on_coding(r, h);
		break;
	}
	if (!agreed)
		return refuse(r, r->request ? WHY_BAD_FRAMING : WHY_BAD_RESPONSE_LENGTH);
	return STEP_HEAD;
}

static enum step take_request(struct reader *r, struct str head)
{
	struct request *q = r->request;
	enum why why = gate_request(head, r->arena, q);

	return why == WHY_DONE ? begin_body(r, &q->fields, q->framing, q->length) :
				 refuse(r, why);
}

static enum step take_response(struct reader *r, struct str head)
{
	struct response *p = r->response;
	enum why why = gate_response(head, r->arena, r->to, p);

	if (why != WHY_DONE)
		return refuse(r, why);
	r->closing = r->closing || !p->keep;
	p->keep = !r->closing;
	if (p->status >= 200 || p->status == 101)
		return begin_body(r, &p->fields, p->framing, p->length);
	if (++r->interim > r->limits.interim)
		return refuse(r, WHY_TOO_MANY_INTERIM);
	return STEP_HEAD;		/* and on to the next head */
}

static enum step feed_head(struct reader *r, struct str in, size_t *used)
{
	bool is_request = r->request != NULL, folded;
	size_t n = gate_find_head(in, &r->scan, &r->limits, is_request, &r->why);
	char *head;

	if (r->why != WHY_DONE)
		return refuse(r, r->why);
	if (n == 0)
		return STEP_MORE;
	folded = r->scan.folded;
	r->scan = (struct gate_scan){ 0 };
	head = arena_get(r->arena, n);
	if (!head)
		return refuse(r, WHY_OUT_OF_MEMORY);
	memcpy(head, in.at, n);
	*used = n;
	if (is_request)
		return take_request(r, (struct str){ head, n });
	if (folded)
		gate_unfold(head, n);
	return take_response(r, (struct str){ head, n });
}

/* --- bodies ---------------------------------------------------------------- */

static enum step feed_plain(struct reader *r, struct str in, size_t *used, struct str *body)
{
	bool counted = r->phase == PHASE_LENGTH;

	if (in.len == 0)
		return STEP_MORE;
	*body = counted && in.len > r->left ? str_first(in, r->left) : in;
	*used = body->len;
	if (counted && (r->left -= body->len) == 0)
		r->phase = PHASE_END;
	return STEP_BODY;
}

static enum step bad_chunk(struct reader *r)
{
	return refuse(r, r->request ? WHY_BAD_CHUNK : WHY_BAD_RESPONSE_CODING);
}

/* Trailer fields stay apart from the header: what must not come in a trailer
 * section is dropped, and so is what Connection names (RFC 9110 6.5.1, 7.6.1). */
static enum step end_chunks(struct reader *r)
{
	struct headers *t = r->request ? &r->request->trailers : &r->response->trailers;
	enum why why = gate_trailer(chunk_trailer(&r->chunks), r->arena, t);

	if (why == WHY_BAD_TRAILER && r->response)
		why = WHY_BAD_RESPONSE_CODING;
	if (why != WHY_DONE)
		return refuse(r, why);
	headers_drop_from_trailer(t);
	headers_drop_listed(t, r->options);
	if (!tell(&r->second, STR("\r\n")) || !r->second.end)
		return bad_chunk(r);
	r->phase = PHASE_END;
	return STEP_END;
}

/* Everything but the data itself; STEP_MORE: go on. */
static enum step on_chunk_event(struct reader *r, enum chunk_event event)
{
	struct opinion *o = &r->second;
	char room[20];

	switch (event) {
	case CHUNK_SIZE:
		return tell(o, chunk_line(room, r->chunks.left)) && o->chunk &&
		       o->length == r->chunks.left ? STEP_MORE : bad_chunk(r);
	case CHUNK_DATA_END:
		return tell(o, STR("\r\n")) ? STEP_MORE : bad_chunk(r);
	case CHUNK_END:
		return end_chunks(r);
	case CHUNK_BIG_EXTENSIONS:
		return refuse(r, r->request ? WHY_EXTENSIONS_TOO_BIG : WHY_BAD_RESPONSE_CODING);
	case CHUNK_BIG_TRAILER:
		return refuse(r, r->request ? WHY_HEAD_TOO_BIG : WHY_RESPONSE_TRAILER_TOO_BIG);
	case CHUNK_NO_MEMORY:
		return refuse(r, WHY_OUT_OF_MEMORY);
	case CHUNK_BAD:
		return bad_chunk(r);
	case CHUNK_DATA: case CHUNK_MORE:
		break;
	}
	return STEP_MORE;
}

static enum step feed_chunked(struct reader *r, struct str in, size_t *used, struct str *body)
{
	enum step step = STEP_MORE;
	struct opinion *o = &r->second;
	size_t n;

	while (step == STEP_MORE && *used < in.len) {
		enum chunk_event event = chunk_feed(&r->chunks, str_from(in, *used), &n, body);

		*used += n;
		if (event == CHUNK_DATA)
			return tell(o, *body) && o->span.at == body->at &&
			       o->span.len == body->len ? STEP_BODY : bad_chunk(r);
		step = on_chunk_event(r, event);
	}
	return step;
}

/* --- the reader ------------------------------------------------------------ */

enum step reader_feed(struct reader *r, struct str in, size_t *used, struct str *body)
{
	*used = 0;
	*body = STR_NONE;
	switch (r->phase) {
	case PHASE_HEAD:
		return feed_head(r, in, used);
	case PHASE_LENGTH: case PHASE_UNTIL_CLOSE:
		return feed_plain(r, in, used, body);
	case PHASE_CHUNKED:
		return feed_chunked(r, in, used, body);
	case PHASE_END:
		return STEP_END;
	case PHASE_BAD:
		break;
	}
	return STEP_BAD;
}

enum step reader_eof(struct reader *r)
{
	bool nothing = r->phase == PHASE_HEAD && r->scan.seen == 0;

	if (r->phase == PHASE_BAD)
		return STEP_BAD;
	if (r->phase == PHASE_UNTIL_CLOSE)
		r->phase = PHASE_END;
	if (r->phase == PHASE_END)
		return STEP_END;
	if (r->request)
		return refuse(r, nothing ? WHY_CLIENT_GONE : WHY_INCOMPLETE);
	return refuse(r, nothing ? WHY_UPSTREAM_CLOSED : WHY_RESPONSE_INCOMPLETE);
}

enum why reader_why(const struct reader *r)
{
	return r->why;
}

uint64_t reader_left(const struct reader *r)
{
	if (r->phase == PHASE_UNTIL_CLOSE)
		return UINT64_MAX;
	return r->phase == PHASE_LENGTH ? r->left : 0;
}

enum step reader_skip(struct reader *r, uint64_t n)
{
	assert(n <= reader_left(r));
	if (r->phase == PHASE_LENGTH && (r->left -= n) == 0)
		r->phase = PHASE_END;
	return r->phase == PHASE_END ? STEP_END : STEP_MORE;
}

bool reader_in_body(const struct reader *r)
{
	return r->phase > PHASE_HEAD && r->phase < PHASE_END;
}

/* --- writing --------------------------------------------------------------- */

enum { FRAME_MOST = 192 };			/* octets besides what we are given */

static char *put(char *at, struct str s)
{
	if (s.len)
		memcpy(at, s.at, s.len);
	return at + s.len;
}

static char *put_line(char *at, struct str name, struct str value)
{
	at = put(put(at, name), STR(": "));
	return put(put(at, value), STR("\r\n"));
}

static char *put_number(char *at, uint64_t n)
{
	char room[STR_NUMBER_ROOM];

	return put(at, str_number(room, n));
}

static char *put_length(char *at, uint64_t length)
{
	return put(put_number(put(at, STR("Content-Length: ")), length), STR("\r\n"));
}

/* Lines that are not dropped, but for those that we write ourselves. */
static bool is_left_out(const struct header *f, enum header_id ours)
{
	return f->dropped || header_traits(f->id) & TRAIT_FRAMING ||
	       (ours != HEADER_OTHER && f->id == ours);
}

/* Does the line stand in the head that was read as we would write it? */
static bool is_as_read(const struct header *f)
{
	return f->value.at == f->name.at + f->name.len + 2 &&
	       memcmp(f->name.at + f->name.len, ": ", 2) == 0;
}

/* Does b's line stand right behind a's, with nothing but CRLF between? */
static bool follows(const struct header *a, const struct header *b)
{
	return b->name.at == a->value.at + a->value.len + 2 && is_as_read(b);
}

/* Lines that stand in one piece in the head that was read are copied in one. */
static char *put_fields(char *at, const struct headers *h, enum header_id ours)
{
	const struct header *end = h->at + h->count;

	for (const struct header *f = h->at; f < end; f++) {
		const struct header *last = f;

		if (is_left_out(f, ours))
			continue;
		if (!is_as_read(f)) {
			at = put_line(at, f->name, f->value);
			continue;
		}
		while (last + 1 < end && !is_left_out(last + 1, ours) && follows(last, last + 1))
			last++;
		at = put(at, (struct str){ f->name.at, (size_t)(last->value.at + last->value.len -
								 f->name.at) });
		at = put(at, STR("\r\n"));
		f = last;
	}
	return at;
}

static char *put_extra(char *at, const struct head_extra *x)
{
	if (x->via.len)
		at = put_line(at, STR("Via"), x->via);
	for (unsigned i = 0; i < x->n; i++)
		at = put_line(at, x->add[i].name, x->add[i].value);
	if (x->upgrade.len) {
		at = put(at, STR("Connection: Upgrade\r\n"));
		at = put_line(at, STR("Upgrade"), x->upgrade);
	} else if (x->close) {
		at = put(at, STR("Connection: close\r\n"));
	}
	return put(at, STR("\r\n"));
}

static size_t lines_most(const struct header *f, unsigned n)
{
	size_t size = 0;

	for (unsigned i = 0; i < n; i++)
		size += f[i].name.len + f[i].value.len + 4;
	return size;
}

static size_t head_most(const struct headers *h, const struct head_extra *x)
{
	return FRAME_MOST + lines_most(h->at, h->count) + lines_most(x->add, x->n) +
	       x->via.len + x->host.len + x->target.len + x->upgrade.len;
}

struct str request_head(const struct request *q, const struct head_extra *x, struct arena *a)
{
	size_t most = head_most(&q->fields, x) + q->method.len;
	char *head = arena_get(a, most), *at = head;

	if (!head)
		return STR_NONE;
	at = put(put(at, q->method), STR(" "));
	at = put(put(at, x->target), STR(" HTTP/1.1\r\n"));
	at = put_line(at, STR("Host"), x->host);
	at = put_fields(at, &q->fields, HEADER_HOST);
	if (q->framing == FRAMING_CHUNKED)
		at = put(at, STR("Transfer-Encoding: chunked\r\n"));
	else if (q->framing == FRAMING_LENGTH)
		at = put_length(at, q->length);
	at = put_extra(at, x);
	assert((size_t)(at - head) <= most);
	return (struct str){ head, (size_t)(at - head) };
}

struct str response_head(const struct response *p, const struct head_extra *x, struct arena *a)
{
	size_t most = head_most(&p->fields, x) + p->reason.len;
	char *head = arena_get(a, most), *at = head;

	if (!head)
		return STR_NONE;
	at = put_number(put(at, STR("HTTP/1.1 ")), p->status);
	at = put(put(put(at, STR(" ")), p->reason), STR("\r\n"));
	at = put_fields(at, &p->fields, HEADER_OTHER);
	if (p->framing == FRAMING_CHUNKED)
		at = put(at, STR("Transfer-Encoding: chunked\r\n"));
	else if (p->framing == FRAMING_LENGTH || (p->framing == FRAMING_NONE && p->has_length))
		at = put_length(at, p->length);
	at = put_extra(at, x);
	assert((size_t)(at - head) <= most);
	return (struct str){ head, (size_t)(at - head) };
}

struct str chunk_line(char room[20], uint64_t size)
{
	char *digit = room + 18;

	memcpy(digit, "\r\n", 2);
	do {
		*--digit = "0123456789abcdef"[size & 15];
	} while (size >>= 4);
	return (struct str){ digit, (size_t)(room + 20 - digit) };
}

struct str chunk_last(const struct headers *trailers, struct arena *a)
{
	char *last = arena_get(a, FRAME_MOST + lines_most(trailers->at, trailers->count));
	char *at = last;

	if (!last)
		return STR_NONE;
	at = put(put_fields(put(at, STR("0\r\n")), trailers, HEADER_OTHER), STR("\r\n"));
	return (struct str){ last, (size_t)(at - last) };
}

bool method_is_idempotent(enum method_kind kind)
{
	switch (kind) {
	case METHOD_GET: case METHOD_HEAD: case METHOD_OPTIONS: case METHOD_TRACE:
	case METHOD_PUT: case METHOD_DELETE: case METHOD_IDEMPOTENT:
		return true;
	case METHOD_OTHER: case METHOD_POST: case METHOD_CONNECT:
		return false;
	}
	return false;
}
