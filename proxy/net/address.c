/* address: see address.h. */
#include "net/address.h"

#include <arpa/inet.h>
#include <unistd.h>

bool address_parse(struct str text, uint16_t port, struct address *out)
{
	char z[INET6_ADDRSTRLEN];

	if (text.len == 0 || text.len >= sizeof(z) || memchr(text.at, '\0', text.len))
		return false;
	memcpy(z, text.at, text.len);
	z[text.len] = '\0';
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, z, &out->in4.sin_addr) == 1)
		out->in4.sin_family = AF_INET;
	else if (inet_pton(AF_INET6, z, &out->in6.sin6_addr) == 1)
		out->in6.sin6_family = AF_INET6;
	else
		return false;
	out->in4.sin_port = htons(port);
	return true;
}

struct address address_of(const struct sockaddr *sa)
{
	struct address a;

	memset(&a, 0, sizeof(a));
	if (sa->sa_family == AF_INET)
		memcpy(&a.in4, sa, sizeof(a.in4));
	else
		memcpy(&a.in6, sa, sizeof(a.in6));
	a.in4.sin_port = 0;
	return a;
}

/* The port is at the same place in both families. */
void addresses_set_port(struct addresses *all, uint16_t port)
{
	for (unsigned i = 0; i < all->n; i++)
		all->at[i].in4.sin_port = htons(port);
}

void addresses_add(struct addresses *to, const struct address *a)
{
	if (to->n < ADDRESSES_MOST)
		to->at[to->n++] = *a;
}

void addresses_interleave(const struct addresses *first, const struct addresses *second,
			  struct addresses *out)
{
	out->n = 0;
	for (unsigned i = 0; i < first->n || i < second->n; i++) {
		if (i < first->n)
			addresses_add(out, &first->at[i]);
		if (i < second->n)
			addresses_add(out, &second->at[i]);
	}
}

/* Would it be dialled before IPv4? A route to it, and no makeshift or local
 * prefix (RFC 6724 2.1: 6to4, Teredo, ULA come behind). No octet is sent. */
static bool is_preferred(const struct address *a)
{
	const uint8_t *p = a->in6.sin6_addr.s6_addr;
	int fd, ret;

	if ((p[0] == 0x20 && p[1] == 0x02) || (p[0] & 0xfe) == 0xfc ||
	    (p[0] == 0x20 && p[1] == 0x01 && p[2] == 0 && p[3] == 0))
		return false;
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	ret = connect(fd, &a->sa, sizeof(a->in6));
	close(fd);
	return ret == 0;
}

void addresses_in_order(const struct addresses *v4, const struct addresses *v6,
			struct addresses *out)
{
	if (v6->n > 0 && is_preferred(&v6->at[0]))
		addresses_interleave(v6, v4, out);
	else
		addresses_interleave(v4, v6, out);
}
