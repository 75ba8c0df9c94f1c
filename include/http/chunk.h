/* chunk: the chunked coding, decoded (RFC 9112 7.1). Octets in, events out; the
 * same octets give the same events in every fragmentation. Extensions are
 * checked and dropped, the trailer section is kept raw for the gate. There is
 * no way to go on after an error. */
#ifndef HTTP_CHUNK_H
#define HTTP_CHUNK_H

#include "ground/arena.h"
#include "ground/str.h"

enum chunk_event {
	CHUNK_MORE,			/* all octets were used: bring more */
	CHUNK_SIZE,			/* a size line ended, see left; 0: the last chunk */
	CHUNK_DATA,			/* *data is a slice of the input */
	CHUNK_DATA_END,			/* the CRLF behind the data of a chunk */
	CHUNK_END,			/* the body is over; see chunk_trailer() */
	CHUNK_BAD,
	CHUNK_BIG_EXTENSIONS,		/* more octets of extensions than allowed */
	CHUNK_BIG_TRAILER,		/* more octets or lines than allowed */
	CHUNK_NO_MEMORY,
};

enum chunk_phase {
	CHUNK_IN_SIZE, CHUNK_IN_DATA, CHUNK_AT_CR, CHUNK_AT_LF, CHUNK_IN_TRAILER,
};

struct chunk_limits {
	uint32_t extensions;		/* octets of extensions of a body */
	uint32_t trailer, lines;	/* octets and lines of the trailer section */
};

enum { CHUNK_ROOM = 32 };		/* a longer line moves to the arena */

struct chunks {
	struct arena *arena;
	struct chunk_limits limits;
	enum chunk_phase phase;
	uint64_t left;			/* octets of data of this chunk to come */
	uint32_t extensions;		/* octets of extensions so far */
	bool in_digits;			/* no extension yet in this size line */
	char *at;			/* a size line, or the trailer section */
	uint32_t len, cap;
	uint32_t line, lines;		/* where its last line begins; those before */
	char room[CHUNK_ROOM];
};

void chunk_begin(struct chunks *c, struct arena *a, const struct chunk_limits *l);
/* The next event; *used octets of in are done with. */
enum chunk_event chunk_feed(struct chunks *c, struct str in, size_t *used, struct str *data);
/* After CHUNK_END: the trailer section, field lines with their CRLF. */
struct str chunk_trailer(const struct chunks *c);
/* A size line without its CRLF: 1*HEXDIG [ chunk-ext ]. At most 2^63 - 1. */
bool chunk_parse_size(struct str line, uint64_t *size);

#endif
