/* strict: see the header. One table says what each octet may be part of; the
 * functions walk lines. */
#include "strict.h"

#include <string.h>

enum { TOKEN = 1, VISIBLE = 2, VALUE = 4, DIGIT = 8, HEX = 16 };

static const uint8_t class[256] = {
	['\t'] = VALUE, [' '] = VALUE,
	['!'] = TOKEN | VISIBLE | VALUE, ['"'] = VISIBLE | VALUE,
	['#' ... '\''] = TOKEN | VISIBLE | VALUE, ['('] = VISIBLE | VALUE, [')'] = VISIBLE | VALUE,
	['*'] = TOKEN | VISIBLE | VALUE, ['+'] = TOKEN | VISIBLE | VALUE, [','] = VISIBLE | VALUE,
	['-'] = TOKEN | VISIBLE | VALUE, ['.'] = TOKEN | VISIBLE | VALUE, ['/'] = VISIBLE | VALUE,
	['0' ... '9'] = TOKEN | VISIBLE | VALUE | DIGIT | HEX, [':' ... '@'] = VISIBLE | VALUE,
	['A' ... 'F'] = TOKEN | VISIBLE | VALUE | HEX, ['G' ... 'Z'] = TOKEN | VISIBLE | VALUE,
	['[' ... ']'] = VISIBLE | VALUE, ['^' ... '`'] = TOKEN | VISIBLE | VALUE,
	['a' ... 'f'] = TOKEN | VISIBLE | VALUE | HEX, ['g' ... 'z'] = TOKEN | VISIBLE | VALUE,
	['{'] = VISIBLE | VALUE, ['|'] = TOKEN | VISIBLE | VALUE, ['}'] = VISIBLE | VALUE,
	['~'] = TOKEN | VISIBLE | VALUE, [0x80 ... 0xff] = VALUE,
};

static size_t run_of(const char *s, size_t len, unsigned what)
{
	size_t n = 0;

	while (n < len && class[(unsigned char)s[n]] & what)
		n++;
	return n;
}

static enum strict_verdict wrong(struct strict *m, const char *why)
{
	m->wrong = why;
	return STRICT_WRONG;
}

/* A line at `at`: its length without CRLF. Short: no CRLF yet. */
static enum strict_verdict line_at(struct strict *m, size_t at, size_t *len)
{
	size_t n = run_of(m->text + at, m->len - at, VALUE);

	*len = n;
	at += n;
	if (at == m->len || (at + 1 == m->len && m->text[at] == '\r'))
		return STRICT_SHORT;
	if (m->text[at] != '\r' || m->text[at + 1] != '\n')
		return wrong(m, "a control octet, or a line end that is not CRLF");
	return STRICT_WHOLE;
}

static bool same(const char *s, size_t len, const char *lower)
{
	size_t i;

	for (i = 0; i < len && lower[i]; i++) {
		char c = s[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c | 0x20);
		if (c != lower[i])
			return false;
	}
	return i == len && !lower[i];
}

/* --- start lines --- */

static enum strict_verdict request_line(struct strict *m, size_t len)
{
	const char *s = m->text;
	size_t method = run_of(s, len, TOKEN), target;

	if (!method || method == len || s[method] != ' ')
		return wrong(m, "the method");
	target = run_of(s + method + 1, len - method - 1, VISIBLE);
	if (!target || len - method - 1 - target != 9 ||
	    memcmp(s + method + 1 + target, " HTTP/1.1", 9) != 0)
		return wrong(m, "the target or the version");
	m->method_len = method;
	m->target_len = target;
	m->method0 = s[0];
	return STRICT_WHOLE;
}

static enum strict_verdict status_line(struct strict *m, size_t len)
{
	const char *s = m->text;

	if (len < 13 || memcmp(s, "HTTP/1.1 ", 9) != 0 || run_of(s + 9, 3, DIGIT) != 3 ||
	    s[9] == '0' || s[12] != ' ')
		return wrong(m, "the status line");
	m->status = 100u * (unsigned)(s[9] - '0') + 10u * (unsigned)(s[10] - '0') +
		    (unsigned)(s[11] - '0');
	return STRICT_WHOLE;
}

/* --- fields --- */

static enum strict_verdict take_length(struct strict *m, const char *v, size_t len)
{
	if (m->framing != STRICT_NONE)
		return wrong(m, "a second framing");
	if (!len || len > 19 || run_of(v, len, DIGIT) != len)
		return wrong(m, "Content-Length is not a number");
	m->framing = STRICT_LENGTH;
	for (m->length = 0; len--; v++)
		m->length = m->length * 10 + (uint64_t)(*v - '0');
	return STRICT_WHOLE;
}

static enum strict_verdict take_coding(struct strict *m, const char *v, size_t len)
{
	if (m->framing != STRICT_NONE)
		return wrong(m, "a second framing");
	if (!same(v, len, "chunked"))
		return wrong(m, "Transfer-Encoding is not just chunked");
	m->framing = STRICT_CHUNKED;
	return STRICT_WHOLE;
}

/* What is between two neighbours only, and not for the next one. */
static bool is_hop_by_hop(const char *name, size_t len)
{
	static const char *const names[] = {
		"keep-alive", "proxy-connection", "te", "proxy-authorization",
		"proxy-authenticate", "proxy-authentication-info",
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (same(name, len, names[i]))
			return true;
	return false;
}

static enum strict_verdict take_field(struct strict *m, size_t at, size_t len, bool trailer)
{
	const char *s = m->text + at, *v;
	size_t name = run_of(s, len, TOKEN), n;

	if (!name)
		return wrong(m, "a field line without a name (or a folded one)");
	if (name == len || s[name] != ':')
		return wrong(m, "a field name that is no token");
	v = s + name + 1;
	n = len - name - 1;
	if (n && *v == ' ') {
		v++;
		n--;
	}
	if (n && (v[0] == ' ' || v[0] == '\t' || v[n - 1] == ' ' || v[n - 1] == '\t'))
		return wrong(m, "a blank too many around a value");
	if (is_hop_by_hop(s, name))
		return wrong(m, "a hop-by-hop field");
	if (!trailer && same(s, name, "host"))
		m->hosts++;
	if (same(s, name, "content-length"))
		return trailer ? wrong(m, "framing in a trailer") : take_length(m, v, n);
	if (same(s, name, "transfer-encoding"))
		return trailer ? wrong(m, "framing in a trailer") : take_coding(m, v, n);
	return STRICT_WHOLE;
}

/* Lines up to and with the empty one; *at moves behind it. */
static enum strict_verdict take_fields(struct strict *m, size_t *at, bool trailer)
{
	for (;;) {
		size_t len;
		enum strict_verdict is = line_at(m, *at, &len);

		if (is != STRICT_WHOLE)
			return is;
		if (len == 0) {
			*at += 2;
			return STRICT_WHOLE;
		}
		is = take_field(m, *at, len, trailer);
		if (is != STRICT_WHOLE)
			return is;
		*at += len + 2;
	}
}

/* --- bodies --- */

static void keep_body(struct strict *m, size_t at, size_t len)
{
	if (m->body_to && len)
		memcpy(m->body_to + m->body, m->text + at, len);
	m->body += len;
}

static enum strict_verdict read_length(struct strict *m)
{
	size_t there = m->len - m->head;

	keep_body(m, m->head, there < m->length ? there : (size_t)m->length);
	m->used = m->head + m->body;
	return m->body == m->length ? STRICT_WHOLE : STRICT_SHORT;
}

static enum strict_verdict chunk_size(struct strict *m, size_t at, size_t len, uint64_t *size)
{
	if (!len || len > 15 || run_of(m->text + at, len, HEX) != len)
		return wrong(m, "the size of a chunk");
	for (*size = 0; len--; at++) {
		char c = m->text[at];

		*size = *size * 16 + (uint64_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return STRICT_WHOLE;
}

static enum strict_verdict read_chunks(struct strict *m)
{
	size_t at = m->head, len;
	uint64_t size;

	for (;;) {
		enum strict_verdict is = line_at(m, at, &len);

		if (is != STRICT_WHOLE)
			return is;
		if (chunk_size(m, at, len, &size) != STRICT_WHOLE)
			return STRICT_WRONG;
		at += len + 2;
		if (size == 0)
			break;
		if (m->len - at < size) {
			keep_body(m, at, m->len - at);
			return STRICT_SHORT;
		}
		keep_body(m, at, (size_t)size);
		at += (size_t)size;
		is = line_at(m, at, &len);
		if (is != STRICT_WRONG && len)
			return wrong(m, "octets behind a chunk");
		if (is != STRICT_WHOLE)
			return is;
		at += 2;
	}
	m->used = at;
	switch (take_fields(m, &m->used, true)) {
	case STRICT_WHOLE:
		return STRICT_WHOLE;
	case STRICT_SHORT:
		m->used = m->len;
		return STRICT_SHORT;
	case STRICT_WRONG:
		break;
	}
	return STRICT_WRONG;
}

static bool is_bodiless(const struct strict *m, enum strict_side side)
{
	return m->status < 200 || m->status == 204 || m->status == 304 ||
	       side == STRICT_TO_HEAD || (side == STRICT_TO_CONNECT && m->status < 300);
}

static enum strict_verdict frame_response(struct strict *m, enum strict_side side)
{
	if (!is_bodiless(m, side)) {
		if (m->framing == STRICT_NONE)
			m->framing = STRICT_CLOSE;
		return STRICT_WHOLE;
	}
	if (m->framing != STRICT_NONE && side != STRICT_TO_HEAD && m->status != 304)
		return wrong(m, "framing where there is no body");
	if (m->framing == STRICT_CHUNKED)
		return wrong(m, "a coding where there is no body");
	m->framing = STRICT_NONE;
	return STRICT_WHOLE;
}

enum strict_verdict strict_read(struct strict *m, const char *text, size_t len,
				enum strict_side side)
{
	enum strict_verdict is;
	size_t line, at;

	*m = (struct strict){ .text = text, .len = len, .used = len, .body_to = m->body_to };
	is = line_at(m, 0, &line);
	if (is != STRICT_WHOLE)
		return is;
	is = side == STRICT_REQUEST ? request_line(m, line) : status_line(m, line);
	at = line + 2;
	if (is == STRICT_WHOLE)
		is = take_fields(m, &at, false);
	if (is != STRICT_WHOLE)
		return is;
	m->head = m->used = at;
	if (side == STRICT_REQUEST && m->hosts != 1)
		return wrong(m, "not one Host");
	if (side != STRICT_REQUEST && frame_response(m, side) != STRICT_WHOLE)
		return STRICT_WRONG;
	switch (m->framing) {
	case STRICT_NONE:
		return STRICT_WHOLE;
	case STRICT_LENGTH:
		return read_length(m);
	case STRICT_CHUNKED:
		m->used = len;
		return read_chunks(m);
	case STRICT_CLOSE:
		keep_body(m, m->head, len - m->head);
		m->used = len;
		return STRICT_SHORT;
	}
	return STRICT_WRONG;
}

bool strict_field(const struct strict *m, const char *name, const char **value, size_t *len)
{
	const char *at = memchr(m->text, '\n', m->head), *end = m->text + m->head;

	while (at && ++at < end && *at != '\r') {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		const char *colon = memchr(at, ':', (size_t)(lf - at));

		if (same(at, (size_t)(colon - at), name)) {
			*value = colon[1] == ' ' ? colon + 2 : colon + 1;
			*len = (size_t)(lf - 1 - *value);
			return true;
		}
		at = lf;
	}
	return false;
}

bool strict_is_method(const struct strict *m, const char *method)
{
	return strlen(method) == m->method_len && memcmp(m->text, method, m->method_len) == 0;
}
