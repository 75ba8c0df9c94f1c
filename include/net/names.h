/* names: the cache of names, bounded in entries and time; what was used last stays
 * longest. Time is passed in. Belongs to one worker. */
#ifndef NET_NAMES_H
#define NET_NAMES_H

#include "ground/why.h"
#include "net/address.h"

struct names;

/* most 0: nothing is ever remembered. NULL: out of memory. */
struct names *names_new(uint32_t most);
/* WHY_DONE and addresses without port, or why there are none (a negative answer);
 * WHY_COUNT: not known. Names are compared octet by octet: lower-case them. */
enum why names_find(struct names *n, struct str name, uint64_t now_ms, struct addresses *out);
void names_keep(struct names *n, struct str name, const struct addresses *found, enum why why,
		uint64_t until_ms);
void names_free(struct names *n);

#endif
