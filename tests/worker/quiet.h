/* quiet: a configuration for tests that want one: all defaults, no access log. */
#ifndef TESTS_WORKER_QUIET_H
#define TESTS_WORKER_QUIET_H

#include "worker/config.h"

static struct config *config;

static int load(void **state)
{
	const struct config_override o[] = { { "access-log", "off" } };
	char *err = NULL;

	config = config_load(NULL, o, 1, &err);
	return config ? 0 : -1;
}

static int unload(void **state)
{
	config_release(config);
	return 0;
}

#endif
