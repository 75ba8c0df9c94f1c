/* recorder: the flight recorder. It keeps the last challenged exchanges of a
 * worker, so that "what did the server ask, and what did we say" can be read
 * afterwards (USR2, admin). Values of secret fields and of all that was supplied
 * or echoed stand there as #xxxxxxxx, a hash with a random key of this process:
 * equal values look equal, and that is all they tell. Everything is copied. */
#ifndef WORKER_RECORDER_H
#define WORKER_RECORDER_H

#include <stdio.h>
#include <time.h>
#include "policy/challenge.h"

struct recorder_attempt {
	uint16_t status;		/* 0: no answer came */
	uint32_t ms;			/* from the start of the attempt to the response head */
	uint64_t body_octets;		/* of the request, sent in this attempt */
	bool reused;			/* on a connection that had served before */
	const struct header *add;	/* sent beyond the client's fields: never shown */
	unsigned add_n;
	const struct response *response;	/* NULL: its head is not held any more */
};

struct recorder_facts {
	time_t at;			/* wall clock */
	uint32_t ms;			/* the whole exchange */
	struct str client;		/* address */
	struct str url;			/* absolute, with query ... */
	bool with_query;		/* ... which is shown as it is, or hashed */
	uint16_t status;		/* what the client got; 0: nothing */
	const struct request *request;
	const struct rule *rule;
	enum family family;
	enum unanswered unanswered;
	unsigned replays;
	const struct recorder_attempt *attempts;	/* in order, the first one included */
	unsigned attempts_n;
};

/* The head line of an exchange, for a list. The texts are printable already. */
struct recorder_brief {
	time_t at;
	uint32_t ms;
	uint16_t status;
	enum family family;
	enum unanswered unanswered;
	unsigned replays, attempts;
	struct str client, method, url, rule;
};

struct recorder;

/* Keeps the last `slots` exchanges, some 8 KiB each. NULL: out of memory. */
struct recorder *recorder_new(unsigned slots);
void recorder_free(struct recorder *r);
/* Writing an exchange down costs more than answering it: past a burst of as many
 * as there are slots, at most 50 a second are wanted. The others are counted. */
bool recorder_wants(struct recorder *r, uint64_t now_ms);
void recorder_note(struct recorder *r, const struct recorder_facts *f);
unsigned recorder_count(const struct recorder *r);
/* back 0: the last one. False: there are not so many. The slices are good until
 * the next recorder_note(). */
bool recorder_brief(const struct recorder *r, unsigned back, struct recorder_brief *out);
/* To be read at leisure, by whoever asked; NULL: out of memory. */
struct recorder *recorder_copy(const struct recorder *r);
/* Oldest first. Text for people; JSON as one object a line, so that the dumps
 * of several workers can be joined. */
void recorder_dump_text(const struct recorder *r, FILE *out);
void recorder_dump_json(const struct recorder *r, FILE *out);

#endif
