/* parent: see the header. One errand is one CONNECT on one connection: it is lent
 * the connection by the pool, and gives it back with whatever the other end may
 * have said already behind the parent's answer. */
#include "worker/parent.h"

#include <stdio.h>
#include <stdlib.h>

#include "http/message.h"
#include "worker/lane.h"

enum { ARENA_FIRST = 4096, ARENA_MOST = 128 * 1024, WORDS_MOST = 128 };

/* -- for whom ------------------------------------------------------------------------ */

static struct str without_dots(struct str name)
{
	if (name.len && name.at[name.len - 1] == '.')
		name.len--;
	return str_starts(name, STR(".")) ? str_from(name, 1) : name;
}

static bool is_beneath(struct str host, struct str name)
{
	return str_ends_nocase(host, name) &&
	       (host.len == name.len || host.at[host.len - name.len - 1] == '.');
}

static bool is_exempt(struct str entry, struct str host, const struct address *literal)
{
	struct network network;
	struct network_list one = { &network, 1 };

	if (str_eq(entry, STR("*")))
		return true;
	if (network_parse(entry, &network))
		return literal && network_list_has(&one, &literal->sa);
	entry = without_dots(entry);
	return !literal && entry.len && is_beneath(host, entry);
}

bool parent_serves(const struct config *c, struct str host)
{
	struct address literal;
	bool is_literal;

	if (!c->parent.url.host.len)
		return false;
	is_literal = address_parse(host, 0, &literal);
	host = without_dots(host);
	for (unsigned i = 0; i < c->no_proxy.n; i++)
		if (is_exempt(c->no_proxy.at[i], host, is_literal ? &literal : NULL))
			return false;
	return true;
}

/* -- asking for a way ------------------------------------------------------------------ */

struct errand {
	struct conn *conn;
	struct arena *arena;
	struct reader *reader;
	struct response response;
	struct buf in;
	struct lane out;
	via_fn *fn;
	void *arg;
};

static void errand_free(struct errand *e)
{
	buf_give(&e->in);
	arena_free(e->arena);
	free(e);
}

static void stop(void *passing)
{
	errand_free(passing);
}

static void end(struct errand *e, enum why why, const char *detail)
{
	via_fn *fn = e->fn;
	void *arg = e->arg;

	if (why == WHY_DONE && !conn_unread(e->conn, buf_unread(&e->in)))
		why = WHY_OUT_OF_MEMORY;
	errand_free(e);
	fn(arg, why, detail);
}

static void refused(struct errand *e)
{
	char words[WORDS_MOST];

	snprintf(words, sizeof words, "it answered %u %.*s", e->response.status,
		 STR_FMT(e->response.reason));
	end(e, e->response.status == 407 ? WHY_PARENT_AUTH : WHY_PARENT_REFUSED, words);
}

/* Looks at what is there; false: more is needed. */
static bool digest(struct errand *e)
{
	for (;;) {
		struct str span;
		size_t used = 0;
		enum step step = reader_feed(e->reader, buf_unread(&e->in), &used, &span);

		buf_used(&e->in, used);
		switch (step) {
		case STEP_MORE:
			return false;
		case STEP_HEAD:
			if (e->response.status < 200)
				break;
			if (e->response.status < 300)
				end(e, WHY_DONE, "");
			else
				refused(e);
			return true;
		case STEP_BODY:
		case STEP_END:
		case STEP_BAD:
			end(e, WHY_PARENT_REFUSED, "its answer is no HTTP");
			return true;
		}
	}
}

static void readable(struct errand *e)
{
	struct iovec room = buf_room(&e->in);
	size_t got;

	if (!room.iov_len) {
		end(e, WHY_PARENT_REFUSED, "its answer is too long");
		return;
	}
	switch (conn_read(e->conn, &room, 1, &got)) {
	case IO_DONE:
		buf_filled(&e->in, got);
		digest(e);
		return;
	case IO_EOF:
	case IO_FAILED:
		end(e, WHY_PARENT_REFUSED, "it closed the connection");
		return;
	case IO_WANT_READ:
	case IO_WANT_WRITE:
		return;
	}
}

static void on_parent(void *owner, struct conn *c, enum conn_event ev)
{
	struct errand *e = owner;

	switch (ev) {
	case CONN_READABLE:
		readable(e);
		return;
	case CONN_WRITABLE:
		lane_flush(&e->out, c);	/* a failure is heard by reading */
		return;
	case CONN_UP:
	case CONN_DOWN:
		return;
	}
}

static struct str question(struct errand *e, const struct config *c, const struct pool_key *k)
{
	bool literal6 = memchr(k->host.at, ':', k->host.len) != NULL;
	struct str to = arena_print(e->arena, literal6 ? "[%.*s]:%u" : "%.*s:%u", STR_FMT(k->host),
				    k->port);
	struct str login = c->parent.authorization;

	return arena_print(e->arena, "CONNECT %.*s HTTP/1.1\r\nHost: %.*s\r\n%.*s%s%.*s%s\r\n",
			   STR_FMT(to), STR_FMT(to), STR_FMT(k->via_fields),
			   login.len ? "Proxy-Authorization: " : "", STR_FMT(login),
			   login.len ? "\r\n" : "");
}

static bool prepare(struct errand *e, const struct snapshot *s, const struct pool_key *k)
{
	struct str head;

	e->arena = arena_new(ARENA_FIRST, ARENA_MOST);
	if (!e->arena || !buf_take(&e->in))
		return false;
	e->reader = reader_of_responses(e->arena, &s->limits, METHOD_CONNECT, &e->response);
	head = question(e, s->config, k);
	lane_init(&e->out);
	lane_add(&e->out, head);
	return e->reader && !arena_full(e->arena);
}

static void *pass(const struct pool_via *v, struct conn *c, const struct pool_key *k, via_fn *fn,
		  void *arg)
{
	const struct snapshot *s =
		(const void *)((const char *)v - offsetof(struct snapshot, parent_tunnel));
	struct errand *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	e->conn = c;
	e->fn = fn;
	e->arg = arg;
	if (!prepare(e, s, k)) {
		errand_free(e);
		return NULL;
	}
	conn_adopt(c, on_parent, e);
	lane_flush(&e->out, c);
	return e;
}

/* -- the two ways ------------------------------------------------------------------------ */

/* Keys of an old configuration must not be taken for keys of a new one. */
static uint32_t new_id(void)
{
	static _Atomic uint32_t last;

	return ++last;
}

void parent_open(struct snapshot *s)
{
	const struct url *u = &s->config->parent.url;

	s->parent = (struct pool_via){ .id = new_id(), .host = u->host, .port = u->port };
	s->parent_tunnel = (struct pool_via){ .id = new_id(), .host = u->host, .port = u->port,
					      .pass = pass, .stop = stop };
}

const struct pool_via *parent_way(struct snapshot *s, bool tunnel)
{
	struct pool_via *v = tunnel ? &s->parent_tunnel : &s->parent;

	if (s->config->parent.url.scheme == SCHEME_HTTPS && !v->tls) {
		v->tls = snapshot_upstream_tls(s, NULL);
		if (!v->tls)
			return NULL;
	}
	return v;
}
