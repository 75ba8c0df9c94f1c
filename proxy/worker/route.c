/* route: where a request goes and whether it may. Reads the request once, and
 * writes down what the attempts need: the pool's key, the Host, the target. */
#include "worker/transaction.h"

#include <stdio.h>

#include "worker/intercept.h"
#include "worker/parent.h"
#include "worker/redirect.h"

static size_t word_len(struct str s)
{
	size_t n = 0;

	while (n < s.len && s.at[n] != ' ' && s.at[n] != '\t' && s.at[n] != '(')
		n++;
	return n;
}

/* A member of Via is "1.1 pseudonym (comment)". */
static bool via_names(struct str member, struct str pseudonym)
{
	struct str by = str_trim(str_from(member, word_len(member)));

	return str_eq_nocase(str_first(by, word_len(by)), pseudonym);
}

static bool came_back(const struct transaction *t)
{
	const struct headers *fields = &t->request.fields;
	const struct header *h = NULL;

	while ((h = headers_next(fields, HEADER_VIA, h))) {
		struct str list = h->value, member;

		while (str_list_next(&list, &member))
			if (via_names(member, t->snapshot->own_via))
				return true;
	}
	return false;
}

void route_to(struct transaction *t, const struct url *u)
{
	t->https = u->scheme == SCHEME_HTTPS;
	t->key = (struct pool_key){ .host = u->host, .port = u->port };
	t->host = u->authority;
}

static enum why route_connect(struct transaction *t)
{
	const struct url *u = &t->request.url;
	const struct access *a = &t->snapshot->config->access;
	enum why why = access_connect_port(a, u->port);

	if (!t->snapshot->config->forward)
		return WHY_DENIED_FORWARD;
	if (why == WHY_DONE)
		why = access_host(u->host, u->literal6);
	if (why != WHY_DONE)
		return why;
	t->key = (struct pool_key){ .host = u->host, .port = u->port };
	t->intercept = intercept_wants(t->snapshot, u->host);
	return WHY_DONE;
}

/* RFC 9112 3.2.1 and 3.2.4: an empty path becomes "/", or "*" for OPTIONS. */
struct str route_target(struct transaction *t, struct str path)
{
	if (path.len && path.at[0] == '/')
		return path;
	if (!path.len)
		return t->request.kind == METHOD_OPTIONS ? STR("*") : STR("/");
	return arena_print(t->arena, "/%.*s", STR_FMT(path));
}

static enum why route_absolute(struct transaction *t)
{
	const struct url *u = &t->request.url;
	enum why why;

	if (!t->snapshot->config->forward)
		return WHY_DENIED_FORWARD;
	why = access_host(u->host, u->literal6);
	if (why == WHY_DONE)
		why = access_url_port(&t->snapshot->config->access, u->port);
	if (why != WHY_DONE)
		return why;
	t->target = route_target(t, u->path);
	route_to(t, u);
	return WHY_DONE;
}

/* Origin-form: for the configured origin, or for nobody. */
static enum why route_sidecar(struct transaction *t)
{
	const struct url *origin = &t->snapshot->config->origin;

	if (!origin->host.len) {
		if (t->request.kind == METHOD_OPTIONS && t->request.url.form == URL_ASTERISK)
			return WHY_ANSWERED_HERE;
		return WHY_NOT_A_PROXY_REQUEST;
	}
	t->trusted = true;
	t->target = t->request.target;
	route_to(t, origin);
	return WHY_DONE;
}

/* RFC 9110 7.6.2: TRACE and OPTIONS count down, and end here at 0. */
static enum why count_down(struct transaction *t)
{
	struct headers *fields = &t->request.fields;
	const struct header *found = headers_find(fields, HEADER_MAX_FORWARDS);
	uint64_t left;

	if (!found || (t->request.kind != METHOD_TRACE && t->request.kind != METHOD_OPTIONS))
		return WHY_DONE;
	if (headers_next(fields, HEADER_MAX_FORWARDS, found) || !str_to_u64(found->value, &left))
		return WHY_BAD_FIELD;
	if (left == 0)
		return WHY_ANSWERED_HERE;
	fields->at[found - fields->at].value =
		arena_print(t->arena, "%llu", (unsigned long long)left - 1);
	return WHY_DONE;
}

static void find_rule(struct transaction *t)
{
	const struct request *q = &t->request;
	const struct header *agent = headers_find(&q->fields, HEADER_USER_AGENT);

	t->rule = rules_find(t->snapshot->config->rules,
			     t->rule_host.len ? t->rule_host : t->key.host, t->target, q->method,
			     agent ? agent->value : STR_NONE);
}

/* Nobody vets the addresses that a parent dials, but literal ones are known here. */
static enum why vet_literal(const struct transaction *t)
{
	struct address a;

	if (t->trusted || !address_parse(t->key.host, t->key.port, &a))
		return WHY_DONE;
	return access_target(&t->snapshot->config->access, session_peer(t->session), &a.sa);
}

/* Who had the request before us, and we: a ring of proxies would not notice a
 * CONNECT that comes back without it. */
static struct str via_field(struct transaction *t)
{
	const struct headers *fields = &t->request.fields;
	const struct header *h = NULL;
	struct str ours = transaction_via(t, t->request.minor), *part;
	unsigned n = 0;

	while ((h = headers_next(fields, HEADER_VIA, h)))
		n++;
	part = ours.len ? arena_get(t->arena, (2 * n + 3) * sizeof *part) : NULL;
	if (!part)
		return STR_NONE;
	n = 0;
	part[n++] = STR("Via: ");
	while ((h = headers_next(fields, HEADER_VIA, h))) {
		part[n++] = h->value;
		part[n++] = STR(", ");
	}
	part[n++] = ours;
	part[n++] = STR("\r\n");
	return arena_join(t->arena, n, part);
}

static enum why choose_parent(struct transaction *t)
{
	bool tunnel = t->https || t->request.kind == METHOD_CONNECT;

	t->by_parent = true;
	t->key.via = parent_way(t->snapshot, tunnel);
	if (tunnel)
		t->key.via_fields = via_field(t);
	return t->key.via ? vet_literal(t) : WHY_TLS_FAILED;
}

/* Through a parent or not, with which TLS. */
static enum why choose_way(struct transaction *t)
{
	struct snapshot *s = t->snapshot;
	enum why why = parent_serves(s->config, t->key.host) ? choose_parent(t) : WHY_DONE;

	if (why != WHY_DONE || !(t->https || t->intercept))
		return why;
	t->key.tls = snapshot_upstream_tls(s, t->https ? t->rule :
					      intercept_rule(s, t->key.host));
	return t->key.tls ? WHY_DONE : WHY_TLS_FAILED;
}

static enum why choose_server(struct transaction *t)
{
	if (t->session->inner)
		return intercept_route(t);
	switch (t->request.url.form) {
	case URL_AUTHORITY:
		return route_connect(t);
	case URL_ABSOLUTE:
		return route_absolute(t);
	case URL_ORIGIN:
	case URL_ASTERISK:
		break;
	}
	if (t->session->redirected)
		return redirect_route(t);
	return route_sidecar(t);
}

enum why route(struct transaction *t)
{
	enum why why;

	if (headers_find(&t->request.fields, HEADER_VIA) && came_back(t))
		return WHY_LOOP;
	why = choose_server(t);
	if (why == WHY_DONE)
		why = count_down(t);
	if (why != WHY_DONE)
		return why;
	find_rule(t);
	return choose_way(t);
}
