/* value_net: addresses, networks, ports, hosts and URLs as values. It looks nothing
 * up: what is written here is numeric, or a pattern. */
#include "worker/value.h"

#include <sys/un.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include <openssl/evp.h>

#include "worker/config.h"

enum { LOGIN_MOST = 1024 };

/* --- addresses --- */

static bool unix_address(struct str path, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_un *un = (void *)out;

	if (path.len == 0 || path.len >= sizeof(un->sun_path) || !value_is_plain(path))
		return false;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path.at, path.len);
	*len = (socklen_t)sizeof(*un);
	return true;
}

/* ADDR and PORT are written apart; brackets belong to IPv6 and nothing else. */
static bool split_address(struct str text, char address[INET6_ADDRSTRLEN], uint16_t *port,
			  bool *v6)
{
	struct str host = text, rest = text;
	uint64_t n;

	*v6 = str_starts(text, STR("["));
	if (*v6 && (!str_cut(str_from(text, 1), ']', &host, &rest) ||
		    !str_starts(rest, STR(":"))))
		return false;
	if (*v6)
		rest = str_from(rest, 1);
	else if (!str_cut(text, ':', &host, &rest))
		return false;
	if (!str_to_u64(rest, &n) || n > UINT16_MAX || host.len >= INET6_ADDRSTRLEN)
		return false;
	*port = (uint16_t)n;
	memcpy(address, host.at, host.len);
	address[host.len] = '\0';
	return strlen(address) == host.len;
}

bool value_address(struct str text, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in *in4 = (void *)out;
	struct sockaddr_in6 *in6 = (void *)out;
	char address[INET6_ADDRSTRLEN];
	uint16_t port;
	bool v6;

	memset(out, 0, sizeof(*out));
	if (str_starts(text, STR("unix:")))
		return unix_address(str_from(text, 5), out, len);
	if (!split_address(text, address, &port, &v6))
		return false;
	if (v6) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		*len = sizeof(*in6);
		return inet_pton(AF_INET6, address, &in6->sin6_addr) == 1;
	}
	in4->sin_family = AF_INET;
	in4->sin_port = htons(port);
	*len = sizeof(*in4);
	return inet_pton(AF_INET, address, &in4->sin_addr) == 1;
}

static bool take_listen(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	struct sockaddr_storage address;
	socklen_t len;
	uint64_t port;

	*(struct str *)to = str_of(v->text);
	if (value_address(str_of(v->text), &address, &len))
		return true;
	if (str_to_u64(str_of(v->text), &port))
		return form_complain(t->form, v, t->name, "\"%s\" is not %s, did you mean "
				     "127.0.0.1:%s", v->text, o->kind->wants, v->text);
	if (strncmp(v->text, "localhost:", 10) == 0)
		return form_complain(t->form, v, t->name, "\"%s\" is not %s, did you mean "
				     "127.0.0.1:%s", v->text, o->kind->wants, v->text + 10);
	if (v->text[0] == '/')
		return form_complain(t->form, v, t->name, "\"%s\" is not %s, did you mean "
				     "unix:%s", v->text, o->kind->wants, v->text);
	return false;
}

static void put_list(struct taker *t, void *items, unsigned n, void *to)
{
	*(struct config_list *)to = (struct config_list){ items, n };
}

/* A name server's port may be missing. */
static bool take_server(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	struct sockaddr_storage address;
	struct network network;
	socklen_t len;

	*(struct str *)to = str_of(v->text);
	if (strchr(v->text, '/') || strncmp(v->text, "unix:", 5) == 0)
		return false;
	return value_address(str_of(v->text), &address, &len) || network_parse(str_of(v->text), &network);
}

/* c-ares wants them in one line. */
static void put_servers(struct taker *t, void *items, unsigned n, void *to)
{
	struct str all = STR(""), *at = items;

	for (unsigned i = 0; i < n; i++)
		all = arena_print(t->arena, "%.*s%s%.*s", STR_FMT(all), i ? "," : "",
				  STR_FMT(at[i]));
	if (n)
		all.at = arena_keepz(t->arena, all);
	*(struct str *)to = all;
}

static bool take_network(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	return network_parse(str_of(v->text), to);
}

static void put_networks(struct taker *t, void *items, unsigned n, void *to)
{
	*(struct network_list *)to = (struct network_list){ items, n };
}

static bool take_port(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	struct str first = STR_NONE, last = STR_NONE, turned;

	if (port_range_parse(str_of(v->text), to))
		return true;
	str_cut(str_of(v->text), '-', &first, &last);
	turned = arena_print(t->arena, "%.*s-%.*s", STR_FMT(last), STR_FMT(first));
	if (port_range_parse(turned, to))
		return form_complain(t->form, v, t->name, "\"%s\" ends before it begins, did you "
				     "mean %.*s", v->text, STR_FMT(turned));
	return false;
}

static void put_ports(struct taker *t, void *items, unsigned n, void *to)
{
	struct port_list list = { items, n, NULL };

	if (!port_list_ready(&list, t->arena))
		list.n = 0;		/* the arena says the rest */
	*(struct port_list *)to = list;
}

/* --- hosts --- */

static bool is_host_octet(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       memchr("-_.*?:", c, 6) != NULL;
}

static bool take_pattern(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	struct str s = str_of(v->text);
	char *lower = arena_get(t->arena, s.len + 1);
	struct in6_addr in6;
	size_t n = 0;

	if (!lower || strstr(v->text, "://"))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.at[i] != '[' && s.at[i] != ']')
			lower[n++] = str_lower(s.at[i]);
	lower[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (!is_host_octet(lower[i]))
			return false;
	*(struct str *)to = (struct str){ lower, n };
	/* A colon is an IPv6 address or a port, and a port is not asked for. */
	return n > 0 && (!strchr(lower, ':') || inet_pton(AF_INET6, lower, &in6) == 1);
}

static void put_rule_hosts(struct taker *t, void *items, unsigned n, void *to)
{
	struct rule *rule = to;

	rule->hosts = items;
	rule->hosts_n = n;
}

static bool take_no_proxy(struct taker *t, const struct option *o, const struct value *v,
			  void *to)
{
	struct network network;

	if (!network_parse(str_of(v->text), &network))
		return take_pattern(t, o, v, to) &&
		       (strcmp(v->text, "*") == 0 || !strpbrk(v->text, "*?"));
	*(struct str *)to = str_of(v->text);
	return true;
}

/* --- URLs --- */

static bool take_origin(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	struct url *u = to;

	return url_parse_target(str_of(v->text), false, u) == WHY_DONE && u->form == URL_ABSOLUTE &&
	       (u->path.len == 0 || str_eq(u->path, STR("/")));
}

/* scheme://userinfo@rest */
static bool cut_userinfo(struct str url, struct str *before, struct str *userinfo,
			 struct str *rest)
{
	const char *slashes = strstr(url.at, "://");
	struct str authority;
	size_t n;

	*before = url;
	*rest = *userinfo = STR_NONE;
	if (!slashes)
		return false;
	*before = str_first(url, (size_t)(slashes + 3 - url.at));
	authority = str_from(url, before->len);
	n = strcspn(authority.at, "/?#");
	for (size_t i = n; i-- > 0;) {
		if (authority.at[i] != '@')
			continue;
		*userinfo = str_first(authority, i);
		*rest = str_from(authority, i + 1);
		return true;
	}
	*rest = authority;
	return false;
}

static int hex_digit(char c)
{
	c = str_lower(c);
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decoding; room has in.len octets. */
static struct str decode(struct str in, char *room)
{
	size_t n = 0;

	for (size_t i = 0; i < in.len; i++) {
		bool escape = in.at[i] == '%' && i + 2 < in.len && hex_digit(in.at[i + 1]) >= 0 &&
			      hex_digit(in.at[i + 2]) >= 0;

		room[n++] = escape ? (char)(hex_digit(in.at[i + 1]) << 4 | hex_digit(in.at[i + 2]))
				   : in.at[i];
		i += escape ? 2 : 0;
	}
	return (struct str){ room, n };
}

bool value_parent_login(struct taker *t, const char *url, const struct str *password,
			struct str *authorization)
{
	unsigned char base64[LOGIN_MOST * 4 / 3 + 8];
	char u[LOGIN_MOST], p[LOGIN_MOST];
	struct str before, userinfo, rest, user, pass = STR_NONE;
	struct str login;

	if (!cut_userinfo(str_of(url), &before, &userinfo, &rest) ||
	    userinfo.len > LOGIN_MOST / 2 || (password && password->len > LOGIN_MOST / 2))
		return false;
	user = userinfo;
	str_cut(userinfo, ':', &user, &pass);
	user = decode(user, u);
	pass = password ? *password : decode(pass, p);
	login = arena_print(t->arena, "%.*s:%.*s", STR_FMT(user), STR_FMT(pass));
	EVP_EncodeBlock(base64, (const unsigned char *)login.at, (int)login.len);
	*authorization = arena_print(t->arena, "Basic %s", (char *)base64);
	return user.len > 0;
}

/* Complaints do not repeat the URL: there may be a password in it. */
static bool take_parent(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	struct str before, userinfo, rest, plain;
	struct parent *parent = to;
	struct url *u = &parent->url;
	bool login = cut_userinfo(str_of(v->text), &before, &userinfo, &rest);

	plain = arena_print(t->arena, "%.*s%.*s", STR_FMT(before), STR_FMT(rest));
	if (url_parse_target(plain, false, u) != WHY_DONE || u->form != URL_ABSOLUTE ||
	    (u->path.len && !str_eq(u->path, STR("/"))))
		return form_complain(t->form, v, t->name, "this is not %s", o->kind->wants);
	if (u->authority.len == u->host.len + (u->literal6 ? 2 : 0))
		return form_complain(t->form, v, t->name, "the port is missing, did you mean "
				     "%.*s%.*s:3128", STR_FMT(before), STR_FMT(u->authority));
	return !login || value_parent_login(t, v->text, NULL, &parent->authorization);
}

/* --- the kinds --- */

#define LIST_OF(type) .item_size = sizeof(type)

const struct kind kind_listen = {
	.metavar = "ADDR:PORT", .wants = "an address (want ADDR:PORT, [ADDR]:PORT or unix:PATH)",
	.quoted = true, .may_be_empty = true, .take = take_listen };
const struct kind kind_listens = {
	.metavar = "ADDR:PORT", .wants = "an address (want ADDR:PORT, [ADDR]:PORT or unix:PATH)",
	.quoted = true, LIST_OF(struct str), .take = take_listen, .put = put_list };
const struct kind kind_networks = {
	.metavar = "NETWORK", .wants = "a network (want e.g. 10.0.0.0/8 or fd00::/8, host bits zero)",
	.quoted = true, LIST_OF(struct network), .take = take_network, .put = put_networks };
const struct kind kind_ports = {
	.metavar = "PORT", .wants = "a port (want e.g. 443 or 8000-8999)", .quoted = true,
	LIST_OF(struct port_range), .take = take_port, .put = put_ports };
const struct kind kind_patterns = {
	.metavar = "HOST", .wants = "a host (want a name or a pattern such as *.corp.example, "
	"without scheme, port or path)", .quoted = true, LIST_OF(struct str),
	.take = take_pattern, .put = put_list };
const struct kind kind_no_proxy = {
	.metavar = "HOST", .wants = "a host or network (want e.g. corp.example, 10.0.0.0/8 or *)",
	.quoted = true, LIST_OF(struct str), .take = take_no_proxy, .put = put_list };
const struct kind kind_servers = {
	.metavar = "ADDR", .wants = "a name server (want ADDR, ADDR:PORT or [ADDR]:PORT)",
	.quoted = true, LIST_OF(struct str), .take = take_server, .put = put_servers };
const struct kind kind_origin = {
	.metavar = "URL", .wants = "an origin (want http://HOST:PORT or https://HOST:PORT, no path)",
	.quoted = true, .may_be_empty = true, .take = take_origin };
const struct kind kind_parent = {
	.metavar = "URL", .wants = "a proxy (want http://HOST:PORT or http://USER:PASSWORD@HOST:PORT)",
	.quoted = true, .may_be_empty = true, .take = take_parent };
const struct kind kind_rule_hosts = {
	.metavar = "HOST", .wants = "a host (want a name or a pattern such as *.corp.example, "
	"without scheme, port or path)", .quoted = true, LIST_OF(struct str),
	.take = take_pattern, .put = put_rule_hosts };
