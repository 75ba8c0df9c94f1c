/* gate: see the header. Everything that decides where a message ends is decided
 * here, from the octets, once. It refuses rather than repairs, with three
 * exceptions that RFC 9112 asks for: empty lines ahead of a request, blanks
 * before the colon in a response, folded lines in a response.
 *
 * A line ends in CRLF. A bare CR or LF is never an end of anything (RFC 9112
 * 2.2 leaves the choice; two recipients that choose differently are how requests
 * are smuggled). Not here: which of the messages understood are wanted.
 *
 * Where a message ends must be decided in one place, so this one is longer than
 * a room should be. */
#include "http/gate.h"

enum {
	METHOD_MOST = 64,		/* octets; longer ones are 501 */
	BLANK_MOST = 2,			/* empty lines ahead of a request */
	OPTIONS_MOST = 256,		/* members of Connection in a message: each is
					 * looked for in every line, so that stays linear */
	VERSION_LEN = 8,
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void skip_blanks(struct str *s)
{
	while (s->len && is_blank(s->at[0]))
		*s = str_from(*s, 1);
}

/* --- the end of a head --------------------------------------------------- */

static enum why too_big(bool is_request)
{
	return is_request ? WHY_HEAD_TOO_BIG : WHY_RESPONSE_HEAD_TOO_BIG;
}

/* A start line over the limit: mostly the target's fault. */
static enum why line_too_long(struct str line, uint32_t limit, bool is_request)
{
	size_t n = limit < METHOD_MOST + 1 ? limit : METHOD_MOST + 1;

	if (!is_request)
		return WHY_RESPONSE_HEAD_TOO_BIG;
	return memchr(line.at, ' ', n) ? WHY_TARGET_TOO_LONG : WHY_NO_METHOD;
}

/* Can a head of this kind begin with these octets? Asked before its first line
 * is whole, so that TLS on a plain port, and garbage, need not wait for a LF. */
static bool can_begin(struct str line, bool is_request, uint8_t blank)
{
	if (!is_request && line.len >= 7)
		return memcmp(line.at, "HTTP/1.", 7) == 0;
	if (!is_request)
		return memcmp(line.at, "HTTP/1.", line.len) == 0;
	if (line.at[0] == '\r')
		return blank < BLANK_MOST && (line.len < 2 || line.at[1] == '\n');
	return header_token_len(str_first(line, 1)) == 1;
}

/* " HTTP/" DIGIT "." DIGIT at the end of a request line. */
static bool ends_in_version(struct str line)
{
	const char *v = line.at + line.len - VERSION_LEN;

	return line.len > VERSION_LEN && memcmp(v - 1, " HTTP/", 6) == 0 &&
	       is_digit(v[5]) && v[6] == '.' && is_digit(v[7]);
}

/* What can be said of a start line, whole or not, of which `text` is there.
 * `known`: octets of the head looked at. */
static enum why check_start(const struct gate_scan *s, struct str text,
			    const struct reader_limits *l, bool is_request)
{
	struct str line = { text.at, s->seen - s->line };

	if (!can_begin(line, is_request, s->blank))
		return is_request ? WHY_BAD_LINE : WHY_BAD_RESPONSE;
	if (text.len > l->line && s->line + l->line < l->head)
		return line_too_long(text, l->line, is_request);
	return s->seen > l->head ? too_big(is_request) : WHY_DONE;
}

/* Empty lines and the start line. */
static enum why find_start(struct str in, struct gate_scan *s,
			   const struct reader_limits *l, bool is_request)
{
	while (s->lines == 0 && s->seen < in.len) {
		const char *lf = memchr(in.at + s->seen, '\n', in.len - s->seen);
		size_t end = lf ? (size_t)(lf - in.at) : in.len;
		bool has_cr = end > s->line && in.at[end - 1] == '\r';
		struct str text = { in.at + s->line, end - s->line - has_cr };
		enum why why;

		s->seen = lf ? end + 1 : end;
		why = check_start(s, text, l, is_request);
		if (why != WHY_DONE || !lf)
			return why;
		if (!has_cr || (text.len && is_request && !ends_in_version(text)))
			return is_request ? WHY_BAD_LINE : WHY_BAD_RESPONSE;
		s->blank += text.len == 0;
		s->lines += text.len != 0;
		s->line = s->seen;
	}
	return WHY_DONE;
}

/* Field lines, the empty one included. Returns the octets of the head, or 0. */
static size_t find_fields(struct str in, struct gate_scan *s,
			  const struct reader_limits *l, bool is_request, enum why *why)
{
	const char *end = in.at + (in.len < l->head ? in.len : l->head), *lf = NULL;
	const char *line = in.at + s->line, *at = in.at + s->seen;
	uint32_t lines = s->lines, most = l->fields + 1u;
	bool folded = s->folded;

	while (at < end && (lf = memchr(at, '\n', (size_t)(end - at))) &&
	       lf[-1] == '\r' && lines <= most) {
		if (lf - line == 1) {
			s->folded = folded;
			return (size_t)(lf + 1 - in.at);
		}
		folded |= is_blank(*line);
		at = line = lf + 1;
		lf = NULL;
		lines++;
	}
	*s = (struct gate_scan){ in.len, (size_t)(line - in.at), lines, s->blank, folded };
	if (lines > most || (!lf && in.len > l->head))
		*why = too_big(is_request);
	else if (lf)
		*why = is_request ? WHY_BAD_FIELD : WHY_BAD_RESPONSE;
	return 0;
}

size_t gate_find_head(struct str in, struct gate_scan *s, const struct reader_limits *l,
		      bool is_request, enum why *why)
{
	*why = s->lines ? WHY_DONE : find_start(in, s, l, is_request);
	return *why == WHY_DONE && s->lines ? find_fields(in, s, l, is_request, why) : 0;
}

void gate_unfold(char *head, size_t len)
{
	char *end = head + len, *lf = memchr(head, '\n', len);

	/* The line behind the start line is not one that can be folded. */
	while (lf && (lf = memchr(lf + 1, '\n', (size_t)(end - lf - 1))))
		if (end - lf > 1 && is_blank(lf[1]) && lf[-1] == '\r')
			lf[-1] = lf[0] = ' ';
}

/* --- lines and fields ----------------------------------------------------- */

enum taken { TAKEN, TAKEN_BAD, TAKEN_NO_ROOM };

static inline struct str between(const char *at, const char *end)
{
	return (struct str){ at, (size_t)(end - at) };
}

static inline void trim_end(struct str *s)
{
	while (s->len && is_blank(s->at[s->len - 1]))
		s->len--;
}

/* Lines of name ":" OWS value OWS CRLF (RFC 9112 5). */
static enum taken take_fields(struct str s, bool blank_before_colon, struct arena *a,
			      struct headers *h)
{
	const char *at = s.at, *end = s.at + s.len;

	while (at < end) {
		const char *colon = memchr(at, ':', (size_t)(end - at));
		struct str name, value;

		if (!colon)
			return TAKEN_BAD;
		name = between(at, colon);
		if (blank_before_colon)
			trim_end(&name);
		for (at = colon + 1; at < end && is_blank(*at); at++)
			;
		value = between(at, end);
		value.len = header_value_len(value);
		at += value.len;
		if (end - at < 2 || memcmp(at, "\r\n", 2) != 0)
			return TAKEN_BAD;
		at += 2;
		trim_end(&value);
		if (!headers_add(h, a, name, value))
			return TAKEN_NO_ROOM;
		/* A name that we know is a token. */
		if (h->at[h->count - 1].id == HEADER_OTHER && !header_is_token(name))
			return TAKEN_BAD;
	}
	return TAKEN;
}

enum why gate_trailer(struct str section, struct arena *a, struct headers *out)
{
	*out = (struct headers){ 0 };
	switch (take_fields(section, false, a, out)) {
	case TAKEN:		return WHY_DONE;
	case TAKEN_BAD:		return WHY_BAD_TRAILER;
	case TAKEN_NO_ROOM:	return WHY_OUT_OF_MEMORY;
	}
	return WHY_BAD_TRAILER;
}

/* The start line off the front of a whole head, and the empty line off its end:
 * what stays is field lines. False when head is not a head. */
static bool take_start_line(struct str *head, struct str *line)
{
	const char *lf = memchr(head->at, '\n', head->len), *end = head->at + head->len;
	size_t n = lf ? (size_t)(lf - head->at) : 0;

	if (n == 0 || lf[-1] != '\r' || head->len < 4 || memcmp(end - 4, "\r\n\r\n", 4) != 0)
		return false;
	*line = str_first(*head, n - 1);
	*head = str_from(*head, n + 1);
	head->len -= 2;
	return true;
}

/* --- framing ------------------------------------------------------------- */

/* For the gate only: nothing is dropped yet. */
static bool has(const struct headers *h, enum header_id id)
{
	return h->present >> id & 1;
}

enum { SAYS_CLOSE = 1, SAYS_KEEP = 2, SAYS_UPGRADE = 4, SAYS_TOO_MUCH = 8 };

/* What Connection says (RFC 9110 7.6.1). */
static unsigned read_options(const struct headers *h)
{
	const struct header *f = NULL;
	unsigned says = 0, n = 0;

	if (!has(h, HEADER_CONNECTION))
		return 0;
	while ((f = headers_next(h, HEADER_CONNECTION, f))) {
		struct str list = f->value, option;

		while (str_list_next(&list, &option)) {
			if (++n > OPTIONS_MOST)
				return SAYS_TOO_MUCH;
			if (str_eq_nocase(option, STR("keep-alive")))
				says |= SAYS_KEEP;
			else if (str_eq_nocase(option, STR("close")))
				says |= SAYS_CLOSE;
			else if (str_eq_nocase(option, STR("upgrade")))
				says |= SAYS_UPGRADE;
		}
	}
	return says;
}

enum coding { CODING_CHUNKED, CODING_UNKNOWN, CODING_BAD };

/* All Transfer-Encoding lines as one list (RFC 9112 6.1): chunked and nothing
 * else; other codings and then chunked; or anything that leaves the end open. */
static enum coding read_coding(const struct headers *h)
{
	const struct header *f = NULL;
	unsigned chunked = 0, others = 0;
	bool is_final = false;

	while ((f = headers_next(h, HEADER_TRANSFER_ENCODING, f))) {
		struct str list = f->value, coding;

		while (str_list_next(&list, &coding)) {
			is_final = str_eq_nocase(coding, STR("chunked"));
			chunked += is_final;
			others += !is_final;
		}
	}
	if (chunked != 1 || !is_final)
		return CODING_BAD;
	return others ? CODING_UNKNOWN : CODING_CHUNKED;
}

enum length { LENGTH_OK, LENGTH_BAD, LENGTH_TOO_BIG };

/* 1*DIGIT and blanks off the front. */
static enum length take_number(struct str *s, uint64_t *n)
{
	bool too_big = false;
	size_t i = 0;

	for (*n = 0; i < s->len && is_digit(s->at[i]); i++) {
		too_big |= *n > INT64_MAX / 10;
		*n = 10 * *n + (uint64_t)(s->at[i] - '0');
	}
	*s = str_from(*s, i);
	skip_blanks(s);
	if (i == 0)
		return LENGTH_BAD;
	return too_big || *n > INT64_MAX ? LENGTH_TOO_BIG : LENGTH_OK;
}

/* All Content-Length lines: 1*DIGIT, or the same number again and again (RFC
 * 9112 6.3). An empty member is not a number. */
static enum length read_length(const struct headers *h, uint64_t *length)
{
	const struct header *f = headers_find(h, HEADER_CONTENT_LENGTH);
	struct str rest = f->value;
	enum length is = take_number(&rest, length);
	uint64_t n;

	while (is != LENGTH_BAD) {
		if (rest.len && rest.at[0] == ',') {
			rest = str_from(rest, 1);
			skip_blanks(&rest);
		} else if (rest.len) {
			return LENGTH_BAD;
		} else if ((f = headers_next(h, HEADER_CONTENT_LENGTH, f))) {
			rest = f->value;
		} else {
			return is;
		}
		if (take_number(&rest, &n) != is || n != *length)
			return LENGTH_BAD;
	}
	return is;
}

/* --- requests -------------------------------------------------------------- */

static enum method_kind kind_of(struct str method)
{
	static const struct {
		struct str name;
		enum method_kind kind;
	} known[] = {
		{ { "GET", 3 }, METHOD_GET },
		{ { "POST", 4 }, METHOD_POST },
		{ { "CONNECT", 7 }, METHOD_CONNECT },
		{ { "HEAD", 4 }, METHOD_HEAD },
		{ { "PUT", 3 }, METHOD_PUT },
		{ { "DELETE", 6 }, METHOD_DELETE },
		{ { "OPTIONS", 7 }, METHOD_OPTIONS },
		{ { "TRACE", 5 }, METHOD_TRACE },
		/* Idempotent by the IANA registry of methods. */
		{ { "PROPFIND", 8 }, METHOD_IDEMPOTENT },
		{ { "PROPPATCH", 9 }, METHOD_IDEMPOTENT },
		{ { "REPORT", 6 }, METHOD_IDEMPOTENT },
		{ { "SEARCH", 6 }, METHOD_IDEMPOTENT },
		{ { "QUERY", 5 }, METHOD_IDEMPOTENT },
		{ { "MKCOL", 5 }, METHOD_IDEMPOTENT },
		{ { "COPY", 4 }, METHOD_IDEMPOTENT },
		{ { "MOVE", 4 }, METHOD_IDEMPOTENT },
		{ { "UNLOCK", 6 }, METHOD_IDEMPOTENT },
		{ { "ACL", 3 }, METHOD_IDEMPOTENT },
		{ { "BIND", 4 }, METHOD_IDEMPOTENT },
		{ { "REBIND", 6 }, METHOD_IDEMPOTENT },
		{ { "UNBIND", 6 }, METHOD_IDEMPOTENT },
		{ { "LINK", 4 }, METHOD_IDEMPOTENT },
		{ { "UNLINK", 6 }, METHOD_IDEMPOTENT },
		{ { "MERGE", 5 }, METHOD_IDEMPOTENT },
		{ { "UPDATE", 6 }, METHOD_IDEMPOTENT },
		{ { "LABEL", 5 }, METHOD_IDEMPOTENT },
		{ { "CHECKIN", 7 }, METHOD_IDEMPOTENT },
		{ { "CHECKOUT", 8 }, METHOD_IDEMPOTENT },
		{ { "UNCHECKOUT", 10 }, METHOD_IDEMPOTENT },
		{ { "MKACTIVITY", 10 }, METHOD_IDEMPOTENT },
		{ { "MKCALENDAR", 10 }, METHOD_IDEMPOTENT },
		{ { "MKWORKSPACE", 11 }, METHOD_IDEMPOTENT },
		{ { "ORDERPATCH", 10 }, METHOD_IDEMPOTENT },
		{ { "VERSION-CONTROL", 15 }, METHOD_IDEMPOTENT },
		{ { "BASELINE-CONTROL", 16 }, METHOD_IDEMPOTENT },
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (str_eq(known[i].name, method))
			return known[i].kind;
	return METHOD_OTHER;
}

/* method SP target SP version (RFC 9112 3). */
static enum why read_request_line(struct str line, struct request *out)
{
	size_t n = header_token_len(str_first(line, METHOD_MOST + 1));
	const char *digits;
	enum why why;

	if (n > METHOD_MOST)
		return WHY_NO_METHOD;
	if (n == 0 || !ends_in_version(line) || line.at[n] != ' ')
		return WHY_BAD_LINE;
	out->method = str_first(line, n);
	out->kind = kind_of(out->method);
	digits = line.at + line.len - 3;
	if (digits[0] != '1')
		return WHY_NO_VERSION;
	out->minor = (uint8_t)(digits[2] - '0');
	if (line.len < n + 2 + VERSION_LEN)
		return WHY_BAD_LINE;
	out->target = str_first(str_from(line, n + 1), line.len - n - 2 - VERSION_LEN);
	why = url_parse_target(out->target, out->kind == METHOD_CONNECT, &out->url);
	if (why == WHY_DONE && out->url.form == URL_ASTERISK && out->kind != METHOD_OPTIONS)
		return WHY_BAD_TARGET;
	return why;
}

/* Exactly one, valid, even where the target overrides it (RFC 9112 3.2). */
static enum why check_host(struct request *out)
{
	const struct header *f = headers_find(&out->fields, HEADER_HOST);
	struct url ignored;

	if (!f)
		return out->minor == 0 ? WHY_DONE : WHY_BAD_HOST;
	if (headers_next(&out->fields, HEADER_HOST, f))
		return WHY_BAD_HOST;
	out->host = f->value;
	if (f->value.len && str_eq(f->value, out->url.authority))
		return WHY_DONE;	/* the common case; it was parsed already */
	return url_parse_authority(f->value, out->url.scheme, &ignored) ?
	       WHY_DONE : WHY_BAD_HOST;
}

static enum why frame_request(struct request *out)
{
	bool has_length = has(&out->fields, HEADER_CONTENT_LENGTH);
	bool takes_none = out->kind == METHOD_CONNECT || out->kind == METHOD_TRACE;

	if (has(&out->fields, HEADER_TRANSFER_ENCODING)) {
		enum coding coding = read_coding(&out->fields);

		if (has_length || out->minor == 0 || coding == CODING_BAD || takes_none)
			return WHY_BAD_FRAMING;
		out->framing = FRAMING_CHUNKED;
		return coding == CODING_UNKNOWN ? WHY_NO_CODING : WHY_DONE;
	}
	if (!has_length)
		return WHY_DONE;
	out->framing = FRAMING_LENGTH;
	switch (read_length(&out->fields, &out->length)) {
	case LENGTH_OK:
		return takes_none && out->length ? WHY_BAD_FRAMING : WHY_DONE;
	case LENGTH_BAD:
		return WHY_BAD_FRAMING;
	case LENGTH_TOO_BIG:
		return WHY_LENGTH_TOO_BIG;
	}
	return WHY_BAD_FRAMING;
}

/* Protocols that are HTTP again, or hide it: through them requests would pass
 * that nobody here has vetted ("h2c smuggling"). */
static bool is_http_again(struct str protocol)
{
	static const struct str names[] = {
		{ "h2c", 3 }, { "h2", 2 }, { "HTTP", 4 }, { "TLS", 3 },
	};
	struct str name, version;

	if (!str_cut(protocol, '/', &name, &version))
		name = protocol;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (str_eq_nocase(name, names[i]))
			return true;
	return false;
}

/* The protocols offered (RFC 9110 7.8) that may be passed on, as one list. */
static struct str read_upgrade(const struct headers *h, struct arena *a)
{
	struct str all = headers_join(h, HEADER_UPGRADE, a), rest = all, protocol;
	char *at = arena_get(a, all.len + 1), *end = at;

	if (!at)
		return STR_NONE;
	while (str_list_next(&rest, &protocol)) {
		if (is_http_again(protocol))
			continue;
		if (end != at)
			*end++ = ',';
		end = mempcpy(end, protocol.at, protocol.len);
	}
	return between(at, end);
}

/* Persistence is asked for anew by each message; a proxy keeps none with a
 * client of HTTP/1.0, whatever it asks for (RFC 9112 9.3). */
static enum why read_wishes(struct request *out, struct arena *a)
{
	const struct headers *h = &out->fields;
	unsigned says = read_options(h);

	if (says & SAYS_TOO_MUCH)
		return WHY_HEAD_TOO_BIG;
	out->keep = out->minor && !(says & SAYS_CLOSE);
	if (out->minor == 0)
		return WHY_DONE;
	out->expects_continue = has(h, HEADER_EXPECT) &&
				headers_list_has(h, HEADER_EXPECT, STR("100-continue"));
	if (says & SAYS_UPGRADE && out->kind != METHOD_CONNECT)
		out->upgrade = read_upgrade(h, a);
	return WHY_DONE;
}

enum why gate_request(struct str head, struct arena *a, struct request *out)
{
	enum why why = WHY_BAD_LINE;
	struct str line;

	*out = (struct request){ 0 };
	while (head.len >= 2 && memcmp(head.at, "\r\n", 2) == 0)
		head = str_from(head, 2);
	if (!take_start_line(&head, &line))
		return WHY_BAD_LINE;
	why = read_request_line(line, out);
	if (why != WHY_DONE)
		return why;
	switch (take_fields(head, false, a, &out->fields)) {
	case TAKEN:		break;
	case TAKEN_BAD:		return WHY_BAD_FIELD;
	case TAKEN_NO_ROOM:	return WHY_OUT_OF_MEMORY;
	}
	why = check_host(out);
	if (why == WHY_DONE)
		why = frame_request(out);
	return why == WHY_DONE ? read_wishes(out, a) : why;
}

/* --- responses ------------------------------------------------------------- */

/* HTTP/1.x SP 3DIGIT [ SP reason ]: the last SP is often forgotten (RFC 9112 4
 * wants it), and nothing depends on it. */
static bool read_status_line(struct str line, struct response *out)
{
	const char *d = line.at + VERSION_LEN + 1;

	if (line.len < VERSION_LEN + 4 || memcmp(line.at, "HTTP/1.", 7) != 0 ||
	    !is_digit(line.at[7]) || line.at[8] != ' ')
		return false;
	if (d[0] < '1' || d[0] > '9' || !is_digit(d[1]) || !is_digit(d[2]))
		return false;
	out->minor = (uint8_t)(line.at[7] - '0');
	out->status = (uint16_t)(100 * (d[0] - '0') + 10 * (d[1] - '0') + d[2] - '0');
	line = str_from(line, VERSION_LEN + 4);
	if (line.len == 0)
		return true;
	out->reason = str_from(line, 1);
	return line.at[0] == ' ' && header_value_len(line) == line.len;
}

/* Ends at the empty line whatever the fields say (RFC 9112 6.3, 1 and 2). */
static bool has_no_body(const struct response *p, enum method_kind to)
{
	return p->status < 200 || p->status == 204 || p->status == 304 ||
	       to == METHOD_HEAD || (to == METHOD_CONNECT && p->status < 300);
}

/* A length without a body tells of another response: that of a GET. Anywhere
 * else it must not be sent (RFC 9110 8.6). */
static bool may_tell_length(const struct response *p, enum method_kind to)
{
	return p->status == 304 ||
	       (to == METHOD_HEAD && p->status >= 200 && p->status != 204);
}

static enum why frame_response(struct response *out, enum method_kind to)
{
	const struct headers *h = &out->fields;
	bool has_length = has(h, HEADER_CONTENT_LENGTH);
	bool has_coding = has(h, HEADER_TRANSFER_ENCODING);

	if (has_no_body(out, to)) {
		out->has_length = has_length && !has_coding && may_tell_length(out, to) &&
				  read_length(h, &out->length) == LENGTH_OK;
		return WHY_DONE;
	}
	if (has_coding && has_length)
		return WHY_BAD_RESPONSE_LENGTH;
	if (has_coding) {
		out->framing = FRAMING_CHUNKED;
		return out->minor && read_coding(h) == CODING_CHUNKED ?
		       WHY_DONE : WHY_BAD_RESPONSE_CODING;
	}
	out->framing = has_length ? FRAMING_LENGTH : FRAMING_UNTIL_CLOSE;
	out->has_length = has_length;
	return !has_length || read_length(h, &out->length) == LENGTH_OK ?
	       WHY_DONE : WHY_BAD_RESPONSE_LENGTH;
}

/* Where no body can be, one is announced that none may announce (RFC 9110 8.6,
 * 9112 6.1). The server may send it all the same: then it must not be read as the
 * next response. */
static bool announces_wrongly(const struct response *p, enum method_kind to)
{
	const struct headers *h = &p->fields;
	bool has_length = has(h, HEADER_CONTENT_LENGTH);
	uint64_t length;

	if (p->framing != FRAMING_NONE)
		return false;
	if (has(h, HEADER_TRANSFER_ENCODING))
		return has_length || !p->minor || !may_tell_length(p, to);
	return has_length && (read_length(h, &length) != LENGTH_OK ||
			      (length && !may_tell_length(p, to)));
}

enum why gate_response(struct str head, struct arena *a, enum method_kind to,
		       struct response *out)
{
	unsigned says;
	enum why why;
	struct str line;

	*out = (struct response){ 0 };
	if (!take_start_line(&head, &line) || !read_status_line(line, out))
		return WHY_BAD_RESPONSE;
	switch (take_fields(head, true, a, &out->fields)) {
	case TAKEN:		break;
	case TAKEN_BAD:		return WHY_BAD_RESPONSE;
	case TAKEN_NO_ROOM:	return WHY_OUT_OF_MEMORY;
	}
	says = read_options(&out->fields);
	if (says & SAYS_TOO_MUCH)
		return WHY_RESPONSE_HEAD_TOO_BIG;
	why = frame_response(out, to);
	out->keep = out->framing != FRAMING_UNTIL_CLOSE && !(says & SAYS_CLOSE) &&
		    (out->minor || says & SAYS_KEEP) && !announces_wrongly(out, to);
	if (says & SAYS_UPGRADE && out->minor)
		out->upgrade = headers_join(&out->fields, HEADER_UPGRADE, a);
	return why;
}
