/* mint: see the header. A leaf that is being made is an entry already, so that a
 * crowd of clients that want one host costs one signature. */
#include "net/mint.h"

#include <sys/socket.h>
#include <errno.h>
#include <stdlib.h>

#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "ground/clock.h"
#include "net/authority.h"
#include "net/signer.h"

enum {
	SLOTS = 256,
	IN_FLIGHT = 16,			/* requests: their replies must fit into a socket */
	WAITING_MOST = 1024,
	KEPT_S = (LEAF_DAYS - 1) * 86400,
};

struct minting {			/* one who waits for a leaf */
	struct minting *prev, *next;
	struct leaf *leaf;
	mint_fn *fn;
	void *owner;
};

enum leaf_state { LEAF_QUEUED, LEAF_ASKED, LEAF_KEPT };

struct leaf {
	struct leaf *next;		/* in its slot */
	struct leaf *before, *after;	/* queued, oldest first; or kept, used last first */
	struct mint *mint;
	uint64_t id;
	enum leaf_state state;
	struct minting *waiting;
	struct tls_identity *identity;	/* of a kept one */
	time_t until;
	struct str host;
	char room[SIGNER_HOST_MOST];
};

struct list {
	struct leaf *first, *last;
};

struct mint {
	unsigned refs;
	struct signer *signer;
	struct event *reading;
	int fd;
	uint32_t most, in_flight, waiting;
	uint64_t next_id;
	bool dead;			/* the signing process is gone */
	struct list queue, kept;
	struct leaf *slots[SLOTS];
	struct mint_counts counts;
};

/* -- lists and slots ----------------------------------------------------------------- */

static void list_append(struct list *l, struct leaf *f)
{
	f->after = NULL;
	f->before = l->last;
	*(l->last ? &l->last->after : &l->first) = f;
	l->last = f;
}

static void list_remove(struct list *l, struct leaf *f)
{
	*(f->before ? &f->before->after : &l->first) = f->after;
	*(f->after ? &f->after->before : &l->last) = f->before;
	f->before = f->after = NULL;
}

static struct leaf **slot_of(struct mint *m, struct str host)
{
	return &m->slots[str_hash_nocase(host, STR_HASH_SEED) % SLOTS];
}

static struct leaf *leaf_find(struct mint *m, struct str host)
{
	struct leaf *f = *slot_of(m, host);

	while (f && !str_eq_nocase(f->host, host))
		f = f->next;
	return f;
}

static struct leaf *leaf_new(struct mint *m, struct str host)
{
	struct leaf *f = calloc(1, sizeof(*f)), **slot = slot_of(m, host);

	if (!f)
		return NULL;
	for (size_t i = 0; i < host.len; i++)
		f->room[i] = str_lower(host.at[i]);
	f->host = (struct str){ f->room, host.len };
	f->mint = m;
	f->next = *slot;
	*slot = f;
	list_append(&m->queue, f);
	return f;
}

static void leaf_drop(struct leaf *f)
{
	struct mint *m = f->mint;
	struct leaf **at = slot_of(m, f->host);

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	if (f->state == LEAF_QUEUED)
		list_remove(&m->queue, f);
	if (f->state == LEAF_KEPT) {
		list_remove(&m->kept, f);
		m->counts.kept--;
	}
	tls_identity_release(f->identity);
	free(f);
}

/* -- telling those who wait ------------------------------------------------------------ */

static void minting_end(struct minting *g)
{
	struct leaf *f = g->leaf;

	*(g->prev ? &g->prev->next : &f->waiting) = g->next;
	if (g->next)
		g->next->prev = g->prev;
	f->mint->waiting--;
	free(g);
}

void minting_cancel(struct minting *g)
{
	minting_end(g);
}

static void tell(struct leaf *f, struct tls_identity *identity)
{
	while (f->waiting) {
		mint_fn *fn = f->waiting->fn;
		void *owner = f->waiting->owner;

		minting_end(f->waiting);
		fn(owner, identity);
	}
}

static void fail(struct leaf *f)
{
	f->mint->counts.failed++;
	tell(f, NULL);
	leaf_drop(f);
}

/* -- the signing process ---------------------------------------------------------------- */

static struct leaf *leaf_unmade(struct mint *m)
{
	for (unsigned i = 0; i < SLOTS; i++)
		for (struct leaf *f = m->slots[i]; f; f = f->next)
			if (f->state != LEAF_KEPT)
				return f;
	return NULL;
}

static void die(struct mint *m)
{
	struct leaf *f;

	m->dead = true;
	event_del(m->reading);
	while ((f = leaf_unmade(m)))
		fail(f);
	m->in_flight = 0;
}

static bool send_one(struct mint *m, struct leaf *f)
{
	struct signer_request q = { .id = ++m->next_id, .len = (uint16_t)f->host.len };
	size_t len = offsetof(struct signer_request, host) + f->host.len;

	memcpy(q.host, f->host.at, f->host.len);
	if (send(m->fd, &q, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len)
		return false;
	list_remove(&m->queue, f);
	f->id = q.id;
	f->state = LEAF_ASKED;
	m->in_flight++;
	return true;
}

static void send_more(struct mint *m)
{
	while (!m->dead && m->queue.first && m->in_flight < IN_FLIGHT)
		if (!send_one(m, m->queue.first)) {
			if (errno != EAGAIN || !m->in_flight)
				die(m);
			return;		/* the next reply makes room */
		}
}

static struct tls_identity *identity_of(struct mint *m, struct str host,
					const struct signer_reply *r)
{
	struct tls_identity *i = calloc(1, sizeof(*i));
	const unsigned char *at = r->der;
	unsigned n = 0;

	if (!i)
		return NULL;
	i->refs = 1;
	for (unsigned k = 0; k < SIGNER_KEYS; k++) {
		X509 *cert = r->len[k] ? d2i_X509(NULL, &at, r->len[k]) : NULL;

		if (!cert)
			continue;
		i->cert[n] = cert;
		i->key[n] = signer_key(m->signer, k);
		EVP_PKEY_up_ref(i->key[n++]);
	}
	i->chain = X509_chain_up_ref(signer_chain(m->signer));
	SHA256((const unsigned char *)host.at, host.len, (unsigned char *)i->scope);
	ERR_clear_error();
	if (n)
		return i;
	tls_identity_release(i);
	return NULL;
}

static void keep(struct leaf *f, struct tls_identity *identity)
{
	struct mint *m = f->mint;

	f->identity = identity;
	f->state = LEAF_KEPT;
	f->until = clock_wall() + KEPT_S;
	list_append(&m->kept, f);
	if (++m->counts.kept > m->most)
		leaf_drop(m->kept.first);
}

static struct leaf *leaf_asked(struct mint *m, uint64_t id)
{
	for (unsigned i = 0; i < SLOTS; i++)
		for (struct leaf *f = m->slots[i]; f; f = f->next)
			if (f->state == LEAF_ASKED && f->id == id)
				return f;
	return NULL;
}

static void took(struct mint *m, const struct signer_reply *r, size_t len)
{
	size_t told = offsetof(struct signer_reply, der) + (size_t)r->len[0] + r->len[1];
	struct leaf *f = leaf_asked(m, r->id);
	struct tls_identity *identity = f && told == len ? identity_of(m, f->host, r) : NULL;

	if (!f)
		return;
	m->in_flight--;
	if (!identity) {
		fail(f);
		return;
	}
	tell(f, identity);
	keep(f, identity);
}

static void on_reply(evutil_socket_t fd, short what, void *arg)
{
	static _Thread_local struct signer_reply r;
	struct mint *m = arg;
	ssize_t n = recv(fd, &r, sizeof(r), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < (ssize_t)offsetof(struct signer_reply, der)) {
		die(m);
		return;
	}
	took(m, &r, (size_t)n);
	send_more(m);
}

/* -- asking -------------------------------------------------------------------------------- */

struct tls_identity *mint_know(struct mint *m, struct str host)
{
	struct leaf *f = leaf_find(m, host);

	if (!f || f->state != LEAF_KEPT)
		return NULL;
	if (f->until <= clock_wall()) {
		leaf_drop(f);
		return NULL;
	}
	list_remove(&m->kept, f);
	list_append(&m->kept, f);
	m->counts.known++;
	return f->identity;
}

static bool is_askable(const struct mint *m, struct str host)
{
	return !m->dead && host.len && host.len <= SIGNER_HOST_MOST && m->waiting < WAITING_MOST;
}

struct minting *mint_ask(struct mint *m, struct str host, mint_fn *fn, void *owner)
{
	struct leaf *f = leaf_find(m, host);
	struct minting *g;

	if (f && f->state == LEAF_KEPT) {	/* too old, or nobody looked */
		leaf_drop(f);
		f = NULL;
	}
	g = is_askable(m, host) ? calloc(1, sizeof(*g)) : NULL;
	if (!g || (!f && !(f = leaf_new(m, host)))) {
		free(g);
		return NULL;
	}
	*g = (struct minting){ .next = f->waiting, .leaf = f, .fn = fn, .owner = owner };
	if (g->next)
		g->next->prev = g;
	f->waiting = g;
	m->waiting++;
	m->counts.asked++;
	/* From the loop: an owner is never told inside of its own call. */
	if (f->state == LEAF_QUEUED)
		event_active(m->reading, EV_READ, 0);
	return g;
}

/* -- life ----------------------------------------------------------------------------------- */

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	send_more(arg);
	if (!((struct mint *)arg)->dead)
		on_reply(fd, what, arg);
}

struct mint *mint_new(struct event_base *base, struct signer *s, unsigned worker, uint32_t most)
{
	struct mint *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->refs = 1;
	m->signer = s;
	m->most = most;
	m->fd = signer_fd(s, worker);
	m->reading = event_new(base, m->fd, EV_READ | EV_PERSIST, on_turn, m);
	if (m->reading && event_add(m->reading, NULL) == 0)
		return m;
	mint_free(m);
	return NULL;
}

struct mint *mint_hold(struct mint *m)
{
	m->refs++;
	return m;
}

void mint_free(struct mint *m)
{
	if (!m || --m->refs)
		return;
	for (unsigned i = 0; i < SLOTS; i++)
		while (m->slots[i])
			leaf_drop(m->slots[i]);
	if (m->reading)
		event_free(m->reading);
	free(m);
}

void mint_count(const struct mint *m, struct mint_counts *out)
{
	*out = m->counts;
}
