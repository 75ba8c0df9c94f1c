/* access: may it pass? Pure tables over addresses, ports and the spelling of
 * hosts. It looks nothing up: names are judged by their letters here, and by
 * their addresses when these are known, on the very sockaddr that is dialled.
 *
 * Every address is brought into one form first: 16 octets, IPv4 as
 * ::ffff:a.b.c.d. An IPv6 address that carries an IPv4 one (a translator, a tunnel)
 * is judged for both, since it is the inner one that the packets reach. */
#include "policy/access.h"

#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>

enum { V4_BITS = 96, INNER_MOST = 5 /* 4, and one to try */, HOST_MOST = 253, LABEL_MOST = 63 };

/* What a stretch of the address space is, where that matters. */
enum kind { KIND_OPEN, KIND_LOOPBACK, KIND_FORBIDDEN };

struct stretch {
	uint8_t octets[16];
	uint8_t bits;
	enum kind kind;
};

#define V4(a, b, c, d, bits, kind) \
	{ { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, (a), (b), (c), (d) }, \
	  V4_BITS + (bits), (kind) }

/* The IANA special-purpose registries (RFC 6890) and the addresses at which clouds
 * hand out credentials, less the private networks. The first match counts. */
static const struct stretch stretches[] = {
	V4(127, 0, 0, 0, 8, KIND_LOOPBACK),
	V4(0, 0, 0, 0, 8, KIND_FORBIDDEN),		/* "this network" */
	V4(169, 254, 0, 0, 16, KIND_FORBIDDEN),		/* link-local, metadata */
	V4(100, 100, 100, 200, 32, KIND_FORBIDDEN),	/* metadata: Alibaba */
	V4(168, 63, 129, 16, 32, KIND_FORBIDDEN),	/* wire server: Azure */
	V4(192, 0, 0, 0, 24, KIND_FORBIDDEN),		/* IETF protocols */
	V4(192, 0, 2, 0, 24, KIND_FORBIDDEN),		/* documentation */
	V4(192, 88, 99, 0, 24, KIND_FORBIDDEN),		/* 6to4 relays */
	V4(198, 18, 0, 0, 15, KIND_FORBIDDEN),		/* benchmarks */
	V4(198, 51, 100, 0, 24, KIND_FORBIDDEN),	/* documentation */
	V4(203, 0, 113, 0, 24, KIND_FORBIDDEN),		/* documentation */
	V4(224, 0, 0, 0, 4, KIND_FORBIDDEN),		/* multicast */
	V4(240, 0, 0, 0, 4, KIND_FORBIDDEN),		/* reserved, broadcast */
	{ { [15] = 1 }, 128, KIND_LOOPBACK },		/* ::1 */
	{ { 0 }, 128, KIND_FORBIDDEN },			/* :: */
	{ { 0x01, 0x00 }, 64, KIND_FORBIDDEN },		/* discard, RFC 6666 */
	{ { 0x20, 0x01, 0x00, 0x02 }, 48, KIND_FORBIDDEN },	/* benchmarks */
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32, KIND_FORBIDDEN },	/* documentation */
	{ { 0x3f, 0xff }, 20, KIND_FORBIDDEN },		/* documentation, RFC 9637 */
	{ { 0xfd, 0x00, 0x0e, 0xc2 }, 64, KIND_FORBIDDEN },	/* metadata: Amazon */
	{ { 0xfd, 0x20, 0x00, 0xce }, 64, KIND_FORBIDDEN },	/* metadata: Google */
	{ { 0xfd, 0x00, 0x00, 0xc1 }, 64, KIND_FORBIDDEN },	/* metadata: Oracle */
	{ { 0xfe, 0x80 }, 10, KIND_FORBIDDEN },		/* link-local */
	{ { 0xff }, 8, KIND_FORBIDDEN },		/* multicast */
};

/* Where an IPv6 network keeps an IPv4 address. */
struct carrier {
	uint8_t octets[16];
	uint8_t bits;
	uint8_t at[4];			/* the octets of the inner address */
	uint8_t mask;			/* xor: Teredo hides the client's */
	bool guess;			/* perhaps it is kept elsewhere */
};

static const struct carrier carriers[] = {
	{ { 0 }, 96, { 12, 13, 14, 15 }, 0, false },		/* v4-compatible */
	{ { 0x00, 0x64, 0xff, 0x9b }, 96, { 12, 13, 14, 15 }, 0, false },	/* NAT64 */
	/* NAT64 in a network of one's own (RFC 8215): the prefix may have any
	 * length of RFC 6052, so each place is tried. */
	{ { 0x00, 0x64, 0xff, 0x9b, 0, 1 }, 48, { 12, 13, 14, 15 }, 0, true },
	{ { 0x00, 0x64, 0xff, 0x9b, 0, 1 }, 48, { 6, 7, 9, 10 }, 0, true },
	{ { 0x00, 0x64, 0xff, 0x9b, 0, 1 }, 48, { 7, 9, 10, 11 }, 0, true },
	{ { 0x00, 0x64, 0xff, 0x9b, 0, 1 }, 48, { 9, 10, 11, 12 }, 0, true },
	{ { 0x20, 0x02 }, 16, { 2, 3, 4, 5 }, 0, false },	/* 6to4 */
	{ { 0x20, 0x01, 0x00, 0x00 }, 32, { 4, 5, 6, 7 }, 0, false },	/* Teredo server */
	{ { 0x20, 0x01, 0x00, 0x00 }, 32, { 12, 13, 14, 15 }, 0xff, false },	/* client */
};

/* Names that clouds resolve to their metadata service. The addresses are refused
 * anyway; the names matter when a parent proxy does the looking up. */
static const char *const metadata_names[] = {
	"metadata.google.internal", "metadata.goog", "metadata.azure.internal",
	"instance-data", "instance-data.ec2.internal", "metadata.tencentyun.com",
};

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static const uint8_t v4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool is_v4(const uint8_t octets[16])
{
	return memcmp(octets, v4_prefix, sizeof(v4_prefix)) == 0;
}

/* One form for both families; false for others (AF_UNIX). */
static bool normalise(const struct sockaddr *a, uint8_t out[16], uint16_t *port)
{
	const struct sockaddr_in *in4 = (const void *)a;
	const struct sockaddr_in6 *in6 = (const void *)a;

	if (a->sa_family == AF_INET6) {
		memcpy(out, &in6->sin6_addr, 16);
		*port = ntohs(in6->sin6_port);
		return true;
	}
	if (a->sa_family != AF_INET)
		return false;
	memcpy(out, v4_prefix, sizeof(v4_prefix));
	memcpy(out + 12, &in4->sin_addr, 4);
	*port = ntohs(in4->sin_port);
	return true;
}

/* Where a and b differ, in eight octets from `at`. */
static uint64_t differ(const uint8_t a[16], const uint8_t b[16], unsigned at)
{
	uint64_t x, y;

	memcpy(&x, a + at, sizeof(x));
	memcpy(&y, b + at, sizeof(y));
	return be64toh(x ^ y);
}

static bool same_bits(const uint8_t a[16], const uint8_t b[16], unsigned bits)
{
	uint64_t high = differ(a, b, 0);

	if (bits <= 64)
		return bits == 0 || high >> (64 - bits) == 0;
	return high == 0 && differ(a, b, 8) >> (128 - bits) == 0;
}

/* An IPv4 address is in IPv4 networks only: ::/0 speaks of IPv6. */
static bool list_has(const struct network_list *l, const uint8_t octets[16])
{
	bool v4 = is_v4(octets);

	for (unsigned i = 0; i < l->n; i++) {
		if (v4 && l->at[i].bits < V4_BITS)
			continue;
		if (same_bits(l->at[i].octets, octets, l->at[i].bits))
			return true;
	}
	return false;
}

bool network_list_has(const struct network_list *l, const struct sockaddr *a)
{
	uint8_t octets[16];
	uint16_t port;

	return normalise(a, octets, &port) && list_has(l, octets);
}

/* First octets of IPv4 addresses that are in the table; most are not. */
static bool in_table[256];

__attribute__((constructor))
static void note_first_octets(void)
{
	for (size_t i = 0; i < COUNT(stretches); i++) {
		const struct stretch *s = &stretches[i];
		unsigned more = s->bits < V4_BITS + 8 ? V4_BITS + 8 - s->bits : 0;

		for (unsigned k = 0; is_v4(s->octets) && k < 1u << more; k++)
			in_table[s->octets[12] + k] = true;
	}
}

static enum kind kind_of(const uint8_t octets[16])
{
	if (is_v4(octets) && !in_table[octets[12]])
		return KIND_OPEN;
	for (size_t i = 0; i < COUNT(stretches); i++)
		if (same_bits(stretches[i].octets, octets, stretches[i].bits))
			return stretches[i].kind;
	return KIND_OPEN;
}

/* The IPv4 addresses inside an IPv6 one, in the one form; how many. */
static unsigned inner_addresses(const uint8_t octets[16], uint8_t out[INNER_MOST][16])
{
	unsigned n = 0;

	if (is_v4(octets))
		return 0;
	for (size_t i = 0; i < COUNT(carriers); i++) {
		const struct carrier *c = &carriers[i];
		uint8_t *inner = out[n] + 12;

		if (!same_bits(c->octets, octets, c->bits))
			continue;
		memcpy(out[n], v4_prefix, sizeof(v4_prefix));
		for (unsigned k = 0; k < 4; k++)
			inner[k] = octets[c->at[k]] ^ c->mask;
		/* A zero in front says that we looked in the wrong place. */
		if (!c->guess || inner[0] != 0)
			n++;
	}
	return n;
}

/* --- what the operator writes --- */

static bool host_bits_clear(const struct network *n)
{
	for (unsigned i = n->bits; i < 128; i++)
		if (n->octets[i / 8] & (0x80 >> (i % 8)))
			return false;
	return true;
}

/* An address without brackets, zone or port. */
static bool address_parse(struct str text, uint8_t out[16], bool *v4)
{
	char z[INET6_ADDRSTRLEN];

	if (text.len == 0 || text.len >= sizeof(z))
		return false;
	memcpy(z, text.at, text.len);
	z[text.len] = '\0';
	if (memchr(z, '\0', text.len))
		return false;
	*v4 = inet_pton(AF_INET, z, out + 12) == 1;
	if (*v4)
		memcpy(out, v4_prefix, sizeof(v4_prefix));
	return *v4 || inet_pton(AF_INET6, z, out) == 1;
}

bool network_parse(struct str text, struct network *out)
{
	struct str address = text, length = STR_NONE;
	bool bracketed, v4, has_length = str_cut(text, '/', &address, &length);
	uint64_t bits;

	bracketed = address.len > 2 && address.at[0] == '[' &&
		    address.at[address.len - 1] == ']';
	if (bracketed)
		address = (struct str){ address.at + 1, address.len - 2 };
	if (!address_parse(address, out->octets, &v4) || (bracketed && v4))
		return false;
	bits = v4 ? 32 : 128;
	if (has_length && (!str_to_u64(length, &bits) || bits > (v4 ? 32 : 128)))
		return false;
	out->bits = (uint8_t)(v4 ? V4_BITS + bits : bits);
	return host_bits_clear(out);
}

static bool port_parse(struct str text, uint16_t *port)
{
	uint64_t n;

	if (!str_to_u64(text, &n) || n == 0 || n > UINT16_MAX)
		return false;
	*port = (uint16_t)n;
	return true;
}

bool port_range_parse(struct str text, struct port_range *out)
{
	struct str first = text, last = text;

	str_cut(text, '-', &first, &last);
	return port_parse(first, &out->first) && port_parse(last, &out->last) &&
	       out->first <= out->last;
}

bool port_list_ready(struct port_list *l, struct arena *a)
{
	uint64_t *set = l->n ? arena_zero(a, (UINT16_MAX + 1) / 8) : NULL;

	for (unsigned i = 0; set && i < l->n; i++)
		for (uint32_t port = l->at[i].first; port <= l->at[i].last; port++)
			set[port / 64] |= UINT64_C(1) << port % 64;
	l->set = set;
	return set || !l->n;
}

/* --- verdicts --- */

enum why access_client(const struct access *a, const struct sockaddr *client)
{
	uint8_t octets[16];
	uint16_t port;

	if (!normalise(client, octets, &port))
		return WHY_DONE;
	if (list_has(&a->deny, octets))
		return WHY_DENIED_CLIENT;
	if (a->allow.n == 0 ? kind_of(octets) == KIND_LOOPBACK
			    : list_has(&a->allow, octets))
		return WHY_DONE;
	return WHY_DENIED_CLIENT;
}

static bool has_port(const struct port_list *l, uint16_t port)
{
	return l->n && l->set[port / 64] >> port % 64 & 1;
}

enum why access_connect_port(const struct access *a, uint16_t port)
{
	return has_port(&a->connect_ports, port) ? WHY_DONE : WHY_DENIED_PORT;
}

enum why access_url_port(const struct access *a, uint16_t port)
{
	return has_port(&a->deny_ports, port) ? WHY_DENIED_URL_PORT : WHY_DONE;
}

static bool is_unspecified(const uint8_t octets[16])
{
	static const uint8_t zero[16];

	return memcmp(octets, zero, 16) == 0 ||
	       (is_v4(octets) && memcmp(octets + 12, zero, 4) == 0);
}

/* One of our own, or what reaches it: a listener on all addresses is found on
 * loopback, and the kernel takes "no address" for loopback too. */
static bool is_own(const struct access *a, const uint8_t octets[16], uint16_t port)
{
	for (unsigned i = 0; i < a->own_n; i++) {
		uint8_t own[16];
		uint16_t own_port;

		if (!normalise((const void *)&a->own[i], own, &own_port) ||
		    own_port != port)
			continue;
		if (memcmp(own, octets, 16) == 0)
			return true;
		if (is_unspecified(own) &&
		    (is_unspecified(octets) || kind_of(octets) == KIND_LOOPBACK))
			return true;
	}
	return false;
}

static bool client_is_local(const struct sockaddr *client)
{
	uint8_t octets[16];
	uint16_t port;

	return client == NULL || !normalise(client, octets, &port) ||
	       kind_of(octets) == KIND_LOOPBACK;
}

/* An address, and the addresses inside it. */
struct target {
	uint8_t octets[16];
	uint8_t inner[INNER_MOST][16];
	unsigned inner_n;
};

static bool is_denied(const struct access *a, const struct target *t)
{
	if (list_has(&a->deny_to, t->octets))
		return true;
	for (unsigned i = 0; i < t->inner_n; i++)
		if (list_has(&a->deny_to, t->inner[i]))
			return true;
	return false;
}

/* Loopback inside another address is the loopback of whoever unpacks it: no
 * client has business there. */
static bool is_open(const struct target *t, const struct sockaddr *client)
{
	switch (kind_of(t->octets)) {
	case KIND_LOOPBACK:
		return client_is_local(client);
	case KIND_FORBIDDEN:
		return false;
	case KIND_OPEN:
		break;
	}
	for (unsigned i = 0; i < t->inner_n; i++)
		if (kind_of(t->inner[i]) != KIND_OPEN)
			return false;
	return true;
}

enum why access_target(const struct access *a, const struct sockaddr *client,
		       const struct sockaddr *to)
{
	struct target t;
	uint16_t port;

	if (!normalise(to, t.octets, &port))
		return WHY_DENIED_TARGET;
	if (is_own(a, t.octets, port))
		return WHY_LOOP;
	t.inner_n = inner_addresses(t.octets, t.inner);
	if (is_denied(a, &t))
		return WHY_DENIED_TARGET;
	if (list_has(&a->allow_to, t.octets) || is_open(&t, client))
		return WHY_DONE;
	return WHY_DENIED_TARGET;
}

/* --- the spelling of hosts --- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
	c = str_lower(c);
	return is_digit(c) || (c >= 'a' && c <= 'f');
}

/* Would inet_aton() read this label as a number, in any radix? */
static bool label_is_number(struct str l)
{
	bool hex = l.len >= 2 && l.at[0] == '0' && str_lower(l.at[1]) == 'x';

	for (size_t i = hex ? 2 : 0; i < l.len; i++)
		if (!(hex ? is_hex(l.at[i]) : is_digit(l.at[i])))
			return false;
	return l.len > 0;
}

static bool label_is_name(struct str l)
{
	for (size_t i = 0; i < l.len; i++) {
		char c = str_lower(l.at[i]);

		if (!is_digit(c) && !(c >= 'a' && c <= 'z') && c != '-' && c != '_')
			return false;
	}
	return l.len > 0 && l.len <= LABEL_MOST;
}

/* 0 to 255 without a zero in front, at the front of s; its length, or 0. */
static size_t octet_len(struct str s)
{
	unsigned n = 0;
	size_t i = 0;

	while (i < s.len && i < 3 && is_digit(s.at[i]))
		n = n * 10 + (unsigned)(s.at[i++] - '0');
	return n > 255 || (i > 1 && s.at[0] == '0') ? 0 : i;
}

/* Four decimal parts, no zero in front: the one spelling of IPv4 that all
 * readers agree about. */
static bool is_dotted_quad(struct str host)
{
	for (unsigned part = 0; part < 4; part++) {
		size_t n = octet_len(host);

		if (!n)
			return false;
		host = str_from(host, n);
		if (part == 3)
			return host.len == 0;
		if (!host.len || host.at[0] != '.')
			return false;
		host = str_from(host, 1);
	}
	return false;
}

static bool is_metadata_name(struct str host)
{
	for (size_t i = 0; i < COUNT(metadata_names); i++)
		if (str_eq_nocase(host, str_of(metadata_names[i])))
			return true;
	return false;
}

static enum why judge_name(struct str host)
{
	struct str rest = host, label;
	bool numbers = true, more;

	do {
		more = str_cut(rest, '.', &label, &rest);
		if (!more)
			label = rest;
		if (!label_is_name(label))
			return WHY_BAD_TARGET;
		numbers = numbers && label_is_number(label);
	} while (more);
	if (numbers)
		return WHY_NUMERIC_HOST;
	return is_metadata_name(host) ? WHY_DENIED_TARGET : WHY_DONE;
}

enum why access_host(struct str host, bool literal6)
{
	uint8_t octets[16];
	bool v4;

	if (literal6)
		return address_parse(host, octets, &v4) && !v4 ? WHY_DONE : WHY_BAD_TARGET;
	if (is_dotted_quad(host))
		return WHY_DONE;
	if (host.len > 0 && host.at[host.len - 1] == '.')
		host.len--;
	if (host.len == 0 || host.len > HOST_MOST)
		return WHY_BAD_TARGET;
	return judge_name(host);
}
