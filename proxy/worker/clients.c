/* clients: see the header. */
#include "worker/clients.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>

enum { SLACK = 8 };			/* and an eighth: what chance may do */

static _Atomic uint32_t in_all, per_address[CLIENTS_SLOTS];

static uint32_t mix(uint32_t h, uint32_t word)
{
	return (h ^ word) * UINT32_C(0x9e3779b1);
}

static _Atomic uint32_t *slot_of(const struct sockaddr *from)
{
	uint32_t words[4], h = 0;

	if (from->sa_family == AF_INET) {
		h = mix(h, ntohl(((const struct sockaddr_in *)(const void *)from)->sin_addr.s_addr));
	} else if (from->sa_family == AF_INET6) {
		memcpy(words, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
		for (unsigned i = 0; i < 4; i++)
			h = mix(h ^ h >> 15, ntohl(words[i]));
	} else {
		return NULL;
	}
	return &per_address[(h >> 16) % CLIENTS_SLOTS];
}

static bool take(_Atomic uint32_t *n, uint64_t most)
{
	uint32_t before = atomic_fetch_add_explicit(n, 1, memory_order_relaxed);

	if (!most || before < most)
		return true;
	atomic_fetch_sub_explicit(n, 1, memory_order_relaxed);
	return false;
}

static void give(_Atomic uint32_t *n)
{
	atomic_fetch_sub_explicit(n, 1, memory_order_relaxed);
}

bool clients_enter(const struct sockaddr *from, uint64_t most, uint64_t most_per_address)
{
	_Atomic uint32_t *slot = slot_of(from);

	if (!take(&in_all, most))
		return false;
	if (!slot || take(slot, most_per_address))
		return true;
	give(&in_all);
	return false;
}

void clients_leave(const struct sockaddr *from)
{
	_Atomic uint32_t *slot = slot_of(from);

	if (slot)
		give(slot);
	give(&in_all);
}

uint64_t clients_in_all(void)
{
	return atomic_load_explicit(&in_all, memory_order_relaxed);
}

bool clients_unfair(uint64_t mine, unsigned workers)
{
	uint64_t part = workers > 1 ? clients_in_all() / workers : mine;

	return mine > part + part / 8 + SLACK;
}
