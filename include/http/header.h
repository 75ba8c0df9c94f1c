/* header: the list of field lines, and one table of what a proxy must know of
 * each name. Field lines keep their order and spelling (RFC 9110 5.3). */
#ifndef HTTP_HEADER_H
#define HTTP_HEADER_H

#include "ground/arena.h"
#include "ground/str.h"

enum header_trait {
	TRAIT_HOP = 1 << 0,		/* hop-by-hop: never forwarded (RFC 9110 7.6.1) */
	TRAIT_FRAMING = 1 << 1,		/* decides message length: we write our own */
	TRAIT_SECRET = 1 << 2,		/* its value never appears in a log */
	TRAIT_NO_TRAILER = 1 << 3,	/* not forwarded from a trailer section (RFC 9110 6.5.1) */
	TRAIT_KEPT = 1 << 4,		/* stays even if Connection names it (RFC 9110 7.6.1) */
};

#define HEADER_TABLE(row) \
	row(CONNECTION,          "Connection",          TRAIT_HOP | TRAIT_NO_TRAILER) \
	row(KEEP_ALIVE,          "Keep-Alive",          TRAIT_HOP | TRAIT_NO_TRAILER) \
	row(PROXY_CONNECTION,    "Proxy-Connection",    TRAIT_HOP | TRAIT_NO_TRAILER) \
	row(TE,                  "TE",                  TRAIT_HOP | TRAIT_NO_TRAILER) \
	row(TRANSFER_ENCODING,   "Transfer-Encoding",   TRAIT_HOP | TRAIT_FRAMING | TRAIT_NO_TRAILER) \
	row(UPGRADE,             "Upgrade",             TRAIT_HOP | TRAIT_NO_TRAILER) \
	row(PROXY_AUTHORIZATION, "Proxy-Authorization", TRAIT_HOP | TRAIT_SECRET | TRAIT_NO_TRAILER) \
	row(PROXY_AUTHENTICATE,  "Proxy-Authenticate",  TRAIT_HOP | TRAIT_NO_TRAILER) \
	row(PROXY_AUTHENTICATION_INFO, "Proxy-Authentication-Info", TRAIT_HOP | TRAIT_NO_TRAILER) \
	row(CONTENT_LENGTH,      "Content-Length",      TRAIT_FRAMING | TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(HOST,                "Host",                TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(TRAILER,             "Trailer",             TRAIT_NO_TRAILER) \
	row(EXPECT,              "Expect",              TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(MAX_FORWARDS,        "Max-Forwards",        TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(VIA,                 "Via",                 TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(AUTHORIZATION,       "Authorization",       TRAIT_SECRET | TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(WWW_AUTHENTICATE,    "WWW-Authenticate",    TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(AUTHENTICATION_INFO, "Authentication-Info", TRAIT_SECRET | TRAIT_NO_TRAILER) \
	row(COOKIE,              "Cookie",              TRAIT_SECRET | TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(SET_COOKIE,          "Set-Cookie",          TRAIT_SECRET | TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(MS_ECHO_REQUEST,     "Ms-Echo-Request",     TRAIT_SECRET | TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(MS_ECHO_REPLY,       "Ms-Echo-Reply",       TRAIT_SECRET | TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(X_MS_NORETRY_449,    "x-ms-noretry-449",    TRAIT_NO_TRAILER) \
	row(X_MS_SUBSTATUS,      "x-ms-substatus",      TRAIT_NO_TRAILER) \
	row(X_MS_RETRY_AFTER_MS, "x-ms-retry-after-ms", TRAIT_NO_TRAILER) \
	row(MS_ASPROTOCOLVERSION, "MS-ASProtocolVersion", TRAIT_NO_TRAILER) \
	row(X_MS_POLICYKEY,      "X-MS-PolicyKey",      TRAIT_NO_TRAILER) \
	row(RETRY_AFTER,         "Retry-After",         TRAIT_NO_TRAILER) \
	row(PERSISTENT_AUTH,     "Persistent-Auth",     TRAIT_NO_TRAILER) \
	row(PROXY_SUPPORT,       "Proxy-Support",       TRAIT_NO_TRAILER) \
	row(PROXY_STATUS,        "Proxy-Status",        TRAIT_KEPT) \
	row(DATE,                "Date",                TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(USER_AGENT,          "User-Agent",          TRAIT_NO_TRAILER) \
	row(REFERER,             "Referer",             TRAIT_NO_TRAILER) \
	row(CONTENT_TYPE,        "Content-Type",        TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(CONTENT_ENCODING,    "Content-Encoding",    TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(CONTENT_RANGE,       "Content-Range",       TRAIT_NO_TRAILER | TRAIT_KEPT) \
	row(CACHE_CONTROL,       "Cache-Control",       TRAIT_NO_TRAILER | TRAIT_KEPT)

#define HEADER_ENUM(id, name, traits) HEADER_##id,
enum header_id { HEADER_OTHER, HEADER_TABLE(HEADER_ENUM) HEADER_COUNT };
#undef HEADER_ENUM

struct header {
	struct str name, value;		/* value without OWS at its ends */
	enum header_id id;
	bool dropped;			/* not forwarded, not found */
};

struct headers {
	struct header *at;
	uint16_t count, room;
	uint64_t present;		/* bit per header_id that occurs: a quick no */
};

enum header_id header_lookup(struct str name);
unsigned header_traits(enum header_id id);
const char *header_name(enum header_id id);

/* Room for another line; false when the arena is full. */
bool headers_grow(struct headers *h, struct arena *a);
/* Adds a line at the end; false when the arena is full. */
static inline bool headers_add(struct headers *h, struct arena *a,
			       struct str name, struct str value)
{
	enum header_id id = header_lookup(name);

	if (h->count == h->room && !headers_grow(h, a))
		return false;
	h->at[h->count++] = (struct header){ name, value, id, false };
	h->present |= UINT64_C(1) << id;
	return true;
}
/* The first line with this id that is not dropped, or NULL. */
const struct header *headers_find(const struct headers *h, enum header_id id);
/* The next such line after `after` (NULL: the first). */
const struct header *headers_next(const struct headers *h, enum header_id id,
				  const struct header *after);
const struct header *headers_find_name(const struct headers *h, struct str name);
/* All values of id joined with ", " (RFC 9110 5.2); one line is not copied.
 * at NULL: there is none. */
struct str headers_join(const struct headers *h, enum header_id id, struct arena *a);
/* Is token a member of any line of id? (a list of tokens, any case) */
bool headers_list_has(const struct headers *h, enum header_id id, struct str token);
/* Drops every line with TRAIT_HOP and every line that Connection names, unless
 * TRAIT_KEPT. Call after everything wanted was read from them. */
void headers_drop_hop_by_hop(struct headers *h);
/* Drops every line that list, a Connection value, names, unless TRAIT_KEPT. */
void headers_drop_listed(struct headers *h, struct str list);
/* Drops what must not arrive in a trailer section. */
void headers_drop_from_trailer(struct headers *h);
void headers_drop(struct headers *h, enum header_id id);
/* Is s a token (RFC 9110 5.6.2)? A field value we may send (no control octet
 * but HTAB, no blank at either end)? */
bool header_is_token(struct str s);
bool header_is_value(struct str s);
/* How many octets at the front of s may stand in a token, in a field value. */
size_t header_token_len(struct str s);
size_t header_value_len(struct str s);

#endif
