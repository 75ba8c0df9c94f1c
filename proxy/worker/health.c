/* health: see the header. */
#include "worker/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "worker/inquiry.h"

static int tell(struct str admin, const char *path)
{
	struct inquiry i = inquiry_make(admin, path);
	int status = i.status == 200 ? EXIT_SUCCESS : i.status ? EXIT_FAILURE : EX_UNAVAILABLE;

	if (i.status)
		fputs(i.body, i.status == 200 ? stdout : stderr);
	else
		fprintf(stderr, "retrywith health: no answer from %.*s\n", STR_FMT(admin));
	inquiry_free(&i);
	return status;
}

int health_main(struct config *c, int argc, char **argv)
{
	bool ready = argc == 2 && strcmp(argv[1], "ready") == 0;

	if (argc > 1 + ready) {
		fprintf(stderr, "retrywith health: there is no %s; say ready, or nothing\n",
			argv[1 + ready]);
		return EX_USAGE;
	}
	if (!inquiry_has_address(c->admin, "health"))
		return EX_USAGE;
	return tell(c->admin, ready ? "/readyz" : "/healthz");
}
