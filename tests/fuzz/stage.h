/* stage: both peers of a worker in its own thread, on loopback: what they have
 * to say waits in a queue until the script lets it go, what they hear is kept.
 * The clocks stand still unless the script moves them. */
#ifndef TESTS_FUZZ_STAGE_H
#define TESTS_FUZZ_STAGE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	char *at;
	size_t len, cap;
};

void text_add(struct text *t, const void *at, size_t len);
void text_free(struct text *t);

struct actor {
	int fd;				/* -1: not there (any more) */
	struct text out;		/* to say; `said` octets of it are said */
	size_t said;
	struct text in;			/* heard */
	bool eof, reset;		/* how the other side ended */
	bool fin;			/* we have said all */
	bool left;			/* we have closed, by a reset */
	bool deaf;			/* we read nothing */
};

/* A door on a free port of loopback. */
int door_open(uint16_t *port, int send_room);
void door_shut(int door);		/* new connections are refused ... */
void door_again(int door);		/* ... and welcome again */
/* A connection from a to whoever accepts at port. */
bool actor_dial(struct actor *a, uint16_t port);
/* Takes a waiting connection, if there is one. */
bool actor_accept(struct actor *a, int door);
void actor_say(struct actor *a, size_t most);
void actor_hear(struct actor *a);
void actor_fin(struct actor *a);
void actor_reset(struct actor *a);
void actor_clear(struct actor *a);

void clock_freeze(void);		/* from now on it is always the same moment ... */
void clock_jump(uint32_t ms);		/* ... but for this */
void clock_thaw(void);

#endif
