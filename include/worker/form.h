/* form: a configuration as text, line by line: what the file and the command line
 * say, before anything of it is understood. libConfuse is known here only.
 * Not thread-safe: its parser keeps global state. Everything lives in the arena. */
#ifndef WORKER_FORM_H
#define WORKER_FORM_H

#include "ground/arena.h"
#include "worker/option.h"

struct config_override;

struct value {
	const char *text;
	unsigned line;			/* 0: the command line, or a default */
};

struct setting {			/* of one option */
	const struct value *at;
	unsigned n;			/* 1, unless the option is a list */
	bool given;
};

struct supply_form {
	const char *name;
	unsigned line;
	struct setting *set;		/* as option_table(SCOPE_SUPPLY) */
};

struct rule_form {
	const char *name;
	unsigned line;
	struct setting *set;		/* as option_table(SCOPE_RULE) */
	struct supply_form *supply;
	unsigned supply_n;
};

struct form {
	const char *path;		/* of the file; NULL: none */
	struct setting *set;		/* as option_table(SCOPE_FILE); defaults filled in */
	struct rule_form *rule;
	unsigned rule_n;
	char *complaint;		/* malloc'ed: the first thing that was wrong */
};

/* All options of the scope at their defaults; NULL: out of memory. */
struct setting *form_settings_new(struct arena *a, enum scope scope);
/* path NULL: defaults only. False: see complaint. */
bool form_read(struct form *f, struct arena *a, const char *path);
/* Lists: the first replaces what the file says, the next are appended. */
bool form_override(struct form *f, struct arena *a, const struct config_override *o, unsigned n);
/* Notes "FILE:LINE: name: ..." or "--name: ..." unless something was noted before.
 * Returns false, to be passed on. */
__attribute__((format(printf, 4, 5)))
bool form_complain(struct form *f, const struct value *v, const char *name,
		   const char *fmt, ...);
const struct setting *form_setting(const struct form *f, const char *name);

#endif
