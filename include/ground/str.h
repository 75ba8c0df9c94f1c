/* str: borrowed slices of bytes. Never freed, never NUL-terminated, never
 * owned: a slice is good as long as the memory it points into.
 * Every function is pure; ASCII rules throughout (RFC 9110 is octets). */
#ifndef GROUND_STR_H
#define GROUND_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *at;
	size_t len;
};

#define STR(literal) ((struct str){ (literal), sizeof(literal) - 1 })
#define STR_NONE ((struct str){ NULL, 0 })
/* For printf("%.*s", STR_FMT(s)). */
#define STR_FMT(s) (int)(s).len, (s).len ? (s).at : ""

struct str str_of(const char *z);		/* z may be NULL */
bool str_eq_nocase(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends_nocase(struct str s, struct str suffix);
/* Without SP and HTAB at both ends (RFC 9110 5.6.3, OWS). */
struct str str_trim(struct str s);
/* s up to the first sep, and what follows it; false, and nothing written,
 * when there is no sep. before and after may be &s. */
bool str_cut(struct str s, char sep, struct str *before, struct str *after);
/* The whole of s is 1*DIGIT and fits, or false. */
bool str_to_u64(struct str s, uint64_t *out);
/* n in decimal digits, in room. */
enum { STR_NUMBER_ROOM = 20 };
struct str str_number(char room[STR_NUMBER_ROOM], uint64_t n);
/* The next non-empty member of a comma list, trimmed (RFC 9110 5.6.1); *list
 * moves behind it. Quotes are not understood: for lists of tokens only. */
bool str_list_next(struct str *list, struct str *item);
/* Is token (any case) a member of the comma list? */
bool str_list_has(struct str list, struct str token);
/* `*` any run, `?` one octet; case-insensitive; no recursion. */
bool str_glob(struct str pattern, struct str s);
/* 64-bit FNV-1a over the lower-cased octets. */
uint64_t str_hash_nocase(struct str s, uint64_t seed);
#define STR_HASH_SEED UINT64_C(0xcbf29ce484222325)

static inline char str_lower(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static inline struct str str_from(struct str s, size_t n)
{
	return (struct str){ s.at + n, s.len - n };
}

static inline struct str str_first(struct str s, size_t n)
{
	return (struct str){ s.at, n < s.len ? n : s.len };
}

#endif
