/* message: octets to requests and responses and back. The only room that sees
 * llhttp, which decodes what the gate let through; where the two disagree, the
 * message is refused.
 *
 * A reader is pulled: reader_feed() takes what it can use of the octets given
 * and says what it found. A head is copied once, into the arena; body spans
 * are slices of the input. */
#ifndef HTTP_MESSAGE_H
#define HTTP_MESSAGE_H

#include "ground/arena.h"
#include "ground/why.h"
#include "http/header.h"
#include "http/url.h"

enum framing {
	FRAMING_NONE,			/* no body */
	FRAMING_LENGTH,			/* Content-Length, also 0 */
	FRAMING_CHUNKED,
	FRAMING_UNTIL_CLOSE,		/* responses only */
};

enum method_kind {			/* methods that a proxy treats apart */
	METHOD_OTHER, METHOD_GET, METHOD_HEAD, METHOD_CONNECT, METHOD_TRACE, METHOD_OPTIONS,
	METHOD_PUT, METHOD_DELETE, METHOD_POST, METHOD_IDEMPOTENT,	/* PROPFIND and kin */
};

struct request {
	struct str method;		/* as received; any token is forwarded */
	enum method_kind kind;
	struct str target;		/* as received */
	struct url url;			/* of the target, see url.h */
	struct headers fields;
	struct headers trailers;	/* filled at the end of a chunked body */
	enum framing framing;
	uint64_t length;		/* FRAMING_LENGTH */
	uint8_t minor;			/* HTTP/1.minor; beyond 1 it means 1 (RFC 9110 6.2) */
	bool keep;			/* the client wants the connection kept */
	bool expects_continue;		/* Expect: 100-continue, and 1.1 */
	struct str upgrade;		/* the Upgrade value, when Connection names it; else empty */
	struct str host;		/* the Host value */
};

struct response {
	uint16_t status;
	struct str reason;		/* may be empty */
	struct headers fields;
	struct headers trailers;
	enum framing framing;
	uint64_t length;		/* FRAMING_LENGTH, or see has_length */
	bool has_length;		/* told without a body (HEAD, 304): forwarded */
	uint8_t minor;
	bool keep;			/* the upstream keeps the connection */
	struct str upgrade;
};

struct reader_limits {
	uint32_t head;			/* octets of a head, start line included */
	uint32_t line;			/* octets of a start line */
	uint16_t fields;		/* field lines */
	uint32_t extensions;		/* octets of chunk extensions of a message */
	uint32_t trailer;		/* octets of a trailer section */
	uint8_t interim;		/* 1xx responses before the final one */
};

enum step {
	STEP_MORE,			/* all usable octets were used: bring more.
					 * A head is not used before it is whole: see `used` */
	STEP_HEAD,			/* the struct is filled; go on feeding for the body */
	STEP_BODY,			/* *body is a span of content */
	STEP_END,			/* the message is over; the rest is not its own */
	STEP_BAD,			/* see reader_why() */
};

struct reader;

/* Both live in the arena. A reader of responses goes on to the next head after
 * an interim response (1xx but 101): STEP_HEAD comes again. */
struct reader *reader_of_requests(struct arena *a, const struct reader_limits *l,
				  struct request *out);
struct reader *reader_of_responses(struct arena *a, const struct reader_limits *l,
				   enum method_kind to, struct response *out);
/* Call it until STEP_MORE, STEP_END or STEP_BAD, at last with nothing left.
 * While a head is incomplete *used stays 0: keep the octets, and make room for
 * more. STEP_BAD ends the reader. A 101 answer, and 2xx to CONNECT, give
 * STEP_HEAD then STEP_END: what follows is the tunnel's. */
enum step reader_feed(struct reader *r, struct str in, size_t *used, struct str *body);
/* The peer ended its stream: STEP_END if that ends the message properly
 * (FRAMING_UNTIL_CLOSE), else STEP_BAD. */
enum step reader_eof(struct reader *r);
enum why reader_why(const struct reader *r);
/* Octets of a FRAMING_LENGTH body still to come (UINT64_MAX until close; 0 when
 * chunked): these may be moved without being fed ... */
uint64_t reader_left(const struct reader *r);
/* ... and accounted for here. STEP_END when that was the last. */
enum step reader_skip(struct reader *r, uint64_t n);
bool reader_in_body(const struct reader *r);

/* What is sent instead of, or beside, the fields received. */
struct head_extra {
	const struct header *add;	/* appended in this order */
	unsigned n;
	struct str via;			/* "1.1 retrywith-x": appended as a Via line; empty: none */
	struct str host;		/* requests: the Host line */
	struct str target;		/* requests: the request target */
	bool close;			/* says Connection: close */
	struct str upgrade;		/* says Connection: Upgrade and this Upgrade */
};

/* The head as octets in the arena: our version, fields not dropped, Host first,
 * the framing as the struct says it. at NULL when the arena is full. */
struct str request_head(const struct request *q, const struct head_extra *x, struct arena *a);
struct str response_head(const struct response *p, const struct head_extra *x, struct arena *a);
/* "1f\r\n" in room; the slice points into room. */
struct str chunk_line(char room[20], uint64_t size);
/* "0\r\n" trailer fields "\r\n". */
struct str chunk_last(const struct headers *trailers, struct arena *a);
/* May this request be sent again without being asked (RFC 9110 9.2.2)? */
bool method_is_idempotent(enum method_kind kind);

#endif
