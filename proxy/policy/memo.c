/* Found by SipHash-2-4 with 128 bits of result and a random key of each table:
 * a peer that chooses URLs chooses neither buckets nor collisions. Where a
 * value could leak from one client to another, the text is compared as well.
 *
 * Texts live in a ring: entries are written in the order of their age, so the
 * oldest one stands where the ring will next need room. */
#include "policy/memo.h"

#include <assert.h>
#include <stdlib.h>

#include <sys/random.h>

#include "ground/octets.h"

#define NOBODY UINT32_MAX

enum {
	TEXT_PER_ENTRY = 512,		/* on average; fewer entries when longer */
	TEXT_LEAST = 4 * (MEMO_KEY_MOST + MEMO_VALUE_MOST),
	TEXT_MOST = 16 << 20,
};

struct memo {
	struct memo_entry *entry;
	uint32_t *bucket;
	uint32_t room, mask, used;
	uint32_t free, oldest, newest;
	char *text;			/* the ring; NULL: keys by hash only */
	uint32_t text_size, text_head;
	uint64_t seed[2];
};

/* SipHash-2-4 (Aumasson, Bernstein). */

static uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static void sip_rounds(uint64_t v[4], int n)
{
	while (n-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] = rotate(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] = rotate(v[2], 32);
	}
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_rounds(v, 2);
	v[0] ^= word;
}

static void sip_hash(const uint64_t key[2], struct str s, uint64_t *hash, uint64_t *check)
{
	uint64_t v[4] = {
		key[0] ^ UINT64_C(0x736f6d6570736575),
		key[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
		key[0] ^ UINT64_C(0x6c7967656e657261),
		key[1] ^ UINT64_C(0x7465646279746573),
	};
	uint64_t length = (uint64_t)s.len << 56;

	for (; s.len >= 8; s = str_from(s, 8))
		sip_word(v, octets_load(s.at));
	sip_word(v, length | octets_load_last(s.at, s.len));
	v[2] ^= 0xee;
	sip_rounds(v, 4);
	*hash = v[0] ^ v[1] ^ v[2] ^ v[3];
	v[1] ^= 0xdd;
	sip_rounds(v, 4);
	*check = v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Keys: each part with its length before it. */

void memo_key_begin(struct memo_key *k)
{
	k->len = 0;
}

void memo_key_put(struct memo_key *k, struct str part)
{
	uint32_t len = (uint32_t)part.len;

	if (k->len == SIZE_MAX || part.len > MEMO_KEY_MOST ||
	    sizeof(len) + part.len > MEMO_KEY_MOST - k->len) {
		k->len = SIZE_MAX;
		return;
	}
	memcpy(k->text + k->len, &len, sizeof(len));
	k->len += sizeof(len);
	if (part.len > 0)
		memcpy(k->text + k->len, part.at, part.len);
	k->len += part.len;
}

void memo_key_put_nocase(struct memo_key *k, struct str part)
{
	memo_key_put(k, part);
	if (k->len == SIZE_MAX)
		return;
	for (size_t i = k->len - part.len; i < k->len; i++)
		k->text[i] = str_lower(k->text[i]);
}

static uint32_t text_size(uint32_t entries)
{
	uint64_t size = (uint64_t)entries * TEXT_PER_ENTRY;

	if (size < TEXT_LEAST)
		return TEXT_LEAST;
	return size > TEXT_MOST ? TEXT_MOST : (uint32_t)size;
}

/* Pages of a large table are the kernel's until they are used, so nothing but
 * the buckets is written here. */
static bool memo_fill(struct memo *m, bool with_text)
{
	uint32_t buckets = 16;

	while (buckets < m->room && buckets < UINT32_C(1) << 31)
		buckets *= 2;
	m->mask = buckets - 1;
	m->free = m->oldest = m->newest = NOBODY;
	m->entry = calloc(m->room, sizeof(*m->entry));
	m->bucket = calloc(buckets, sizeof(*m->bucket));
	if (with_text) {
		m->text_size = text_size(m->room);
		m->text = calloc(1, m->text_size);
	}
	if (!m->entry || !m->bucket || (with_text && !m->text))
		return false;
	memset(m->bucket, 0xff, buckets * sizeof(*m->bucket));
	return getrandom(m->seed, sizeof(m->seed), 0) == (ssize_t)sizeof(m->seed);
}

struct memo *memo_new(uint32_t entries_most, bool with_text)
{
	struct memo *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->room = entries_most > 0 ? entries_most : 1;
	if (!memo_fill(m, with_text)) {
		memo_free(m);
		return NULL;
	}
	return m;
}

void memo_free(struct memo *m)
{
	if (!m)
		return;
	while (m->used > 0)
		memo_drop(m, &m->entry[m->oldest]);
	free(m->text);
	free(m->entry);
	free(m->bucket);
	free(m);
}

unsigned memo_count(const struct memo *m)
{
	return m->used;
}

struct str memo_value(const struct memo *m, const struct memo_entry *e)
{
	return (struct str){ m->text + e->at + e->key_len, e->value_len };
}

static uint32_t index_of(const struct memo *m, const struct memo_entry *e)
{
	return (uint32_t)(e - m->entry);
}

static void unchain(struct memo *m, const struct memo_entry *e)
{
	uint32_t *link = &m->bucket[e->hash & m->mask];

	while (*link != index_of(m, e))
		link = &m->entry[*link].chain;
	*link = e->chain;
}

static void unlist(struct memo *m, const struct memo_entry *e)
{
	*(e->older == NOBODY ? &m->oldest : &m->entry[e->older].newer) = e->newer;
	*(e->newer == NOBODY ? &m->newest : &m->entry[e->newer].older) = e->older;
}

static void list(struct memo *m, struct memo_entry *e)
{
	e->older = m->newest;
	e->newer = NOBODY;
	*(m->newest == NOBODY ? &m->oldest : &m->entry[m->newest].newer) = index_of(m, e);
	m->newest = index_of(m, e);
}

void memo_renew(struct memo *m, struct memo_entry *e)
{
	assert(!m->text);
	unlist(m, e);
	list(m, e);
}

void memo_drop(struct memo *m, struct memo_entry *e)
{
	if (m->text)
		explicit_bzero(m->text + e->at, e->key_len + e->value_len);
	unchain(m, e);
	unlist(m, e);
	e->chain = m->free;
	m->free = index_of(m, e);
	m->used--;
}

void memo_sweep(struct memo *m, uint64_t now_ms)
{
	while (m->oldest != NOBODY && m->entry[m->oldest].until_ms <= now_ms)
		memo_drop(m, &m->entry[m->oldest]);
}

static struct str key_text(const struct memo_key *k)
{
	return (struct str){ k->text, k->len };
}

static bool is_it(const struct memo *m, const struct memo_entry *e, struct str key)
{
	return !m->text || str_eq((struct str){ m->text + e->at, e->key_len }, key);
}

struct memo_entry *memo_find(struct memo *m, const struct memo_key *k, uint64_t now_ms)
{
	uint64_t hash, check;

	if (k->len == SIZE_MAX)
		return NULL;
	sip_hash(m->seed, key_text(k), &hash, &check);
	for (uint32_t i = m->bucket[hash & m->mask]; i != NOBODY; i = m->entry[i].chain) {
		struct memo_entry *e = &m->entry[i];

		if (e->hash != hash || e->check != check || !is_it(m, e, key_text(k)))
			continue;
		if (now_ms < e->until_ms)
			return e;
		memo_drop(m, e);
		return NULL;
	}
	return NULL;
}

/* Where `need` octets fit, at the cost of the oldest entries. Free is, while the
 * ring is in order, what is behind the head and what is before the oldest
 * entry; once it has wrapped, what is between the two. */
static uint32_t ring_place(struct memo *m, uint32_t need)
{
	assert(0 < need && need <= m->text_size);
	while (m->oldest != NOBODY) {
		uint32_t first = m->entry[m->oldest].at, head = m->text_head;
		bool wrapped = head <= first;

		if (need <= (wrapped ? first : m->text_size) - head)
			return head;
		if (!wrapped && need <= first)
			return 0;
		memo_drop(m, &m->entry[m->oldest]);
	}
	return 0;
}

/* Without a free list the entries below `used` are exactly those in use. */
static struct memo_entry *entry_take(struct memo *m)
{
	struct memo_entry *e;

	if (m->used == m->room)
		memo_drop(m, &m->entry[m->oldest]);
	if (m->free == NOBODY)
		return &m->entry[m->used];
	e = &m->entry[m->free];
	m->free = e->chain;
	return e;
}

static void write_text(struct memo *m, struct memo_entry *e, struct str key, struct str value)
{
	e->key_len = (uint32_t)key.len;
	e->value_len = (uint32_t)value.len;
	e->at = ring_place(m, e->key_len + e->value_len);
	m->text_head = e->at + e->key_len + e->value_len;
	memcpy(m->text + e->at, key.at, key.len);
	if (value.len > 0)
		memcpy(m->text + e->at + e->key_len, value.at, value.len);
}

struct memo_entry *memo_add(struct memo *m, const struct memo_key *k, struct str value)
{
	struct memo_entry made = { 0 }, *e;

	if (k->len == SIZE_MAX || value.len > MEMO_VALUE_MOST)
		return NULL;
	sip_hash(m->seed, key_text(k), &made.hash, &made.check);
	if (m->text)
		write_text(m, &made, key_text(k), value);
	e = entry_take(m);
	*e = made;
	e->chain = m->bucket[e->hash & m->mask];
	m->bucket[e->hash & m->mask] = index_of(m, e);
	list(m, e);
	m->used++;
	return e;
}
