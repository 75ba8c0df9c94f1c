/* url: see the header. One pass over the text: an authority is taken off the
 * front, octet class by octet class, and what stops it decides what comes next.
 * Knows nothing of what a host means: names, addresses, odd spellings of
 * addresses are access control's (access.h). */
#include "http/url.h"

#include <arpa/inet.h>

enum { HOST_MOST = 255, PORT_DIGITS = 5 };

static const uint16_t default_port[] = {
	[SCHEME_NONE] = 0, [SCHEME_HTTP] = 80, [SCHEME_HTTPS] = 443,
};

/* What may stand in a host name: unreserved and sub-delims of RFC 3986 2, but no
 * comma, which is how two Host lines look that somebody has joined. And in a path
 * with its query: anything visible but "#". Browsers send more there than RFC 3986
 * allows, and none of it can be mistaken for an end of anything. */
enum { IN_NAME = 1, IN_PATH = 2, IN_BOTH = 3 };
static const uint8_t class[256] = {
	['!'] = IN_BOTH, ['"'] = IN_PATH, ['$'] = IN_BOTH, ['%'] = IN_PATH,
	['&' ... '+'] = IN_BOTH, [','] = IN_PATH, ['-' ... '.'] = IN_BOTH,
	['/'] = IN_PATH, ['0' ... '9'] = IN_BOTH,
	[':'] = IN_PATH, [';'] = IN_BOTH, ['<'] = IN_PATH, ['='] = IN_BOTH,
	['>' ... '@'] = IN_PATH, ['A' ... 'Z'] = IN_BOTH, ['[' ... '^'] = IN_PATH,
	['_'] = IN_BOTH, ['`'] = IN_PATH, ['a' ... 'z'] = IN_BOTH,
	['{' ... '}'] = IN_PATH, ['~'] = IN_BOTH,
};

static size_t len_of(struct str s, unsigned in)
{
	size_t n = 0;

	while (n < s.len && class[(unsigned char)s.at[n]] & in)
		n++;
	return n;
}

static bool is_path(struct str s)
{
	return len_of(s, IN_PATH) == s.len;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_hex(char c)
{
	return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Octets of reg-name at the front (RFC 3986 3.2.2). */
static size_t name_len(struct str s)
{
	size_t n = len_of(s, IN_NAME);

	while (s.len - n > 2 && s.at[n] == '%' && is_hex(s.at[n + 1]) && is_hex(s.at[n + 2])) {
		n += 3;
		n += len_of(str_from(s, n), IN_NAME);
	}
	return n;
}

/* The address in "[...]" at the front; false: malformed. No zone: it would mean
 * something on our machine only. No IPvFuture: there is none. */
static bool take_literal6(struct str *s, struct str *host)
{
	const char *end = memchr(s->at, ']', s->len);
	char room[INET6_ADDRSTRLEN];
	struct in6_addr ignored;
	size_t n;

	if (!end)
		return false;
	n = (size_t)(end - s->at) - 1;
	if (n >= sizeof room)
		return false;
	*host = (struct str){ s->at + 1, n };
	memcpy(room, host->at, n);
	room[n] = '\0';
	*s = str_from(*s, n + 2);
	return strlen(room) == n && inet_pton(AF_INET6, room, &ignored) == 1;
}

/* Digits at the front; none is the default, as "host:" means (RFC 3986 3.2.3). */
static bool take_port(struct str *s, uint16_t *port)
{
	uint32_t n = 0;
	size_t i = 0;

	for (; i < s->len && is_digit(s->at[i]); i++) {
		if (i == PORT_DIGITS)
			return false;
		n = 10 * n + (uint32_t)(s->at[i] - '0');
	}
	*s = str_from(*s, i);
	if (i == 0)
		return true;
	*port = (uint16_t)n;
	return n >= 1 && n <= UINT16_MAX;
}

/* host [ ":" port ] off the front of *s. */
static bool take_authority(struct str *s, struct url *out)
{
	struct str all = *s;

	out->port = default_port[out->scheme];
	out->literal6 = s->len && s->at[0] == '[';
	if (out->literal6) {
		if (!take_literal6(s, &out->host))
			return false;
	} else {
		out->host = str_first(*s, name_len(*s));
		*s = str_from(*s, out->host.len);
	}
	if (out->host.len == 0 || out->host.len > HOST_MOST)
		return false;
	if (s->len && s->at[0] == ':') {
		*s = str_from(*s, 1);
		if (!take_port(s, &out->port))
			return false;
	}
	out->authority = str_first(all, all.len - s->len);
	return true;
}

bool url_parse_authority(struct str text, enum url_scheme scheme, struct url *out)
{
	*out = (struct url){ .form = URL_AUTHORITY, .scheme = scheme,
			     .port = default_port[scheme] };
	return text.len == 0 || (take_authority(&text, out) && text.len == 0);
}

static enum why parse_connect(struct str text, struct url *out)
{
	if (!url_parse_authority(text, SCHEME_NONE, out) || out->host.len == 0)
		return WHY_BAD_TARGET;
	return out->port == 0 ? WHY_NO_PORT : WHY_DONE;
}

/* "http:" or "https:" off the front; BAD_SCHEME for another one that has "//". */
static enum why take_scheme(struct str *s, enum url_scheme *scheme)
{
	size_t n = 0;

	if (s->len > 7 && memcmp(s->at, "http://", 7) == 0) {	/* as nearly all do */
		*scheme = SCHEME_HTTP;
		*s = str_from(*s, 7);
		return WHY_DONE;
	}
	while (n < s->len && (is_alpha(s->at[n]) || (n && (is_digit(s->at[n]) ||
	       s->at[n] == '+' || s->at[n] == '-' || s->at[n] == '.'))))
		n++;
	if (n == 0 || !str_starts(str_from(*s, n), STR("://")))
		return WHY_BAD_TARGET;
	if (str_eq_nocase(str_first(*s, n), STR("http")))
		*scheme = SCHEME_HTTP;
	else if (str_eq_nocase(str_first(*s, n), STR("https")))
		*scheme = SCHEME_HTTPS;
	else
		return WHY_BAD_SCHEME;
	*s = str_from(*s, n + 3);
	return WHY_DONE;
}

static enum why parse_absolute(struct str text, struct url *out)
{
	enum why why = take_scheme(&text, &out->scheme);

	if (why != WHY_DONE)
		return why;
	out->form = URL_ABSOLUTE;
	if (!take_authority(&text, out))
		return WHY_BAD_TARGET;
	if (text.len && text.at[0] != '/' && text.at[0] != '?')
		return WHY_BAD_TARGET;
	out->path = text;
	return is_path(text) ? WHY_DONE : WHY_BAD_TARGET;
}

enum why url_parse_target(struct str text, bool connect, struct url *out)
{
	if (connect)
		return parse_connect(text, out);
	*out = (struct url){ .path = text };
	if (str_eq(text, STR("*"))) {
		out->form = URL_ASTERISK;
		return WHY_DONE;
	}
	if (text.len && text.at[0] == '/')
		return is_path(text) ? WHY_DONE : WHY_BAD_TARGET;
	return parse_absolute(text, out);
}
