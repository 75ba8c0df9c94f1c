/* sockets: the listening ones. Opened once, before any worker starts, and kept
 * for the life of the process: closing one would throw away what the kernel has
 * queued on it. With several workers each has a socket of its own for the same
 * address (SO_REUSEPORT), so that the kernel spreads the clients; sockets that
 * systemd passes are shared by all. */
#ifndef WORKER_SOCKETS_H
#define WORKER_SOCKETS_H

#include "worker/worker.h"

enum { LISTENERS_MOST = 64 };

struct sockets {
	unsigned n;			/* listeners */
	unsigned workers;
	struct listening *at;		/* at[listener * workers + worker] */
	bool passed;			/* by systemd */
	struct listening admin;		/* fd -1: none */
};

/* 0, or an exit status (69, 77) after an error line that says what to do. */
int sockets_open(struct sockets *s, const struct config *c, unsigned workers);
/* Those of one worker, one per listener; room for LISTENERS_MOST. */
unsigned sockets_of(const struct sockets *s, unsigned worker, struct listening *out);
void sockets_say(const struct sockets *s);	/* the "listening on" lines */
void sockets_close(struct sockets *s);

#endif
