/* memo: a bounded table of what was seen: a key made of texts, the time it is
 * good until, a count, and (in tables with text) a value. All memory is taken at
 * the start; a full table forgets its oldest entry. Belongs to one worker. */
#ifndef POLICY_MEMO_H
#define POLICY_MEMO_H

#include "ground/str.h"

enum { MEMO_KEY_MOST = 8192, MEMO_VALUE_MOST = 8192 };

/* A list of texts as one key; no two lists give the same one. */
struct memo_key {
	size_t len;			/* SIZE_MAX: too long to be remembered */
	char text[MEMO_KEY_MOST];
};

void memo_key_begin(struct memo_key *k);
void memo_key_put(struct memo_key *k, struct str part);
void memo_key_put_nocase(struct memo_key *k, struct str part);

struct memo_entry {
	uint64_t until_ms;		/* the user's */
	uint32_t count;
	uint32_t chain, older, newer;	/* the table's */
	uint32_t at, key_len, value_len;
	uint64_t hash, check;
};

struct memo;

/* with_text: keys are compared as a whole, and values are kept. Without: keys
 * are 128 bits of a keyed hash. NULL: out of memory, or of randomness. */
struct memo *memo_new(uint32_t entries_most, bool with_text);
void memo_free(struct memo *m);
unsigned memo_count(const struct memo *m);
/* NULL: not there, or no longer good (then it is forgotten). */
struct memo_entry *memo_find(struct memo *m, const struct memo_key *k, uint64_t now_ms);
/* For a key that is not there. Entries older than it may go. NULL: key or value
 * are too long. The entry is good for until_ms and count, which begin as 0. */
struct memo_entry *memo_add(struct memo *m, const struct memo_key *k, struct str value);
/* Makes it the youngest. Not in tables with text: theirs is the order of writing. */
void memo_renew(struct memo *m, struct memo_entry *e);
/* Forgets it; its texts are wiped. */
void memo_drop(struct memo *m, struct memo_entry *e);
/* Forgets the oldest entries as long as they are no longer good. */
void memo_sweep(struct memo *m, uint64_t now_ms);
/* Good until the next memo_add() or memo_drop(). */
struct str memo_value(const struct memo *m, const struct memo_entry *e);

#endif
