/* address: socket addresses and short lists of them, in the order in which they
 * should be tried. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>
#include "ground/str.h"

enum { ADDRESSES_MOST = 16 };

struct address {
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	};
};

struct addresses {
	unsigned n;
	struct address at[ADDRESSES_MOST];	/* with the port filled in */
};

/* An IP literal: a strict dotted quad, or IPv6 without brackets and zone. */
bool address_parse(struct str text, uint16_t port, struct address *out);
/* A copy of an IPv4 or IPv6 one, with port 0. */
struct address address_of(const struct sockaddr *sa);
/* Full: nothing happens. */
void addresses_add(struct addresses *to, const struct address *a);
void addresses_set_port(struct addresses *all, uint16_t port);
/* Families take turns (RFC 8305 4), beginning with `first`. */
void addresses_interleave(const struct addresses *first, const struct addresses *second,
			  struct addresses *out);
/* The same, beginning with IPv6 if there is a route to it. */
void addresses_in_order(const struct addresses *v4, const struct addresses *v6,
			struct addresses *out);

#endif
