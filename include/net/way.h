/* way: how the octets of a TLS connection travel when a bare socket will not do:
 * some were read from it before anybody knew that they were TLS, or they travel
 * inside another TLS connection (an https:// parent, a client that speaks TLS to
 * us and inside it to a server). A BIO of OpenSSL's; only `tls` uses it. */
#ifndef NET_WAY_H
#define NET_WAY_H

#include <stdbool.h>
#include "ground/str.h"

struct bio_st;
struct tls;

/* outer NULL: the socket. Neither is owned. NULL: out of memory. */
struct bio_st *way_new(int fd, struct tls *outer);
/* These come first: a copy is kept until they are read. */
bool way_unread(struct bio_st *b, struct str octets);
/* Octets wait here or in the outer connection that the kernel does not know of. */
bool way_has_pending(struct bio_st *b);

#endif
