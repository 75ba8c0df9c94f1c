/* capture: a value out of a 449's body, by JSON pointer or by regular
 * expression. The body is an upstream's and as hostile as any, so depth, steps
 * and memory are bounded. Pure. */
#ifndef POLICY_CAPTURE_H
#define POLICY_CAPTURE_H

#include "ground/arena.h"

/* The string, number or boolean at `pointer` (RFC 6901); the whole body must be
 * JSON. at NULL: there is none. Numbers come in their shortest spelling. */
struct str capture_pointer(struct str body, struct str pointer, struct arena *a);
/* Group 1 of the first match, or the whole match where the expression has no
 * group; a slice of body. code is a pcre2_code. at NULL: there is none. */
struct str capture_regex(struct str body, const void *code);

#endif
