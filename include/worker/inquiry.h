/* inquiry: one question to the admin listener of a running proxy. */
#ifndef WORKER_INQUIRY_H
#define WORKER_INQUIRY_H

#include "ground/str.h"

struct inquiry {
	int status;			/* 0: no answer came */
	const char *body;		/* NUL-terminated */
	size_t len;
	char *all;			/* malloc'ed */
};

/* Is admin set? If not, says what `retrywith COMMAND` wants to know. */
bool inquiry_has_address(struct str admin, const char *command);
/* admin: ADDR:PORT or unix:PATH. Waits at most some seconds for each part. */
struct inquiry inquiry_make(struct str admin, const char *path);
void inquiry_free(struct inquiry *i);

#endif
