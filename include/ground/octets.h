/* octets: eight of them at a time, in one word of the machine. The first octet
 * in memory is the lowest, whatever the machine's order. Header only: these are
 * a few instructions each, and the hot path is made of them. */
#ifndef GROUND_OCTETS_H
#define GROUND_OCTETS_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ground/str.h"

/* The same octet in all eight places. */
#define OCTETS_EACH(octet) (UINT64_C(0x0101010101010101) * (octet))

static inline uint64_t octets_load(const char *at)
{
	uint64_t w;

	memcpy(&w, at, sizeof w);
	return le64toh(w);
}

/* The last n, n < 8; the others are 0. */
static inline uint64_t octets_load_last(const char *at, size_t n)
{
	uint64_t w = 0;

	memcpy(&w, at, n);
	return le64toh(w);
}

/* Four from each of two places. */
static inline uint64_t octets_load_halves(const char *one, const char *two)
{
	uint32_t a, b;

	memcpy(&a, one, sizeof a);
	memcpy(&b, two, sizeof b);
	return (uint64_t)le32toh(b) << 32 | le32toh(a);
}

/* A to Z become a to z; octets above 0x7f stay. */
static inline uint64_t octets_lower(uint64_t w)
{
	uint64_t low = w & OCTETS_EACH(0x7f);
	uint64_t from_a = low + OCTETS_EACH(0x80 - 'A');
	uint64_t above_z = low + OCTETS_EACH(0x7f - 'Z');

	return w | ((from_a & ~above_z & ~w & OCTETS_EACH(0x80)) >> 2);
}

static inline bool octets_same_words(uint64_t a, uint64_t b)
{
	return a == b || octets_lower(a) == octets_lower(b);
}

/* Are n octets of a and b the same but for the case of letters? */
static inline bool octets_same(const char *a, const char *b, size_t n)
{
	const char *end = a + n;

	if (n >= 8) {
		for (; end - a > 8; a += 8, b += 8)
			if (!octets_same_words(octets_load(a), octets_load(b)))
				return false;
		b += end - a - 8;		/* some of them again */
		return octets_same_words(octets_load(end - 8), octets_load(b));
	}
	if (n >= 4)
		return octets_same_words(octets_load_halves(a, end - 4),
					 octets_load_halves(b, b + n - 4));
	for (; a < end; a++, b++)
		if (*a != *b && str_lower(*a) != str_lower(*b))
			return false;
	return true;
}

#endif
