/* fuzz_url: request targets, authorities and the spelling of hosts.
 *
 * Input: 'T' or 'C' (a target, for CONNECT), 'A' (an authority); then the text. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/url.h"
#include "policy/access.h"

#define MUST(condition) \
	do { if (!(condition)) { fprintf(stderr, "%s\n", #condition); abort(); } } while (0)

static bool is_inside(struct str part, struct str all)
{
	return part.len == 0 || (part.at >= all.at && part.at + part.len <= all.at + all.len);
}

static bool is_visible(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.at[i] < 0x21 || s.at[i] > 0x7e)
			return false;
	return true;
}

/* What passes is a name, or an address spelled in the one usual way: whatever
 * inet_aton() reads as an address, inet_pton() does, too. */
static void check_host(struct str host, bool literal6)
{
	struct in6_addr in6;
	struct in_addr in;
	char text[512];

	if (access_host(host, literal6) != WHY_DONE)
		return;
	MUST(host.len && host.len < sizeof text && !memchr(host.at, '\0', host.len));
	memcpy(text, host.at, host.len);
	text[host.len] = '\0';
	if (literal6) {
		MUST(inet_pton(AF_INET6, text, &in6) == 1);
		return;
	}
	MUST(host.len <= 254);
	MUST(!strpbrk(text, "/:@?#[]%\\ "));
	MUST(inet_aton(text, &in) == 0 || inet_pton(AF_INET, text, &in) == 1);
}

/* An authority means the same when it stands alone, as in Host. */
static void check_authority(const struct url *u)
{
	struct url again;

	MUST(is_visible(u->authority) && u->host.len);
	MUST(is_inside(u->host, u->authority));
	MUST(!memchr(u->authority.at, '@', u->authority.len));
	MUST(url_parse_authority(u->authority, u->scheme, &again));
	MUST(str_eq(again.host, u->host) && again.port == u->port);
	MUST(again.literal6 == u->literal6);
	check_host(u->host, u->literal6);
}

static void check_absolute(struct str text, const struct url *u)
{
	struct str rest, scheme = u->scheme == SCHEME_HTTPS ? STR("https://") : STR("http://");

	MUST(u->scheme != SCHEME_NONE && u->port);
	MUST(str_starts_nocase(text, scheme));
	rest = str_from(text, scheme.len);
	MUST(rest.len == u->authority.len + u->path.len);
	MUST(str_eq(str_first(rest, u->authority.len), u->authority));
	MUST(str_eq(str_from(rest, u->authority.len), u->path));
	MUST(!u->path.len || u->path.at[0] == '/' || u->path.at[0] == '?');
	check_authority(u);
}

static void check_target(struct str text, bool connect)
{
	struct url u;

	if (url_parse_target(text, connect, &u) != WHY_DONE)
		return;
	MUST(is_visible(text) && text.len && !memchr(text.at, '#', text.len));
	switch (u.form) {
	case URL_ORIGIN:
		MUST(!connect && str_eq(u.path, text) && text.at[0] == '/');
		return;
	case URL_ASTERISK:
		MUST(!connect && str_eq(text, STR("*")));
		return;
	case URL_ABSOLUTE:
		MUST(!connect);
		check_absolute(text, &u);
		return;
	case URL_AUTHORITY:
		MUST(connect && u.port && str_eq(u.authority, text));
		check_authority(&u);
		return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = { (const char *)data + 1, size ? size - 1 : 0 };
	struct url u;

	if (!size)
		return -1;
	if (data[0] != 'A') {
		check_target(text, data[0] == 'C');
	} else if (url_parse_authority(text, SCHEME_HTTP, &u) && text.len) {
		MUST(str_eq(u.authority, text));
		check_authority(&u);
	}
	check_host(text, false);
	return 0;
}
