/* Wire rows through the reader, whole, octet by octet and cut in two at every
 * place near the front: the transcript has to be the expected one each time.
 * Then what a row cannot say: skipping, ends of streams, limits, and writing. (P03) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "http/message.h"
#include "wire_rows.h"

static const struct reader_limits usual = {
	.head = 65536, .line = 8192, .fields = 100,
	.extensions = 16384, .trailer = 8192, .interim = 8,
};
static const struct reader_limits tight = {
	.head = 96, .line = 48, .fields = 3,
	.extensions = 8, .trailer = 24, .interim = 1,
};
/* A start line may fill a head and more: still one verdict. */
static const struct reader_limits upside_down = {
	.head = 32, .line = 30, .fields = 1,
};
static const struct reader_limits *limits = &usual;

enum { CUTS = 200, SHORT = 4096, TOLD_BODY = 40 };

/* A transcript. Each message is METHOD or status, [framing], =body, +trailer,
 * and "." at its end; then the reason of a refusal, or what the end of the
 * stream made of it in brackets; ~n: octets nobody asked for. */
struct told {
	char text[8192];
	size_t len;
};

__attribute__((format(printf, 2, 3)))
static void tell(struct told *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	t->len += (size_t)vsnprintf(t->text + t->len, sizeof t->text - t->len, fmt, ap);
	va_end(ap);
	assert_true(t->len < sizeof t->text);
}

/* One side's octets on their way through one reader after the other. */
struct wire {
	enum row_kind kind;
	struct arena *arena;
	struct reader *reader;
	struct request request;
	struct response response;
	struct told *told;
	uint64_t body;			/* octets of content of this message */
	size_t done;			/* octets of the row used */
	bool over;			/* no more readers */
	const char *gap;
};

static void next_reader(struct wire *w)
{
	if (w->kind == REQUEST)
		w->reader = reader_of_requests(w->arena, limits, &w->request);
	else
		w->reader = reader_of_responses(w->arena, limits,
			w->kind == TO_HEAD ? METHOD_HEAD :
			w->kind == TO_CONNECT ? METHOD_CONNECT : METHOD_GET, &w->response);
	assert_non_null(w->reader);
}

static void tell_framing(struct told *t, enum framing framing, uint64_t length)
{
	switch (framing) {
	case FRAMING_NONE:		tell(t, "[-]"); break;
	case FRAMING_LENGTH:		tell(t, "[%llu]", (unsigned long long)length); break;
	case FRAMING_CHUNKED:		tell(t, "[c]"); break;
	case FRAMING_UNTIL_CLOSE:	tell(t, "[x]"); break;
	}
}

static void tell_head(struct wire *w)
{
	tell(w->told, "%s", w->gap);
	w->gap = " ";
	w->body = 0;
	if (w->kind == REQUEST) {
		tell(w->told, "%.*s", STR_FMT(w->request.method));
		tell_framing(w->told, w->request.framing, w->request.length);
	} else {
		tell(w->told, "%u", w->response.status);
		tell_framing(w->told, w->response.framing, w->response.length);
	}
}

static void tell_body(struct wire *w, struct str body)
{
	assert_true(body.len > 0);
	if (w->body == 0)
		tell(w->told, "=");
	for (size_t i = 0; i < body.len && w->body + i < TOLD_BODY; i++)
		tell(w->told, "%c", body.at[i] ? body.at[i] : '?');
	w->body += body.len;
}

static void tell_end(struct wire *w)
{
	struct headers *t = w->kind == REQUEST ? &w->request.trailers : &w->response.trailers;

	if (w->body > TOLD_BODY)
		tell(w->told, "#%llu", (unsigned long long)w->body);
	for (unsigned i = 0; i < t->count; i++)
		if (!t->at[i].dropped)
			tell(w->told, "+%.*s:%.*s", STR_FMT(t->at[i].name),
			     STR_FMT(t->at[i].value));
	tell(w->told, ".");
}

static void tell_why(struct wire *w)
{
	enum why why = reader_why(w->reader);

	assert_int_not_equal(why, WHY_DONE);
	tell(w->told, "%s%s", w->gap, why_name(why));
	w->over = true;
}

/* In an allocation of its own, so that a sanitizer sees a read too far. */
static struct str exact(struct str s)
{
	char *at = malloc(s.len ? s.len : 1);

	assert_non_null(at);
	if (s.len)
		memcpy(at, s.at, s.len);
	return (struct str){ at, s.len };
}

/* One call of the reader; false: it wants more, or there will be no more. */
static bool pull(struct wire *w, struct str raw, size_t known)
{
	struct str rest = { raw.at + w->done, known - w->done }, body;
	struct str in = raw.len <= SHORT ? exact(rest) : rest;
	bool goes_on = true;
	enum step step;
	size_t used;

	step = reader_feed(w->reader, in, &used, &body);
	assert_true(used <= in.len);
	w->done += used;
	switch (step) {
	case STEP_HEAD:
		tell_head(w);
		break;
	case STEP_BODY:
		tell_body(w, body);
		break;
	case STEP_END:
		tell_end(w);
		w->over = w->kind != REQUEST;
		if (w->kind == REQUEST)
			next_reader(w);
		goes_on = !w->over && w->done < known;
		break;
	case STEP_MORE:
		goes_on = false;
		break;
	case STEP_BAD:
		tell_why(w);
		goes_on = false;
		break;
	}
	if (raw.len <= SHORT)
		free((char *)in.at);
	return goes_on;
}

static void finish(struct wire *w, struct str raw)
{
	if (w->over) {
		if (reader_why(w->reader) == WHY_DONE && w->done < raw.len)
			tell(w->told, " ~%zu", raw.len - w->done);
		return;
	}
	if (w->kind == REQUEST && w->done == raw.len && !reader_in_body(w->reader) && raw.len)
		return;			/* between two requests */
	if (reader_eof(w->reader) == STEP_END)
		tell_end(w);
	else
		tell(w->told, "(%s)", why_name(reader_why(w->reader)));
}

/* first: octets of the first read; then `step` at a time. */
static void transcribe(struct str raw, enum row_kind kind, size_t first, size_t step,
		       struct told *told)
{
	struct wire w = { .kind = kind, .told = told, .gap = "" };
	size_t known = first < raw.len ? first : raw.len;

	told->len = 0;
	told->text[0] = '\0';
	w.arena = arena_new(16384, 1 << 22);
	assert_non_null(w.arena);
	next_reader(&w);
	for (;;) {
		while (!w.over && pull(&w, raw, known))
			;
		if (known == raw.len || w.over)
			break;
		known = raw.len - known < step ? raw.len : known + step;
	}
	finish(&w, raw);
	arena_free(w.arena);
}

/* expect: one transcript, or several with "|" where library versions differ. */
static bool is_expected(struct str expect, struct str text)
{
	struct str one;

	while (str_cut(expect, '|', &one, &expect))
		if (str_eq(one, text))
			return true;
	return str_eq(expect, text);
}

static void check(const char *id, struct str raw, enum row_kind kind, const char *expect,
		  size_t cuts)
{
	static struct told whole, other;

	transcribe(raw, kind, raw.len, raw.len, &whole);
	if (!is_expected(str_of(expect), (struct str){ whole.text, whole.len }))
		fail_msg("%s: \"%s\" instead of \"%s\"", id, whole.text, expect);
	transcribe(raw, kind, 1, 1, &other);
	if (strcmp(whole.text, other.text) != 0)
		fail_msg("%s octet by octet: \"%s\" instead of \"%s\"", id, other.text, whole.text);
	for (size_t cut = 1; cut < raw.len && cut <= cuts; cut++) {
		transcribe(raw, kind, cut, raw.len, &other);
		if (strcmp(whole.text, other.text) != 0)
			fail_msg("%s cut at %zu: \"%s\" instead of \"%s\"", id, cut,
				 other.text, whole.text);
	}
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		check(rows[i].id, rows[i].raw, rows[i].kind, rows[i].expect, CUTS);
}

static struct str stretch(const struct long_row *row)
{
	size_t len = row->before.len + row->again.len * row->times + row->after.len;
	char *all = malloc(len), *at = all;

	assert_non_null(all);
	memcpy(at, row->before.at, row->before.len);
	at += row->before.len;
	for (unsigned i = 0; i < row->times; i++, at += row->again.len)
		memcpy(at, row->again.at, row->again.len);
	memcpy(at, row->after.at, row->after.len);
	return (struct str){ all, len };
}

static void test_long_rows(void **state)
{
	for (size_t i = 0; i < sizeof long_rows / sizeof long_rows[0]; i++) {
		struct str raw = stretch(&long_rows[i]);

		check(long_rows[i].id, raw, long_rows[i].kind, long_rows[i].expect, 10);
		free((char *)raw.at);
	}
}

/* Numbers that are the same in every run. */
static uint32_t lot(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)*seed * below) >> 32);
}

/* One octet changed, removed or said twice. */
static struct str mangle(struct str raw, char *room, uint32_t *seed)
{
	static const char odd[] = "\r\n \t:;,0\"\0\x7f\x80Z";
	uint32_t at = lot(seed, (uint32_t)raw.len), rest = (uint32_t)raw.len - at - 1;
	uint32_t what = lot(seed, 3);

	memcpy(room, raw.at, at);
	room[at] = what ? raw.at[at] : odd[lot(seed, sizeof odd - 1)];
	memcpy(room + at + (what != 1), raw.at + at + 1, rest);
	if (what == 2) {
		room[at + 1] = raw.at[at];
		memcpy(room + at + 2, raw.at + at + 1, rest);
		return (struct str){ room, raw.len + 1 };
	}
	return (struct str){ room, raw.len - (what == 1) };
}

static void same_in_any_cut(const char *id, struct str raw, enum row_kind kind, uint32_t *seed)
{
	static struct told whole, other;

	transcribe(raw, kind, raw.len, raw.len, &whole);
	for (unsigned i = 0; i < 4; i++) {
		size_t first = i ? 1 + lot(seed, (uint32_t)raw.len) : 1;
		size_t step = i ? 1 + lot(seed, 7) : 1;

		transcribe(raw, kind, first, step, &other);
		if (strcmp(whole.text, other.text) != 0)
			fail_msg("%s spoilt to %zu octets, cut %zu, %zu: \"%s\", not \"%s\"", id,
				 raw.len, first, step, other.text, whole.text);
	}
}

/* The rows spoilt, and the rows against limits that they reach. */
static void test_any_cut(void **state)
{
	static char room[SHORT];
	uint32_t seed = 449;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (rows[i].raw.len == 0)
			continue;
		for (unsigned n = 0; n < 40; n++) {
			struct str raw = mangle(rows[i].raw, room, &seed);

			limits = n % 4 == 3 ? &upside_down : n % 2 ? &tight : &usual;
			if (raw.len)
				same_in_any_cut(rows[i].id, raw, rows[i].kind, &seed);
		}
	}
	limits = &usual;
}

/* Exactly at the limit, and one more. */
static void test_limits(void **state)
{
	static const struct row edge[] = {
		{ "line", REQUEST, RAW("GET /3456789012345678901234567890123456 HTTP/1.0\r\n\r\n"),
		  "GET[-]." },
		{ "line + 1", REQUEST,
		  RAW("GET /34567890123456789012345678901234567 HTTP/1.0\r\n\r\n"),
		  "target-too-long" },
		{ "fields", REQUEST, RAW("GET /x HTTP/1.0\r\na:\r\nb:\r\nc:\r\n\r\n"), "GET[-]." },
		{ "fields + 1", REQUEST, RAW("GET /x HTTP/1.0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n"),
		  "head-too-big" },
		{ "head", REQUEST, RAW("GET /x HTTP/1.0\r\na:456789012345678901234567890"
		  "1234567890123456789012345678901234567890123456\r\n\r\n"), "GET[-]." },
		{ "head + 1", REQUEST, RAW("GET /x HTTP/1.0\r\na:456789012345678901234567890"
		  "12345678901234567890123456789012345678901234567\r\n\r\n"), "head-too-big" },
		{ "extensions", RESPONSE, RAW(OK_CHUNKED "1;abc\r\nA\r\n1;abc\r\nA\r\n0\r\n\r\n"),
		  "200[c]=AA." },
		{ "extensions + 1", RESPONSE,
		  RAW(OK_CHUNKED "1;abc\r\nA\r\n1;abc\r\nA\r\n0;\r\n\r\n"),
		  "200[c]=AA bad-response-coding" },
		{ "trailer", RESPONSE, RAW(OK_CHUNKED "0\r\nA: 45678901234567890\r\n\r\n"),
		  "200[c]+A:45678901234567890." },
		{ "trailer + 1", RESPONSE,
		  RAW(OK_CHUNKED "0\r\nA: 456789012345678901234567\r\n\r\n"),
		  "200[c] response-trailer-too-big" },
		{ "lines", RESPONSE, RAW(OK_CHUNKED "0\r\na:\r\nb:\r\nc:\r\n\r\n"),
		  "200[c]+a:+b:+c:." },
		{ "lines + 1", RESPONSE, RAW(OK_CHUNKED "0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n"),
		  "200[c] response-trailer-too-big" },
		{ "interim", RESPONSE, RAW(HINT HINT OK EOL), "103[-] too-many-interim" },
	};

	limits = &tight;
	for (size_t i = 0; i < sizeof edge / sizeof edge[0]; i++)
		check(edge[i].id, edge[i].raw, edge[i].kind, edge[i].expect, CUTS);
	limits = &usual;
}

/* --- heads as structs ------------------------------------------------------ */

struct scene {
	struct arena *arena;
	struct reader *reader;
	struct request q;
	struct response p;
};

static struct scene *on_stage(void **state)
{
	return *state;
}

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof *s);

	s->arena = arena_new(16384, 1 << 20);
	*state = s;
	return s->arena ? 0 : -1;
}

static int tear_down(void **state)
{
	struct scene *s = *state;

	arena_free(s->arena);
	free(s);
	return 0;
}

static size_t read_request(struct scene *s, struct str raw)
{
	struct str body;
	size_t used;

	s->reader = reader_of_requests(s->arena, &usual, &s->q);
	assert_int_equal(reader_feed(s->reader, raw, &used, &body), STEP_HEAD);
	return used;
}

static size_t read_response(struct scene *s, struct str raw, enum method_kind to)
{
	struct str body;
	size_t used;

	s->reader = reader_of_responses(s->arena, &usual, to, &s->p);
	assert_int_equal(reader_feed(s->reader, raw, &used, &body), STEP_HEAD);
	return used;
}

static void assert_str(struct str s, const char *expect)
{
	if (!str_eq(s, str_of(expect)))
		fail_msg("\"%.*s\" instead of \"%s\"", STR_FMT(s), expect);
}

static void test_request_fields(void **state)
{
	struct scene *s = on_stage(state);

	read_request(s, STR("\r\nPUT HTTPS://O.example/a?b HTTP/1.9\r\nHost:other:8\r\n"
			    "EXPECT: 100-Continue\r\nX: \t a b\t \r\n\r\n"));
	assert_str(s->q.method, "PUT");
	assert_int_equal(s->q.kind, METHOD_PUT);
	assert_str(s->q.target, "HTTPS://O.example/a?b");
	assert_int_equal(s->q.url.form, URL_ABSOLUTE);
	assert_int_equal(s->q.url.scheme, SCHEME_HTTPS);
	assert_int_equal(s->q.url.port, 443);
	assert_str(s->q.url.host, "O.example");
	assert_str(s->q.host, "other:8");
	assert_int_equal(s->q.minor, 9);
	assert_true(s->q.expects_continue);
	assert_true(s->q.keep);
	assert_int_equal(s->q.fields.count, 3);
	assert_str(s->q.fields.at[2].value, "a b");
}

static void test_request_wishes(void **state)
{
	static const struct {
		const char *tail;
		bool keep, expects;
		const char *upgrade;
	} wish[] = {
		{ "1.1\r\nHost: o\r\n", true, false, "" },
		{ "1.1\r\nHost: o\r\nConnection: CLOSE\r\n", false, false, "" },
		{ "1.1\r\nHost: o\r\nConnection: , ,close,, \r\n", false, false, "" },
		{ "1.1\r\nHost: o\r\nConnection: keep-alive\r\nConnection: x, close\r\n",
		  false, false, "" },
		{ "1.1\r\nHost: o\r\nConnection: xclose\r\nProxy-Connection: close\r\n",
		  true, false, "" },
		{ "1.0\r\n", false, false, "" },
		{ "1.0\r\nConnection: Keep-Alive\r\n", false, false, "" },
		{ "1.0\r\nProxy-Connection: keep-alive\r\n", false, false, "" },
		{ "1.0\r\nConnection: keep-alive, close\r\n", false, false, "" },
		{ "1.0\r\nExpect: 100-continue\r\n", false, false, "" },
		{ "1.1\r\nHost: o\r\nExpect: y 100-continue\r\n", true, false, "" },
		{ "1.1\r\nHost: o\r\nExpect: x, 100-continue\r\n", true, true, "" },
		{ "1.1\r\nHost: o\r\nUpgrade: h2c\r\n", true, false, "" },
		{ "1.1\r\nHost: o\r\nUpgrade: a\r\nUpgrade: b\r\nConnection: Upgrade\r\n",
		  true, false, "a,b" },
		{ "1.1\r\nHost: o\r\nUpgrade: h2c, a/1 ,H2C\r\nConnection: Upgrade\r\n",
		  true, false, "a/1" },
		{ "1.1\r\nHost: o\r\nUpgrade: HTTP/2.0, TLS/1.2\r\nConnection: Upgrade\r\n",
		  true, false, "" },
		{ "1.0\r\nUpgrade: a\r\nConnection: Upgrade\r\n", false, false, "" },
	};
	struct scene *s = on_stage(state);

	for (size_t i = 0; i < sizeof wish / sizeof wish[0]; i++) {
		read_request(s, arena_print(s->arena, "GET /x HTTP/%s\r\n", wish[i].tail));
		if (s->q.keep != wish[i].keep || s->q.expects_continue != wish[i].expects)
			fail_msg("keep %d, expects %d: %s", s->q.keep, s->q.expects_continue,
				 wish[i].tail);
		assert_str(s->q.upgrade, wish[i].upgrade);
	}
}

static void test_response_wishes(void **state)
{
	static const struct {
		const char *head;
		enum method_kind to;
		bool keep, has_length;
		const char *upgrade;
	} wish[] = {
		{ "1.1 200 OK\r\nContent-Length: 5\r\n", METHOD_GET, true, true, "" },
		{ "1.1 200 OK\r\n", METHOD_GET, false, false, "" },
		{ "1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n", METHOD_GET,
		  false, true, "" },
		{ "1.1 200 OK\r\nProxy-Connection: close\r\nContent-Length: 5\r\n", METHOD_GET,
		  true, true, "" },
		{ "1.0 200 OK\r\nContent-Length: 5\r\n", METHOD_GET, false, true, "" },
		{ "1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n", METHOD_GET,
		  true, true, "" },
		{ "1.1 200 OK\r\nContent-Length: 1000\r\n", METHOD_HEAD, true, true, "" },
		{ "1.1 200 OK\r\nContent-Length: 5, 6\r\n", METHOD_HEAD, false, false, "" },
		{ "1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", METHOD_HEAD, true, false, "" },
		{ "1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
		  METHOD_HEAD, false, false, "" },
		{ "1.1 204 No\r\nContent-Length: 5\r\n", METHOD_HEAD, false, false, "" },
		{ "1.1 204 No\r\nContent-Length: 5\r\n", METHOD_GET, false, false, "" },
		{ "1.1 204 No\r\nContent-Length: 0\r\n", METHOD_GET, true, false, "" },
		{ "1.1 204 No\r\nTransfer-Encoding: chunked\r\n", METHOD_GET, false, false, "" },
		{ "1.1 304 Not\r\nTransfer-Encoding: chunked\r\n", METHOD_GET, true, false, "" },
		{ "1.1 304 Not\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
		  METHOD_GET, false, false, "" },
		{ "1.1 304 Not\r\nContent-Length: 5\r\n", METHOD_GET, true, true, "" },
		{ "1.1 103 Hint\r\nContent-Length: 5\r\n", METHOD_HEAD, false, false, "" },
		{ "1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n", METHOD_GET, true, false,
		  "x" },
		{ "1.1 426 No\r\nUpgrade: x\r\nContent-Length: 0\r\n", METHOD_GET, true, true, "" },
	};
	struct scene *s = on_stage(state);

	for (size_t i = 0; i < sizeof wish / sizeof wish[0]; i++) {
		read_response(s, arena_print(s->arena, "HTTP/%s\r\n", wish[i].head), wish[i].to);
		if (s->p.keep != wish[i].keep || s->p.has_length != wish[i].has_length)
			fail_msg("keep %d, length %d: %s", s->p.keep, s->p.has_length,
				 wish[i].head);
		assert_str(s->p.upgrade, wish[i].upgrade);
	}
}

static void test_method_kinds(void **state)
{
	static const struct { const char *name; enum method_kind kind; bool again; } method[] = {
		{ "GET", METHOD_GET, true }, { "HEAD", METHOD_HEAD, true },
		{ "TRACE", METHOD_TRACE, true }, { "DELETE", METHOD_DELETE, true },
		{ "PUT", METHOD_PUT, true }, { "OPTIONS", METHOD_OPTIONS, true },
		{ "POST", METHOD_POST, false }, { "PATCH", METHOD_OTHER, false },
		{ "LOCK", METHOD_OTHER, false }, { "PROPFIND", METHOD_IDEMPOTENT, true },
		{ "VERSION-CONTROL", METHOD_IDEMPOTENT, true },
		{ "get", METHOD_OTHER, false }, { "BPROPFIND", METHOD_OTHER, false },
	};
	struct scene *s = on_stage(state);

	for (size_t i = 0; i < sizeof method / sizeof method[0]; i++) {
		read_request(s, arena_print(s->arena, "%s /x HTTP/1.0\r\n\r\n", method[i].name));
		assert_int_equal(s->q.kind, method[i].kind);
		assert_int_equal(method_is_idempotent(s->q.kind), method[i].again);
	}
	assert_false(method_is_idempotent(METHOD_CONNECT));
}

/* --- octets that go past the reader ----------------------------------------- */

static void test_skip(void **state)
{
	struct scene *s = on_stage(state);
	struct str raw = STR(POST "Content-Length: 10\r\n\r\nabc"), body;
	size_t n = read_request(s, raw), used;

	assert_true(reader_in_body(s->reader));
	assert_int_equal(reader_left(s->reader), 10);
	assert_int_equal(reader_feed(s->reader, str_from(raw, n), &used, &body), STEP_BODY);
	assert_str(body, "abc");
	assert_int_equal(reader_left(s->reader), 7);
	assert_int_equal(reader_feed(s->reader, STR_NONE, &used, &body), STEP_MORE);
	assert_int_equal(reader_skip(s->reader, 6), STEP_MORE);
	assert_int_equal(reader_skip(s->reader, 1), STEP_END);
	assert_false(reader_in_body(s->reader));
	assert_int_equal(reader_left(s->reader), 0);
	assert_int_equal(reader_feed(s->reader, STR("more"), &used, &body), STEP_END);
	assert_int_equal(used, 0);
	assert_int_equal(reader_eof(s->reader), STEP_END);
}

static void test_skip_until_close(void **state)
{
	struct scene *s = on_stage(state);

	read_response(s, STR(OK EOL), METHOD_GET);
	assert_true(reader_in_body(s->reader));
	assert_true(reader_left(s->reader) == UINT64_MAX);
	assert_int_equal(reader_skip(s->reader, 1 << 20), STEP_MORE);
	assert_true(reader_left(s->reader) == UINT64_MAX);
	assert_int_equal(reader_eof(s->reader), STEP_END);
	assert_false(reader_in_body(s->reader));
}

static void test_skip_not_chunked(void **state)
{
	struct scene *s = on_stage(state);

	read_response(s, STR(OK_CHUNKED), METHOD_GET);
	assert_true(reader_in_body(s->reader));
	assert_int_equal(reader_left(s->reader), 0);
}

/* The caller may drop fields between the head and the trailers. */
static void test_trailer_named_earlier(void **state)
{
	struct scene *s = on_stage(state);
	struct str raw = STR(POST "Connection: x-hop\r\nTransfer-Encoding: chunked\r\n\r\n"
			     "0\r\nX-Hop: 1\r\nVia: v\r\nX: 2\r\n\r\n"), body;
	size_t n = read_request(s, raw), used;

	headers_drop_hop_by_hop(&s->q.fields);
	assert_int_equal(reader_feed(s->reader, str_from(raw, n), &used, &body), STEP_END);
	assert_int_equal(s->q.trailers.count, 3);
	assert_str(chunk_last(&s->q.trailers, s->arena), "0\r\nX: 2\r\n\r\n");
}

static void test_no_memory(void **state)
{
	struct arena *small = arena_new(2048, 2048);
	struct request q;
	struct reader *r = reader_of_requests(small, &usual, &q);
	static char head[8192];
	int n = snprintf(head, sizeof head, GET "X: %01500d\r\n\r\n", 0);
	struct str body;
	size_t used;

	assert_int_equal(reader_feed(r, (struct str){ head, (size_t)n }, &used, &body), STEP_BAD);
	assert_int_equal(reader_why(r), WHY_OUT_OF_MEMORY);
	assert_int_equal(reader_feed(r, STR("x"), &used, &body), STEP_BAD);
	assert_int_equal(reader_eof(r), STEP_BAD);
	arena_free(small);
}

/* --- writing ---------------------------------------------------------------- */

static void test_request_head(void **state)
{
	struct scene *s = on_stage(state);
	struct header add[] = {
		{ STR("Ms-Echo-Reply"), STR("t"), HEADER_MS_ECHO_REPLY, false },
		{ STR("X-A"), STR(""), HEADER_OTHER, false },
	};
	struct head_extra x = { .host = STR("o.example:81"), .target = STR("/p") };

	read_request(s, STR(POST "X-1: a\r\nConnection: X-1\r\ncontent-length: 005\r\n"
			    "VIA: 1.0 a\r\nX-2:\r\n\r\n"));
	assert_str(request_head(&s->q, &x, s->arena),
		   "POST /p HTTP/1.1\r\n" HOST "X-1: a\r\nConnection: X-1\r\n"
		   "VIA: 1.0 a\r\nX-2: \r\nContent-Length: 5\r\n\r\n");
	headers_drop_hop_by_hop(&s->q.fields);
	x.via = STR("1.1 me");
	x.add = add;
	x.n = 2;
	x.close = true;
	assert_str(request_head(&s->q, &x, s->arena),
		   "POST /p HTTP/1.1\r\n" HOST "VIA: 1.0 a\r\nX-2: \r\nContent-Length: 5\r\n"
		   "Via: 1.1 me\r\nMs-Echo-Reply: t\r\nX-A: \r\nConnection: close\r\n\r\n");
}

static void test_request_head_framing(void **state)
{
	struct scene *s = on_stage(state);
	struct head_extra x = { .host = STR("h"), .target = STR("*"), .upgrade = STR("websocket") };

	read_request(s, STR(CHUNKED));
	x.upgrade = STR_NONE;
	assert_str(request_head(&s->q, &x, s->arena),
		   "POST * HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
	read_request(s, STR(GET EOL));
	x.upgrade = STR("websocket");
	assert_str(request_head(&s->q, &x, s->arena), "GET * HTTP/1.1\r\nHost: h\r\n"
		   "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void test_response_head(void **state)
{
	static const struct {
		const char *from;
		enum method_kind to;
		const char *expect;
	} head[] = {
		{ OK "Content-Length: 1000\r\nX: a\r\n\r\n", METHOD_HEAD,
		  OK "X: a\r\nContent-Length: 1000\r\nVia: v\r\n\r\n" },
		{ OK "Transfer-Encoding: chunked\r\n\r\n", METHOD_HEAD, OK "Via: v\r\n\r\n" },
		{ OK "Transfer-Encoding: chunked\r\n\r\n", METHOD_GET,
		  OK "Transfer-Encoding: chunked\r\nVia: v\r\n\r\n" },
		{ OK "Content-Length: 5, 5\r\n\r\n", METHOD_GET,
		  OK "Content-Length: 5\r\nVia: v\r\n\r\n" },
		{ "HTTP/1.0 204\r\nContent-Length: 5\r\n\r\n", METHOD_GET,
		  "HTTP/1.1 204 \r\nVia: v\r\n\r\n" },
		{ "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", METHOD_GET,
		  "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nVia: v\r\n\r\n" },
		{ OK "X : a\r\nX\t:b\r\nX: c\r\n  d\r\nX: caf\351\r\n\r\n", METHOD_GET,
		  OK "X: a\r\nX: b\r\nX: c    d\r\nX: caf\351\r\nVia: v\r\n\r\n" },
	};
	struct scene *s = on_stage(state);
	struct head_extra x = { .via = STR("v") };

	for (size_t i = 0; i < sizeof head / sizeof head[0]; i++) {
		read_response(s, str_of(head[i].from), head[i].to);
		assert_str(response_head(&s->p, &x, s->arena), head[i].expect);
	}
}

static void test_heads_no_memory(void **state)
{
	struct scene *s = on_stage(state);
	struct arena *small = arena_new(64, 64);
	struct head_extra x = { .host = STR("h"), .target = STR("/") };

	read_request(s, STR(GET EOL));
	read_response(s, STR(OK EOL), METHOD_GET);
	assert_null(request_head(&s->q, &x, small).at);
	assert_null(response_head(&s->p, &x, small).at);
	assert_null(chunk_last(&s->q.trailers, small).at);
	assert_true(arena_full(small));
	arena_free(small);
}

static void test_chunk_line(void **state)
{
	char room[20];

	assert_str(chunk_line(room, 0), "0\r\n");
	assert_str(chunk_line(room, 0x1f), "1f\r\n");
	assert_str(chunk_line(room, 16384), "4000\r\n");
	assert_str(chunk_line(room, UINT64_MAX), "ffffffffffffffff\r\n");
}

#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_long_rows),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_any_cut),
		ON_STAGE(test_request_fields),
		ON_STAGE(test_request_wishes),
		ON_STAGE(test_response_wishes),
		ON_STAGE(test_method_kinds),
		ON_STAGE(test_skip),
		ON_STAGE(test_skip_until_close),
		ON_STAGE(test_skip_not_chunked),
		ON_STAGE(test_trailer_named_earlier),
		ON_STAGE(test_no_memory),
		ON_STAGE(test_request_head),
		ON_STAGE(test_request_head_framing),
		ON_STAGE(test_response_head),
		ON_STAGE(test_heads_no_memory),
		cmocka_unit_test(test_chunk_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
