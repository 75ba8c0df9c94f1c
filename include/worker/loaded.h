/* loaded: a configuration with the text it was made of, so that it can be
 * printed as it was written, and read again. Known to the config_*.c and `match`. */
#ifndef WORKER_LOADED_H
#define WORKER_LOADED_H

#include "worker/config.h"
#include "worker/form.h"
#include "worker/value.h"

struct loaded {
	struct config config;		/* first: a config is a loaded */
	struct form form;
	struct config_override *override;
	unsigned override_n;
};

struct loading {
	struct taker taker;
	struct config *config;
	struct form *form;
	struct arena *arena;
};

/* Reads the settings of a scope, all or those given, into the fields of `to`. */
bool config_take(struct loading *l, enum scope scope, const struct setting *all,
		 bool given_only, void *to);
bool config_take_rules(struct loading *l);

#endif
