/* login: Basic proxy authentication against an htpasswd file (bcrypt, SHA-crypt,
 * yescrypt: whatever crypt(3) knows). Hashes are meant to be slow, so they are
 * checked by a thread of their own, and what was right is remembered for a
 * minute under a keyed hash. An unknown user takes as long as a known one.
 *
 * `struct htpasswd` is read only and belongs to a snapshot; `struct login` belongs
 * to one worker. */
#ifndef WORKER_LOGIN_H
#define WORKER_LOGIN_H

#include "ground/str.h"

struct htpasswd;
struct login;
struct login_wait;
struct event_base;

/* NULL, and *why in words (at most why_size octets): not to be read, or a line
 * that is not user:hash with a hash crypt(3) knows. */
struct htpasswd *htpasswd_load(const char *path, char *why, size_t why_size);
void htpasswd_free(struct htpasswd *h);

enum login_verdict { LOGIN_YES, LOGIN_NO, LOGIN_WAIT };
typedef void login_fn(void *owner, bool ok);

struct login *login_new(struct event_base *base);
void login_free(struct login *l);		/* every wait must be gone */
/* credentials: the value of Proxy-Authorization. On LOGIN_WAIT fn is called
 * once, from the loop, unless login_cancel() came first. h must live until then. */
enum login_verdict login_check(struct login *l, const struct htpasswd *h, struct str credentials,
			       login_fn *fn, void *owner, struct login_wait **wait);
void login_cancel(struct login_wait *w);

#endif
