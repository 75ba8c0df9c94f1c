/* gate: the first look at a message's raw octets. It alone splits the head
 * into lines and names, validates every octet (RFC 9112 2-6), and computes the
 * framing once, from the field values. The same octets get the same verdict in
 * every fragmentation, because nothing is judged before the head is whole.
 * Pure; slices point into the text given. */
#ifndef HTTP_GATE_H
#define HTTP_GATE_H

#include "http/message.h"

/* Looks for the end of a head that begins at in.at. *seen remembers how far
 * earlier calls got (0 at first). Returns the octets up to and including the
 * empty line, or 0: not there yet. *why becomes a refusal when the head is
 * already too large, has too many lines, or can never become one.
 * Leading empty lines (at most two CRLF) are part of the head of a request. */
size_t gate_find_head(struct str in, size_t *seen, const struct reader_limits *l,
		      bool is_request, enum why *why);
/* Splits a whole head. obs-fold in a response must have been unfolded in place
 * first: gate_unfold() (RFC 9112 5.2). Fields go to out->fields. */
enum why gate_request(struct str head, struct arena *a, struct request *out);
enum why gate_response(struct str head, struct arena *a, enum method_kind to,
		       struct response *out);
/* Replaces each obs-fold by spaces, in place. */
void gate_unfold(char *head, size_t len);
/* The trailer section, without its final empty line. */
enum why gate_trailer(struct str section, struct arena *a, struct headers *out);
/* Splits a chunk-size line without its CRLF: 1*HEXDIG [ chunk-ext ]. */
bool gate_chunk_line(struct str line, uint64_t *size);

#endif
