/* cookie: just enough of RFC 6265 to send back, once, what a 449 has set:
 * host, path, Secure and expiry decide; nothing is stored. Pure. */
#ifndef POLICY_COOKIE_H
#define POLICY_COOKIE_H

#include <time.h>
#include "http/message.h"

/* The Cookie value for the replay: the request's own, with those of the
 * response's Set-Cookie lines that match this request replaced or appended, expired
 * ones removed. False when no Set-Cookie line matched: nothing to change. */
bool cookie_merge(const struct request *q, const struct response *p, bool https,
		  time_t now, struct arena *a, struct str *out);
/* The value of cookie `name` among the response's Set-Cookie lines; at NULL: none. */
struct str cookie_set_value(const struct response *p, struct str name);

#endif
