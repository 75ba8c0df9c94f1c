/* top_view: what stands on the screen of `retrywith top`. Known to `top`. */
#ifndef WORKER_TOP_VIEW_H
#define WORKER_TOP_VIEW_H

#include <jansson.h>
#include <stdio.h>

struct top_size {
	unsigned lines, columns;	/* 0: as many as there are */
};

/* Lines without control octets, none longer than the screen is wide. stats is what
 * /stats.json said; what is missing in it counts as 0. */
void top_view(const json_t *stats, struct top_size size, FILE *out);
/* "1 h 2 m", "43 ms"; in room. */
const char *top_span(char room[32], double seconds);
const char *top_octets(char room[32], double n);

#endif
