/* completion: what a shell offers behind `retrywith`, written from the table of
 * options: a script for bash or zsh. conf/completion/ has them; a test compares. */
#ifndef WORKER_COMPLETION_H
#define WORKER_COMPLETION_H

#include <stdbool.h>
#include <stdio.h>

struct completion_word {		/* a command, or a switch that is no option */
	const char *name, *help;
	const char *more;		/* of a command: what may follow, "" or "init show" */
};

struct completion {
	const struct completion_word *commands, *switches;
	unsigned commands_n, switches_n;
};

/* False: no such shell. */
bool completion_print(const struct completion *c, const char *shell, FILE *out);

#endif
