/* variation: one path of the demo origin (449.md, one oddity each): what a
 * request must bring, and how the 449 asks for it. */
#ifndef WORKER_VARIATION_H
#define WORKER_VARIATION_H

#include "http/message.h"

struct evbuffer;

enum quirk {
	EARLY = 1 << 0,			/* 449 before the body is read */
	EARLY_IF_EXPECTED = 1 << 1,	/* ... if the request says Expect */
	CLOSING = 1 << 2,		/* Connection: close on the 449 */
	OLD = 1 << 3,			/* the 449 is HTTP/1.0 */
	CHUNKED = 1 << 4,
	LATE = 1 << 5,			/* 449 after LATE_MS */
	FINAL_LOGIN = 1 << 6,		/* the final answer: 401 without Authorization, */
	FINAL_REDIRECT = 1 << 7,	/* a redirect, */
	FINAL_SLOW = 1 << 8,		/* a body that drips, */
	FINAL_SHORT = 1 << 9,		/* a body that breaks off, */
	FINAL_MISSING = 1 << 10,	/* 404, */
	FINAL_INDEX = 1 << 11,		/* the list of variations */
	JSON = 1 << 12,			/* the 449's body is JSON */
};

struct variation {
	const char *name;		/* the first segment of the path */
	const char *text;
	bool (*satisfied)(const struct request *q);
	/* Adds field lines and a body to the 449. */
	void (*ask)(const struct request *q, struct evbuffer *fields, struct evbuffer *body);
	unsigned quirks;		/* enum quirk */
	size_t filler;			/* octets of text in the 449's body */
};

/* Never NULL: unknown paths have a row, too. */
const struct variation *variation_of(struct str path);
/* The page at /: all rows, for people. */
void variation_list(struct evbuffer *out);
/* So many octets of text, for the bodies of 449s. */
void variation_filler(struct evbuffer *out, size_t octets);

#endif
