/* completion: see the header. What is offered as a value follows from the kind of
 * an option: its words, files, or nothing. Neither script calls the program. */
#include "worker/completion.h"

#include <string.h>

#include "worker/value.h"

static bool is_file(const struct option *o)
{
	return o->kind == &kind_file || o->kind == &kind_path || o->kind == &kind_secret ||
	       o->kind == &kind_log || o->kind == &kind_log_or_off;
}

static void print_words(FILE *out, const struct option *o)
{
	for (const struct word *w = o->words; w->text; w++)
		fprintf(out, "%s%s", w == o->words ? "" : " ", w->text);
}

/* -- bash ----------------------------------------------------------------------------- */

static const char bash_head[] =
	"# bash completion for retrywith(8). Printed by `retrywith --completion bash` from the\n"
	"# table of options: do not edit.\n"
	"\n"
	"_retrywith()\n"
	"{\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	"\tlocal command= more= word\n"
	"\n"
	"\tCOMPREPLY=()\n"
	"\t# bash takes --name=value for three words.\n"
	"\tif [[ $cur == = ]]; then\n"
	"\t\tcur=\n"
	"\telif [[ $prev == = ]]; then\n"
	"\t\tprev=${COMP_WORDS[COMP_CWORD-2]}\n"
	"\tfi\n"
	"\tcase $prev in\n";

static const char bash_commands[] =
	"\tesac\n"
	"\tfor word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
	"\t\tcase $word in\n";

static const char bash_options[] =
	"\t\tesac\n"
	"\tdone\n"
	"\tif [[ -z $command && $cur != -* ]]; then\n"
	"\t\tmapfile -t COMPREPLY < <(compgen -W '%s' -- \"$cur\")\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tif [[ $cur != -* ]]; then\n"
	"\t\tmapfile -t COMPREPLY < <(compgen -W \"$more\" -- \"$cur\")\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tmapfile -t COMPREPLY < <(compgen -W \"$more\"'\n";

static const char bash_tail[] =
	"\t' -- \"$cur\")\n"
	"}\n"
	"complete -F _retrywith retrywith\n";

static bool is_any_file(const struct option *o)
{
	return !o->words && is_file(o);
}

static bool is_free(const struct option *o)
{
	return !o->words && !is_file(o) && !o->kind->is_switch;
}

/* One branch for all options whose values are completed alike. */
static void bash_branch(FILE *out, bool (*belongs)(const struct option *), const char *first,
			const char *does)
{
	unsigned n;
	const struct option *o = option_table(SCOPE_FILE, &n);
	const char *between = first;

	fputs("\t", out);
	for (unsigned i = 0; i < n; i++) {
		if (!belongs(&o[i]))
			continue;
		fprintf(out, "%s--%s", between, o[i].name);
		between = "|";
	}
	fprintf(out, ")\n%s", does);
}

static void bash_values(FILE *out)
{
	unsigned n;
	const struct option *o = option_table(SCOPE_FILE, &n);

	for (unsigned i = 0; i < n; i++) {
		if (!o[i].words)
			continue;
		fprintf(out, "\t--%s)\n\t\tmapfile -t COMPREPLY < <(compgen -W '", o[i].name);
		print_words(out, &o[i]);
		fputs("' -- \"$cur\")\n\t\treturn ;;\n", out);
	}
	bash_branch(out, is_any_file, "-c|",
		    "\t\tcompopt -o filenames\n"
		    "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
		    "\t\treturn ;;\n");
	bash_branch(out, is_free, "", "\t\treturn ;;\n");
	fputs("\t--completion)\n\t\tmapfile -t COMPREPLY < <(compgen -W 'bash zsh' -- \"$cur\")\n"
	      "\t\treturn ;;\n", out);
}

static void print_bash(const struct completion *c, FILE *out)
{
	unsigned n;
	const struct option *o = option_table(SCOPE_FILE, &n);
	char names[256] = "";

	fputs(bash_head, out);
	bash_values(out);
	fputs(bash_commands, out);
	for (unsigned i = 0; i < c->commands_n; i++) {
		const struct completion_word *w = &c->commands[i];

		fprintf(out, "\t\t%s) command=$word more='%s' ;;\n", w->name, w->more);
		snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
			 i ? " " : "", w->name);
	}
	fprintf(out, bash_options, names);
	for (unsigned i = 0; i < c->switches_n; i++)
		fprintf(out, "\t%s\n", c->switches[i].name);
	for (unsigned i = 0; i < n; i++) {
		fprintf(out, "\t--%s\n", o[i].name);
		if (o[i].kind->is_switch)
			fprintf(out, "\t--no-%s\n", o[i].name);
	}
	fputs(bash_tail, out);
}

/* -- zsh ------------------------------------------------------------------------------- */

static const char zsh_head[] =
	"#compdef retrywith\n"
	"# Printed by `retrywith --completion zsh` from the table of options: do not edit.\n"
	"\n"
	"local -a commands\n"
	"commands=(\n";

static const char zsh_options[] =
	")\n"
	"\n"
	"local curcontext=$curcontext state line\n"
	"_arguments -C \\\n";

static const char zsh_tail[] =
	"\t'-c[read the configuration from a file]:file:_files' \\\n"
	"\t'1: :->command' \\\n"
	"\t'*:: :->more' && return\n"
	"\n"
	"case $state in\n"
	"command)\n"
	"\t_describe command commands ;;\n"
	"more)\n"
	"\tcase $words[1] in\n";

/* Inside of single quotes, inside of [ ] and between colons. */
static void zsh_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\'') {
			fputs("'\\''", out);
			continue;
		}
		if (strchr("[]:\\", *text))
			putc('\\', out);
		putc(*text, out);
	}
}

static void zsh_value(FILE *out, const struct option *o)
{
	if (o->words) {
		fputs("value:(", out);
		print_words(out, o);
		putc(')', out);
	} else if (is_file(o)) {
		fputs("file:_files", out);
	} else {
		zsh_escaped(out, o->kind->metavar);
		putc(':', out);
	}
}

static void zsh_option(FILE *out, const struct option *o)
{
	fprintf(out, "\t'%s--%s%s[", o->kind->item_size ? "*" : "", o->name,
		o->kind->is_switch ? "" : "=");
	zsh_escaped(out, o->help);
	putc(']', out);
	if (!o->kind->is_switch) {
		putc(':', out);
		zsh_value(out, o);
	}
	fputs("' \\\n", out);
	if (!o->kind->is_switch)
		return;
	fprintf(out, "\t'--no-%s[not\\: ", o->name);
	zsh_escaped(out, o->help);
	fputs("]' \\\n", out);
}

static void print_zsh(const struct completion *c, FILE *out)
{
	unsigned n;
	const struct option *o = option_table(SCOPE_FILE, &n);

	fputs(zsh_head, out);
	for (unsigned i = 0; i < c->commands_n; i++) {
		fprintf(out, "\t'%s:", c->commands[i].name);
		zsh_escaped(out, c->commands[i].help);
		fputs("'\n", out);
	}
	fputs(zsh_options, out);
	for (unsigned i = 0; i < c->switches_n; i++) {
		fprintf(out, "\t'%s[", c->switches[i].name);
		zsh_escaped(out, c->switches[i].help);
		fputs("]' \\\n", out);
	}
	for (unsigned i = 0; i < n; i++)
		zsh_option(out, &o[i]);
	fputs(zsh_tail, out);
	for (unsigned i = 0; i < c->commands_n; i++)
		if (*c->commands[i].more)
			fprintf(out, "\t%s) compadd -- %s ;;\n", c->commands[i].name,
				c->commands[i].more);
	fputs("\tesac ;;\nesac\n", out);
}

bool completion_print(const struct completion *c, const char *shell, FILE *out)
{
	if (strcmp(shell, "bash") == 0)
		print_bash(c, out);
	else if (strcmp(shell, "zsh") == 0)
		print_zsh(c, out);
	else
		return false;
	return true;
}
