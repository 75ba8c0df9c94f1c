/* route: where a request goes and whether it may. Reads the request once, and
 * writes down what the attempts need: the pool's key, the Host, the target. */
#include "worker/transaction.h"

#include <stdio.h>

/* A member of Via is "1.1 pseudonym (comment)". */
static bool via_names(struct str member, struct str pseudonym)
{
	struct str version, by, comment;

	if (!str_cut(member, ' ', &version, &by))
		return false;
	by = str_trim(by);
	str_cut(by, ' ', &by, &comment);
	return str_eq_nocase(by, pseudonym);
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

static enum why to_origin(struct transaction *t, const struct url *u)
{
	t->https = u->scheme == SCHEME_HTTPS;
	t->key = (struct pool_key){ .host = u->host, .port = u->port };
	t->host = u->authority;
	if (!t->https)
		return WHY_DONE;
	t->key.tls = snapshot_upstream_tls(t->snapshot);
	return t->key.tls ? WHY_DONE : WHY_TLS_FAILED;
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
	if (why == WHY_DONE && t->request.framing != FRAMING_NONE)
		why = WHY_BAD_FRAMING;
	if (why != WHY_DONE)
		return why;
	t->key = (struct pool_key){ .host = u->host, .port = u->port };
	return WHY_DONE;
}

/* RFC 9112 3.2.1 and 3.2.4: an empty path becomes "/", or "*" for OPTIONS. */
static struct str origin_form(struct transaction *t, struct str path)
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
	if (why != WHY_DONE)
		return why;
	t->target = origin_form(t, u->path);
	return to_origin(t, u);
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
	return to_origin(t, origin);
}

/* RFC 9110 7.6.2: TRACE and OPTIONS count down, and end here at 0. */
static enum why count_down(struct transaction *t)
{
	struct headers *fields = &t->request.fields;
	const struct header *found = headers_find(fields, HEADER_MAX_FORWARDS);
	uint64_t left;

	if (!found || (t->request.kind != METHOD_TRACE && t->request.kind != METHOD_OPTIONS))
		return WHY_DONE;
	if (!str_to_u64(found->value, &left))
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

	t->rule = rules_find(t->snapshot->config->rules, t->key.host, t->target, q->method,
			     agent ? agent->value : STR_NONE);
}

enum why route(struct transaction *t)
{
	enum why why = WHY_DONE;

	if (headers_find(&t->request.fields, HEADER_VIA) && came_back(t))
		return WHY_LOOP;
	switch (t->request.url.form) {
	case URL_AUTHORITY:
		why = route_connect(t);
		break;
	case URL_ABSOLUTE:
		why = route_absolute(t);
		break;
	case URL_ORIGIN:
	case URL_ASTERISK:
		why = route_sidecar(t);
		break;
	}
	if (why == WHY_DONE)
		why = count_down(t);
	if (why == WHY_DONE)
		find_rule(t);
	return why;
}
