/* url: the request-target forms of RFC 9112 3.2 and the authority in them.
 * Pure; slices borrow from the text. No percent-decoding, no normalising:
 * path and query are forwarded octet by octet (RFC 9110 7.7). */
#ifndef HTTP_URL_H
#define HTTP_URL_H

#include "ground/why.h"
#include "ground/str.h"

enum url_form {
	URL_ORIGIN,			/* /path?query */
	URL_ABSOLUTE,			/* scheme://host:port/path?query */
	URL_AUTHORITY,			/* host:port, CONNECT only */
	URL_ASTERISK,			/* *, OPTIONS only */
};

enum url_scheme { SCHEME_NONE, SCHEME_HTTP, SCHEME_HTTPS };

struct url {
	enum url_form form;
	enum url_scheme scheme;
	struct str host;		/* without brackets; as spelled */
	uint16_t port;			/* the scheme's default when absent */
	struct str authority;		/* as spelled, without userinfo: a Host value */
	struct str path;		/* with query; may be empty, or begin with ? */
	bool literal6;			/* host stood in brackets */
};

/* Parses a request target. `connect`: the method is CONNECT, so authority-form
 * with a port is the only legal one. WHY_DONE, or what is wrong (BAD_TARGET,
 * NO_PORT, BAD_SCHEME). Refuses userinfo, fragments, octets outside 0x21-0x7e,
 * empty hosts, bad IPv6 literals, ports outside 1-65535. */
enum why url_parse_target(struct str text, bool connect, struct url *out);
/* uri-host [ ":" port ] of RFC 9110 7.2; scheme gives the default port.
 * An empty value is legal (host empty). False: malformed. */
bool url_parse_authority(struct str text, enum url_scheme scheme, struct url *out);

#endif
