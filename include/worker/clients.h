/* clients: how many there are, over all workers of the process: in all, and from
 * each address. Any thread; relaxed atomics, touched once when a client comes and
 * once when it goes, never by a request.
 *
 * An address is counted by its hash: two that share one of the slots share the
 * limit. Clients of a Unix socket have no address, and are counted in all only. */
#ifndef WORKER_CLIENTS_H
#define WORKER_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { CLIENTS_SLOTS = 4096 };

/* Counts one more, unless that would exceed a limit (0: none). false: nothing is
 * counted. What was counted is given back once, by clients_leave. */
bool clients_enter(const struct sockaddr *from, uint64_t most, uint64_t most_per_address);
void clients_leave(const struct sockaddr *from);
uint64_t clients_in_all(void);

/* Whether a worker that has `mine` has so many more than its part that a client
 * who may be taken by any worker should be left to the others. */
bool clients_unfair(uint64_t mine, unsigned workers);

#endif
