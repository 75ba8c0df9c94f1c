/* bound: logins that belong to a connection. NTLM and Negotiate authenticate
 * the connection, not the request (RFC 4559, MS-NTHT): from the first sign of
 * them the upstream connection stays with this one client connection, is never
 * pooled, and both end together. */
#include "worker/transaction.h"

#include <stdlib.h>

struct bound {
	struct session *session;
	struct conn *conn;		/* NULL while a transaction uses it */
	struct tls_ctx *tls;
	uint32_t via;
	bool logged_in;
	uint16_t port, host_len;
	char host[];
};

static bool names_scheme(struct str value)
{
	struct str scheme = value, rest;

	str_cut(value, ' ', &scheme, &rest);
	return str_eq_nocase(scheme, STR("NTLM")) || str_eq_nocase(scheme, STR("Negotiate"));
}

bool bound_is_token(struct str value)
{
	return names_scheme(value) && memchr(value.at, ' ', value.len);
}

/* The request carries such credentials. */
void bound_request(struct transaction *t)
{
	const struct header *h = headers_find(&t->request.fields, HEADER_AUTHORIZATION);

	if (h && names_scheme(h->value))
		t->bound = t->logged_in = true;
}

static bool offers_scheme(const struct headers *fields)
{
	const struct header *h = NULL;

	while ((h = headers_next(fields, HEADER_WWW_AUTHENTICATE, h))) {
		struct str list = h->value, item;

		while (str_list_next(&list, &item))
			if (names_scheme(item))
				return true;
	}
	return false;
}

/* RFC 4559 6: tells the client that this proxy keeps the two connections
 * together. Connection names it, so that a proxy on the way that does not know it
 * does not promise what it cannot keep. */
void bound_response(struct transaction *t)
{
	struct headers *h = &t->response.fields;

	if (t->response.status != 401 || !offers_scheme(h))
		return;
	t->bound = true;
	headers_drop(h, HEADER_PROXY_SUPPORT);
	headers_add(h, t->arena, STR("Proxy-Support"), STR("Session-Based-Authentication"));
	headers_add(h, t->arena, STR("Connection"), STR("Proxy-Support"));
}

void session_unbind(struct session *s)
{
	if (!s->bound)
		return;
	conn_close(s->bound->conn);
	free(s->bound);
	s->bound = NULL;
}

/* The origin ended the connection that carries the login: so does the client's,
 * which must log in anew. */
static void bound_spoke(void *owner, struct conn *c, enum conn_event ev)
{
	struct bound *b = owner;
	struct session *s = b->session;

	session_unbind(s);
	if (s->phase == SESSION_IDLE)
		session_kill(s);
}

static uint32_t via_of(const struct pool_key *k)
{
	return k->via ? k->via->id : 0;
}

static bool is_for(const struct bound *b, const struct pool_key *k)
{
	return b->port == k->port && b->tls == k->tls && b->via == via_of(k) &&
	       str_eq_nocase((struct str){ b->host, b->host_len }, k->host);
}

/* Vetted again: what is allowed may have changed since it was dialled. */
static bool may_go_on(struct transaction *t, const struct bound *b, vet_fn *vet)
{
	return b->conn && is_for(b, &t->key) &&
	       (b->via || vet(t, conn_peer(b->conn)) == WHY_DONE);
}

struct conn *bound_take(struct transaction *t, vet_fn *vet)
{
	struct bound *b = t->session->bound;
	struct conn *c;

	if (!b)
		return NULL;
	if (!may_go_on(t, b, vet)) {
		session_unbind(t->session);
		return NULL;
	}
	c = b->conn;
	b->conn = NULL;
	t->bound = true;
	t->logged_in |= b->logged_in;
	return c;
}

bool bound_keep(struct transaction *t, struct conn *c)
{
	struct session *s = t->session;
	struct bound *b;

	if (!t->bound)
		return false;
	session_unbind(s);
	b = malloc(sizeof *b + t->key.host.len);
	if (!b) {
		conn_close(c);
		return true;
	}
	*b = (struct bound){ .session = s, .conn = c, .tls = t->key.tls, .port = t->key.port,
			     .via = via_of(&t->key), .logged_in = t->logged_in,
			     .host_len = (uint16_t)t->key.host.len };
	memcpy(b->host, t->key.host.at, t->key.host.len);
	s->bound = b;
	conn_adopt(c, bound_spoke, b);
	conn_resume(c);
	return true;
}
