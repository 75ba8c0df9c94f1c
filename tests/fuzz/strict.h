/* strict: messages as a correct sender writes them (RFC 9112), and nothing else.
 * What the proxy emits is read again by this parser, which shares no line with
 * the proxy's own and knows no leniency: CRLF, one blank where one is due, at
 * most one framing, names that are tokens, values without control octets. */
#ifndef TESTS_FUZZ_STRICT_H
#define TESTS_FUZZ_STRICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum strict_verdict {
	STRICT_WHOLE,
	STRICT_SHORT,			/* fine as far as it goes */
	STRICT_WRONG,			/* see wrong */
};

enum strict_framing { STRICT_NONE, STRICT_LENGTH, STRICT_CHUNKED, STRICT_CLOSE };

enum strict_side {
	STRICT_REQUEST,
	STRICT_RESPONSE,		/* to any method but these two */
	STRICT_TO_HEAD, STRICT_TO_CONNECT,
};

struct strict {
	const char *text;
	size_t len;
	size_t head;			/* octets of the head; 0: not whole */
	size_t used;			/* of head and body, as far as they are there */
	size_t body;			/* decoded octets of the body, so far ... */
	char *body_to;			/* ... and where they are copied, unless NULL */
	enum strict_framing framing;
	uint64_t length;		/* STRICT_LENGTH */
	unsigned status;		/* of a response */
	unsigned hosts;
	size_t method_len, target_len;	/* of a request; the target is behind one blank */
	char method0;			/* its first octet: 'G' of GET */
	const char *wrong;
};

/* One message off the front of text; *m is overwritten but for body_to. With
 * STRICT_CLOSE the body is all there is, and whether it is whole only the end of the
 * stream can tell: STRICT_SHORT. */
enum strict_verdict strict_read(struct strict *m, const char *text, size_t len,
				enum strict_side side);
/* The value of the first field line with this name (in lower case) of a whole
 * head; false: there is none. */
bool strict_field(const struct strict *m, const char *name, const char **value, size_t *len);
bool strict_is_method(const struct strict *m, const char *method);

#endif
