/* intercept: see the header. The client's first octets are read as they come, and
 * read again (conn_unread) by whoever they turn out to be for.
 *
 * The leaf is for the name in CONNECT, whatever name the handshake asks for: that
 * is the one whose server was verified. A client that means another is told by
 * the certificate, and a Host that names another is refused. */
#include "worker/intercept.h"

#include <stdio.h>
#include <stdlib.h>

#include <event2/event.h>

#include "ground/log.h"
#include "net/mint.h"

enum { HELLO_WAIT_MS = 1000, MINT_WAIT_MS = 10000 };

#define OPENING STR("HTTP/1.1 200 Connection established\r\n\r\n")

static void look(struct transaction *t);

/* -- which hosts --------------------------------------------------------------------- */

static struct str without_dot(struct str host)
{
	if (host.len && host.at[host.len - 1] == '.')
		host.len--;
	return host;
}

bool intercept_wants(const struct snapshot *s, struct str host)
{
	const struct config_list *l = &s->config->intercept;

	for (unsigned i = 0; s->mint && i < l->n; i++)
		if (str_glob(l->at[i], without_dot(host)))
			return true;
	return false;
}

const struct rule *intercept_rule(const struct snapshot *s, struct str host)
{
	const struct rules *all = s->config->rules;

	for (unsigned i = 0; i < rules_count(all); i++) {
		const struct rule *r = rules_at(all, i);
		const char *missed;

		if (!rule_has_tls(r))
			continue;
		missed = rule_misses(r, host, STR("/"), STR("GET"), STR_NONE);
		if (!missed || strcmp(missed, "host") != 0)
			return r;
	}
	return NULL;
}

/* -- requests inside ------------------------------------------------------------------ */

static bool is_same(const struct url *a, const struct url *b)
{
	return a->port == b->port && str_eq_nocase(without_dot(a->host), without_dot(b->host));
}

static bool names(struct str host, const struct url *inner)
{
	struct url u;

	return url_parse_authority(host, SCHEME_HTTPS, &u) && is_same(&u, inner);
}

static enum why inner_target(struct transaction *t, const struct url *inner)
{
	const struct url *u = &t->request.url;

	switch (u->form) {
	case URL_ORIGIN:
	case URL_ASTERISK:
		t->target = t->request.target;
		return WHY_DONE;
	case URL_ABSOLUTE:
		if (u->scheme != SCHEME_HTTPS || !is_same(u, inner))
			return WHY_ELSEWHERE;
		t->target = route_target(t, u->path);
		return WHY_DONE;
	case URL_AUTHORITY:
		break;
	}
	return WHY_ELSEWHERE;
}

enum why intercept_route(struct transaction *t)
{
	const struct url *inner = &t->session->inner->url;
	enum why why = inner_target(t, inner);

	if (why != WHY_DONE)
		return why;
	if (t->request.host.len && !names(t->request.host, inner))
		return WHY_ELSEWHERE;
	route_to(t, inner);
	if (t->request.host.len)
		t->host = t->request.host;
	/* For log and recorder: what an absolute-form request would have said. */
	t->request.target = arena_print(t->arena, "https://%.*s%.*s", STR_FMT(inner->authority),
					STR_FMT(t->target));
	return WHY_DONE;
}

/* -- a leaf ----------------------------------------------------------------------------- */

static void on_late(evutil_socket_t fd, short what, void *arg);

static bool wait_for(struct transaction *t, unsigned ms)
{
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	if (!t->delay)
		t->delay = evtimer_new(t->worker->base, on_late, t);
	return t->delay && evtimer_add(t->delay, &tv) == 0;
}

static void no_leaf(struct transaction *t, const char *words)
{
	if (t->exchange.state != EX_OPEN)
		return;
	snprintf(t->detail, sizeof t->detail, "%s", words);
	transaction_fail(t, WHY_MINT_FAILED);
}

static void minted(void *owner, struct tls_identity *leaf)
{
	struct transaction *t = owner;
	struct session *s = t->session;

	t->minting = NULL;
	if (leaf && t->exchange.state == EX_OPEN) {
		t->leaf = tls_identity_hold(leaf);
		POST(t, .event = GOT_UPSTREAM, .tunnel = true);
	} else {
		no_leaf(t, "the signing process has ended, or may not sign this name");
	}
	session_settle(s);
}

/* The connection that proved who the server is waits in the pool for the first
 * request inside. */
void intercept_verified(struct transaction *t)
{
	struct mint *m = t->snapshot->mint;
	struct str host = without_dot(t->key.host);
	struct tls_identity *leaf = mint_know(m, host);

	pool_put(t->worker->pool, &t->key, t->upstream);
	t->upstream = NULL;
	if (leaf) {
		t->leaf = tls_identity_hold(leaf);
		POST(t, .event = GOT_UPSTREAM, .tunnel = true);
		return;
	}
	t->minting = mint_ask(m, host, minted, t);
	if (!t->minting || !wait_for(t, MINT_WAIT_MS))
		no_leaf(t, "the signing process cannot be asked");
}

void intercept_drop(struct transaction *t)
{
	if (t->minting)
		minting_cancel(t->minting);
	t->minting = NULL;
	tls_identity_release(t->leaf);
	t->leaf = NULL;
}

/* -- what the client says first ------------------------------------------------------------ */

enum hello { HELLO_MORE, HELLO_TLS, HELLO_OTHER };

/* A handshake record of SSL 3 or later that begins with a ClientHello, or the
 * ClientHello in the form of SSL 2 by which old clients ask for TLS. */
static enum hello hello_of(struct str s)
{
	static const struct { unsigned char mask[6], is[6]; } forms[] = {
		{ { 0xff, 0xff, 0, 0, 0, 0xff }, { 0x16, 0x03, 0, 0, 0, 0x01 } },
		{ { 0x80, 0, 0xff, 0xff, 0, 0 }, { 0x80, 0, 0x01, 0x03, 0, 0 } },
	};

	for (unsigned f = 0; f < sizeof forms / sizeof *forms; f++) {
		size_t i = 0;

		while (i < 6 && i < s.len && ((unsigned char)s.at[i] & forms[f].mask[i]) == forms[f].is[i])
			i++;
		if (i == 6)
			return HELLO_TLS;
		if (i == s.len)
			return HELLO_MORE;
	}
	return HELLO_OTHER;
}

/* Not TLS: a connection of its own, without it. What the client said so far is
 * still in the session's block, where the tunnel looks for it. */
static void go_blind(struct transaction *t)
{
	count(t->worker, COUNT_INTERCEPT_BLIND);
	intercept_drop(t);
	t->intercept = false;
	event_del(t->delay);
	t->opening = STR("");
	if (!lane_is_empty(&t->down))
		t->opening = (struct str){ t->down.v[t->down.at].iov_base,
					   t->down.v[t->down.at].iov_len };
	lane_drop(&t->down);
	conn_pause(t->session->client);
	if (t->upstream)
		tunnel_begin(t);
	else if (!t->want)
		upstream_blind(t);
}

/* The server's first octet, or its end, while the client is silent. */
static void on_server(void *owner, struct conn *c, enum conn_event ev)
{
	struct transaction *t = owner;
	struct session *s = t->session;

	if (ev == CONN_READABLE)
		go_blind(t);
	session_settle(s);
}

void intercept_dialled(struct transaction *t)
{
	if (t->intercept)
		conn_adopt(t->upstream, on_server, t);
	else
		tunnel_begin(t);
}

static bool go_inside(struct transaction *t)
{
	struct session *s = t->session;
	struct tls_ctx *ctx = snapshot_inside_tls(t->snapshot);
	bool whole = ctx && session_enclose(s, &t->request.url) &&
		     conn_unread(s->client, buf_unread(&s->in));

	buf_give(&s->in);
	return whole && conn_secure(s->client, ctx, STR_NONE) &&
	       tls_show(conn_tls(s->client), t->leaf);
}

static void go(struct transaction *t)
{
	if (!go_inside(t)) {
		transaction_lose_client(t);
		return;
	}
	event_del(t->delay);
	t->exchange.keep_client = true;
	POST(t, .event = RESPONSE_ENDED);
}

/* The 200 goes out first; then, what came? */
static void look(struct transaction *t)
{
	switch (lane_flush(&t->down, t->session->client)) {
	case IO_FAILED:
	case IO_EOF:
		transaction_lose_client(t);
		return;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		return;
	case IO_DONE:
		break;
	}
	switch (hello_of(buf_unread(&t->session->in))) {
	case HELLO_MORE:
		return;
	case HELLO_TLS:
		go(t);
		return;
	case HELLO_OTHER:
		go_blind(t);
		return;
	}
}

static void read_some(struct transaction *t)
{
	struct buf *in = &t->session->in;
	struct iovec room;
	size_t got;

	if (!buf_take(in)) {
		transaction_lose_client(t);
		return;
	}
	room = buf_room(in);
	switch (conn_read(t->session->client, &room, 1, &got)) {
	case IO_DONE:
		buf_filled(in, got);
		look(t);
		return;
	case IO_EOF:
	case IO_FAILED:
		transaction_lose_client(t);
		return;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		return;
	}
}

static void on_client(void *owner, struct conn *c, enum conn_event ev)
{
	struct transaction *t = owner;
	struct session *s = t->session;

	switch (ev) {
	case CONN_READABLE:
		if (t->intercept)
			read_some(t);
		break;
	case CONN_WRITABLE:
		if (t->intercept)
			look(t);
		break;
	case CONN_UP:
	case CONN_DOWN:
		break;
	}
	session_settle(s);
}

/* No leaf in time; or a client that is silent: is it the server that begins? The
 * client may still turn out to be slow (a Java machine that loads its TLS), so
 * whoever speaks first decides. */
static void on_late(evutil_socket_t fd, short what, void *arg)
{
	struct transaction *t = arg;
	struct session *s = t->session;

	if (t->exchange.state == EX_OPEN)
		no_leaf(t, "the signing process did not answer in time");
	else if (t->intercept && t->exchange.state == EX_TUNNEL)
		upstream_blind(t);
	session_settle(s);
}

void intercept_begin(struct transaction *t)
{
	struct session *s = t->session;

	t->status = 200;
	lane_drop(&t->down);
	t->heads = OPENING.len;
	lane_add(&t->down, OPENING);
	conn_adopt(s->client, on_client, t);
	conn_resume(s->client);
	deadline_set(&t->worker->net.deadlines, &t->deadline, DEADLINE_TUNNEL);
	if (!wait_for(t, HELLO_WAIT_MS)) {
		transaction_lose_client(t);
		return;
	}
	look(t);
}
