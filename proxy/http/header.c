/* header: see the header. The table of names is in header.h; here are the ways
 * to a row of it, the list, and what leaves the list on the way through a proxy.
 * Lines are never removed: they are marked, so pointers into the list stay good.
 * Nothing here reads raw octets off the wire; that is the gate's. */
#include "http/header.h"

#include <assert.h>

#include "ground/octets.h"

enum { SLOTS = 128, NAME_LEAST = 2, NAME_MOST = 25, FIRST_ROOM = 16 };

#define HEADER_NAME(id, name, traits) [HEADER_##id] = { name, sizeof(name) - 1 },
static const struct str names[HEADER_COUNT] = { HEADER_TABLE(HEADER_NAME) };
#undef HEADER_NAME

#define HEADER_TRAITS(id, name, traits) [HEADER_##id] = (traits),
static const uint8_t traits_of[HEADER_COUNT] = { HEADER_TABLE(HEADER_TRAITS) };
#undef HEADER_TRAITS

#define HOP_BIT(id, name, traits) \
	| ((traits) & TRAIT_HOP ? UINT64_C(1) << HEADER_##id : 0)
static const uint64_t hop_bits = 0 HEADER_TABLE(HOP_BIT);
#undef HOP_BIT

_Static_assert(HEADER_COUNT <= 64, "headers.present has a bit for each id");

/* What may stand in a token (RFC 9110 5.6.2) and in a field value (5.5). */
enum { IN_TOKEN = 1, IN_VALUE = 2, IN_BOTH = 3 };
static const uint8_t class[256] = {
	['\t'] = IN_VALUE, [' '] = IN_VALUE, ['!'] = IN_BOTH, ['"'] = IN_VALUE,
	['#' ... '\''] = IN_BOTH, ['(' ... ')'] = IN_VALUE, ['*' ... '+'] = IN_BOTH,
	[','] = IN_VALUE, ['-' ... '.'] = IN_BOTH, ['/'] = IN_VALUE,
	['0' ... '9'] = IN_BOTH, [':' ... '@'] = IN_VALUE, ['A' ... 'Z'] = IN_BOTH,
	['[' ... ']'] = IN_VALUE, ['^' ... '`'] = IN_BOTH, ['a' ... 'z'] = IN_BOTH,
	['{'] = IN_VALUE, ['|'] = IN_BOTH, ['}'] = IN_VALUE, ['~'] = IN_BOTH,
	[0x80 ... 0xff] = IN_VALUE,
};

/* The way from a name to its row: a slot by length, first and last octet, and
 * rows that share one are chained. With today's names none does, so a lookup
 * compares at most one name. Filled before main(), constant from then on. */
static uint8_t slots[SLOTS], chained[HEADER_COUNT];

static unsigned slot_of(struct str name)
{
	unsigned first = (unsigned char)name.at[0] | 0x20;
	unsigned last = (unsigned char)name.at[name.len - 1] | 0x20;

	return ((unsigned)name.len + 18 * first + 6 * last) % SLOTS;
}

__attribute__((constructor))
static void fill_slots(void)
{
	for (unsigned id = 1; id < HEADER_COUNT; id++) {
		unsigned slot = slot_of(names[id]);

		assert(names[id].len >= NAME_LEAST && names[id].len <= NAME_MOST);
		chained[id] = slots[slot];
		slots[slot] = (uint8_t)id;
	}
}

/* These set the top bit of the octets that are meant; above the lowest one set,
 * they may be false. */
static inline uint64_t flags_below(uint64_t w, unsigned octet)
{
	return (w - OCTETS_EACH(octet)) & ~w & OCTETS_EACH(0x80);
}

static inline uint64_t flags_equal(uint64_t w, unsigned octet)
{
	return flags_below(w ^ OCTETS_EACH(octet), 1);
}

enum header_id header_lookup(struct str name)
{
	if (name.len < NAME_LEAST || name.len > NAME_MOST)
		return HEADER_OTHER;
	for (unsigned id = slots[slot_of(name)]; id; id = chained[id])
		if (names[id].len == name.len &&
		    octets_same(names[id].at, name.at, name.len))
			return (enum header_id)id;
	return HEADER_OTHER;
}

unsigned header_traits(enum header_id id)
{
	return traits_of[id];
}

const char *header_name(enum header_id id)
{
	return id == HEADER_OTHER ? "" : names[id].at;
}

bool headers_grow(struct headers *h, struct arena *a)
{
	unsigned room = h->room ? 2u * h->room : FIRST_ROOM;
	struct header *at;

	if (room > UINT16_MAX)
		return false;
	at = arena_get(a, room * sizeof *at);
	if (!at)
		return false;
	if (h->count)
		memcpy(at, h->at, h->count * sizeof *at);
	h->at = at;
	h->room = (uint16_t)room;
	return true;
}

const struct header *headers_find(const struct headers *h, enum header_id id)
{
	return headers_next(h, id, NULL);
}

const struct header *headers_next(const struct headers *h, enum header_id id,
				  const struct header *after)
{
	if (!(h->present >> id & 1))
		return NULL;
	for (const struct header *f = after ? after + 1 : h->at; f < h->at + h->count; f++)
		if (f->id == id && !f->dropped)
			return f;
	return NULL;
}

const struct header *headers_find_name(const struct headers *h, struct str name)
{
	enum header_id id = header_lookup(name);
	const struct header *f = headers_find(h, id);

	while (id == HEADER_OTHER && f && !str_eq_nocase(f->name, name))
		f = headers_next(h, id, f);
	return f;
}

/* Writes behind *end, which moves. */
static void append(struct str *end, struct str s)
{
	if (s.len)
		memcpy((char *)end->at + end->len, s.at, s.len);
	end->len += s.len;
}

struct str headers_join(const struct headers *h, enum header_id id, struct arena *a)
{
	const struct header *first = headers_find(h, id);
	const struct header *f = first;
	struct str all = first ? first->value : STR_NONE;
	size_t size = all.len;

	while (f && (f = headers_next(h, id, f)))
		size += 2 + f->value.len;
	if (!first || !headers_next(h, id, first))
		return all;
	all = (struct str){ arena_get(a, size), 0 };
	for (f = first; f && all.at; f = headers_next(h, id, f)) {
		append(&all, f == first ? STR_NONE : STR(", "));
		append(&all, f->value);
	}
	return all;
}

bool headers_list_has(const struct headers *h, enum header_id id, struct str token)
{
	const struct header *f = NULL;

	while ((f = headers_next(h, id, f)))
		if (str_list_has(f->value, token))
			return true;
	return false;
}

/* Drops the lines so named, unless a proxy needs them whatever Connection says. */
static void drop_named(struct headers *h, struct str name)
{
	for (unsigned i = 0; i < h->count; i++) {
		struct header *f = &h->at[i];

		if (f->name.len == name.len && !(header_traits(f->id) & TRAIT_KEPT) &&
		    str_eq_nocase(f->name, name))
			f->dropped = true;
	}
}

static void drop_with(struct headers *h, unsigned traits)
{
	for (unsigned i = 0; i < h->count; i++)
		if (header_traits(h->at[i].id) & traits)
			h->at[i].dropped = true;
}

void headers_drop_listed(struct headers *h, struct str list)
{
	struct str name;

	while (str_list_next(&list, &name))
		drop_named(h, name);
}

void headers_drop_hop_by_hop(struct headers *h)
{
	if (!(h->present & hop_bits))
		return;
	/* Dropped ones too: a line may name Connection itself. */
	for (unsigned i = 0; i < h->count; i++)
		if (h->at[i].id == HEADER_CONNECTION)
			headers_drop_listed(h, h->at[i].value);
	drop_with(h, TRAIT_HOP);
}

void headers_drop_from_trailer(struct headers *h)
{
	drop_with(h, TRAIT_NO_TRAILER | TRAIT_HOP | TRAIT_FRAMING);
}

void headers_drop(struct headers *h, enum header_id id)
{
	if (!(h->present >> id & 1))
		return;
	for (unsigned i = 0; i < h->count; i++)
		if (h->at[i].id == id)
			h->at[i].dropped = true;
}

size_t header_token_len(struct str s)
{
	size_t n = 0;

	while (n < s.len && class[(unsigned char)s.at[n]] & IN_TOKEN)
		n++;
	return n;
}

size_t header_value_len(struct str s)
{
	const char *at = s.at, *end = s.at + s.len;

	for (; end - at >= 8; at += 8) {
		uint64_t w = octets_load(at), stop = flags_below(w, 0x20) | flags_equal(w, 0x7f);

		if (stop) {
			at += __builtin_ctzll(stop) / 8;
			break;
		}
	}
	/* The last octets, or from a HTAB on. */
	while (at < end && class[(unsigned char)*at] & IN_VALUE)
		at++;
	return (size_t)(at - s.at);
}

bool header_is_token(struct str s)
{
	return s.len && header_token_len(s) == s.len;
}

bool header_is_value(struct str s)
{
	return header_value_len(s) == s.len && str_trim(s).len == s.len;
}
