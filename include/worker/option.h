/* option: the one table of what can be configured. The grammar of the file, the
 * long options, the checks, --help, the sample file and the manual are all read
 * from it; a test compares them. */
#ifndef WORKER_OPTION_H
#define WORKER_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kind;				/* how a value is written: see value.h */

enum scope { SCOPE_FILE, SCOPE_RULE, SCOPE_SUPPLY };

struct word {				/* the last of an array has text NULL */
	const char *text;
	int means;
};

#define OPTION_NOWHERE SIZE_MAX

struct option {
	const char *group;		/* heading, on the first row of a group */
	const char *name;
	const struct kind *kind;
	bool at_start;			/* a reload does not change it */
	const char *fallback;		/* as --name would say it; NULL in a rule: as outside */
	uint64_t least, most;		/* of numbers */
	const struct word *words;
	size_t at, size;		/* the field in config, rule or form; or OPTION_NOWHERE */
	const char *help;		/* one line */
	const char *text;		/* more for the manual, `code` in backquotes; or NULL */
};

const struct option *option_table(enum scope scope, unsigned *n);
const struct option *option_find(enum scope scope, const char *name);
/* The option most like `name`, or NULL when none is near. */
const char *option_suggest(enum scope scope, const char *name);
/* The word most like `text`, or NULL. */
const char *word_suggest(const struct word *words, const char *text);

#endif
