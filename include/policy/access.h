/* access: may it pass? Client networks, destination networks, ports, and the
 * spelling of hosts. Pure; built once by the configuration, then read only. */
#ifndef POLICY_ACCESS_H
#define POLICY_ACCESS_H

#include <sys/socket.h>
#include "ground/arena.h"
#include "ground/why.h"

struct network {
	uint8_t octets[16];		/* IPv4 as ::ffff:a.b.c.d */
	uint8_t bits;			/* 0 to 128 */
};

struct network_list {
	struct network *at;
	unsigned n;
};

struct port_range {
	uint16_t first, last;
};

struct port_list {
	struct port_range *at;
	unsigned n;
	const uint64_t *set;		/* a bit for each port: see port_list_ready() */
};

struct access {
	struct network_list allow, deny;	/* clients; deny wins; allow empty: loopback only */
	/* destinations; deny_to, then allow_to, then the defaults */
	struct network_list allow_to, deny_to;
	struct port_list connect_ports;	/* CONNECT goes to these only, */
	struct port_list deny_ports;	/* and requests for a URL to any but these */
	const struct sockaddr_storage *own;	/* our listening addresses */
	unsigned own_n;
};

/* "10.0.0.0/8", "::1", "192.168.1.7", "[fd00::]/8"; host bits must be zero. */
bool network_parse(struct str text, struct network *out);
bool network_list_has(const struct network_list *l, const struct sockaddr *a);
/* "443", "8000-8999". */
bool port_range_parse(struct str text, struct port_range *out);
/* To be called once the ranges are known: fills l->set. False: out of memory. */
bool port_list_ready(struct port_list *l, struct arena *a);

/* WHY_DONE or DENIED_CLIENT. AF_UNIX clients pass. */
enum why access_client(const struct access *a, const struct sockaddr *client);
/* Of CONNECT: WHY_DONE or DENIED_PORT. */
enum why access_connect_port(const struct access *a, uint16_t port);
/* Of a URL: WHY_DONE or DENIED_URL_PORT. */
enum why access_url_port(const struct access *a, uint16_t port);
/* The spelling of a host, before any lookup: WHY_DONE; NUMERIC_HOST for what
 * inet_aton would take but is not four decimal parts; BAD_TARGET for what is no
 * host name (letters, digits, -, _, dots; at most 253, labels 63); literal6:
 * it stood in brackets. Also refuses the names by which clouds serve metadata. */
enum why access_host(struct str host, bool literal6);
/* The address about to be dialled: WHY_DONE, DENIED_TARGET, or LOOP when it is
 * one of our own. By default refused, in every embedded form (v4-mapped,
 * v4-compatible, NAT64, 6to4, Teredo): unspecified, link-local and cloud metadata,
 * multicast, reserved, documentation, and loopback for a client that is not itself on
 * loopback. Private networks pass. client NULL or AF_UNIX counts as loopback. */
enum why access_target(const struct access *a, const struct sockaddr *client,
		       const struct sockaddr *to);

#endif
