/* str: see the header. Nothing here allocates, and nothing knows HTTP beyond
 * its list and whitespace rules. */
#include "ground/str.h"

#include "ground/octets.h"

struct str str_of(const char *z)
{
	return (struct str){ z, z ? strlen(z) : 0 };
}

bool str_eq_nocase(struct str a, struct str b)
{
	return a.len == b.len && octets_same(a.at, b.at, a.len);
}

bool str_starts(struct str s, struct str prefix)
{
	return s.len >= prefix.len && str_eq(str_first(s, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
	return s.len >= suffix.len && str_eq(str_from(s, s.len - suffix.len), suffix);
}

bool str_starts_nocase(struct str s, struct str prefix)
{
	return s.len >= prefix.len && octets_same(s.at, prefix.at, prefix.len);
}

bool str_ends_nocase(struct str s, struct str suffix)
{
	return s.len >= suffix.len &&
	       octets_same(s.at + s.len - suffix.len, suffix.at, suffix.len);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
	while (s.len && is_blank(s.at[0]))
		s = str_from(s, 1);
	while (s.len && is_blank(s.at[s.len - 1]))
		s.len--;
	return s;
}

bool str_cut(struct str s, char sep, struct str *before, struct str *after)
{
	const char *hit = s.len ? memchr(s.at, sep, s.len) : NULL;
	size_t n;

	if (!hit)
		return false;
	n = (size_t)(hit - s.at);
	*before = str_first(s, n);
	*after = str_from(s, n + 1);
	return true;
}

bool str_to_u64(struct str s, uint64_t *out)
{
	uint64_t n = 0;

	if (!s.len)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		unsigned digit = (unsigned char)s.at[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, digit, &n))
			return false;
	}
	*out = n;
	return true;
}

struct str str_number(char room[STR_NUMBER_ROOM], uint64_t n)
{
	char *digit = room + STR_NUMBER_ROOM;

	do {
		*--digit = (char)('0' + n % 10);
	} while (n /= 10);
	return (struct str){ digit, (size_t)(room + STR_NUMBER_ROOM - digit) };
}

bool str_list_next(struct str *list, struct str *item)
{
	while (list->len) {
		struct str head = *list, rest = { list->at + list->len, 0 };

		str_cut(head, ',', &head, &rest);
		*list = rest;
		*item = str_trim(head);
		if (item->len)
			return true;
	}
	return false;
}

bool str_list_has(struct str list, struct str token)
{
	struct str item;

	while (str_list_next(&list, &item))
		if (str_eq_nocase(item, token))
			return true;
	return false;
}

/* Greedy with one point of return: the last star seen. A later star makes an
 * earlier one moot, so there is never a need to go back further. */
bool str_glob(struct str pattern, struct str s)
{
	size_t p = 0, i = 0, star = SIZE_MAX, mark = 0;

	while (i < s.len) {
		if (p < pattern.len && pattern.at[p] == '*') {
			star = p++;
			mark = i;
		} else if (p < pattern.len &&
			   (pattern.at[p] == '?' ||
			    str_lower(pattern.at[p]) == str_lower(s.at[i]))) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++mark;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.at[p] == '*')
		p++;
	return p == pattern.len;
}

uint64_t str_hash_nocase(struct str s, uint64_t seed)
{
	uint64_t h = seed;

	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)str_lower(s.at[i])) * UINT64_C(0x100000001b3);
	return h;
}
