/* gate: the first look at a message's raw octets. It alone splits the head
 * into lines and names, validates every octet (RFC 9112 2-6), and computes the
 * framing once, from the field values. The same octets get the same verdict in
 * every fragmentation: a head is judged when it is whole, and what can be said
 * earlier depends on one octet's place, never on where a read ended.
 * Pure; slices point into the text given. */
#ifndef HTTP_GATE_H
#define HTTP_GATE_H

#include "http/message.h"

/* How far the search for the end of a head got; all zero at first. */
struct gate_scan {
	size_t seen;			/* octets looked at */
	size_t line;			/* where the line being looked at begins */
	uint32_t lines;			/* whole lines, the start line included */
	uint8_t blank;			/* empty lines ahead of the start line */
	bool folded;			/* a field line begins with a blank: obs-fold */
};

/* Looks for the end of a head that begins at in.at; *s remembers how far earlier
 * calls with fewer octets got. Returns the octets up to and including the empty
 * line, or 0: not there yet. *why becomes a refusal when the head is already too
 * large, has too many lines, or can never become one: WHY_DONE otherwise.
 * Leading empty lines (at most two CRLF) are part of the head of a request. */
size_t gate_find_head(struct str in, struct gate_scan *s, const struct reader_limits *l,
		      bool is_request, enum why *why);
/* Splits a whole head. obs-fold in a response must have been unfolded in place
 * first: gate_unfold() (RFC 9112 5.2). Fields go to out->fields. */
enum why gate_request(struct str head, struct arena *a, struct request *out);
enum why gate_response(struct str head, struct arena *a, enum method_kind to,
		       struct response *out);
/* Replaces each obs-fold by spaces, in place; not one behind the start line,
 * which gate_response() refuses (RFC 9112 2.2). */
void gate_unfold(char *head, size_t len);
/* The trailer section, without its final empty line. */
enum why gate_trailer(struct str section, struct arena *a, struct headers *out);

#endif
