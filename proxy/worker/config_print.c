/* config_print: the option table and a loaded configuration, as people and tools
 * read them: the effective file, the sample, --help, and the manual. */
#include "worker/config.h"

#include <ctype.h>
#include <stdlib.h>

#include "worker/loaded.h"
#include "worker/value.h"

enum { WIDTH = 79 };

/* --- a file that config_load() takes --- */

/* As libConfuse reads it back between quotes: ${NAME} is a variable, \ and " are
 * escaped. */
static void print_escaped(FILE *out, const char *text, size_t len)
{
	for (; len--; text++) {
		if (strchr("\"\\$", *text))
			putc('\\', out);
		putc(*text, out);
	}
}

static void print_quoted(FILE *out, const char *text)
{
	putc('"', out);
	print_escaped(out, text, strlen(text));
	putc('"', out);
}

/* A parent's URL without the password. */
static void print_parent(FILE *out, const char *url)
{
	const char *user = strstr(url, "://"), *at = strrchr(url, '@');
	const char *colon = user && at ? memchr(user + 3, ':', (size_t)(at - user - 3)) : NULL;

	if (!colon) {
		print_quoted(out, url);
		return;
	}
	putc('"', out);
	print_escaped(out, url, (size_t)(colon - url));
	fputs(":***", out);
	print_escaped(out, at, strlen(at));
	fputs("\"\t# the password is not shown", out);
}

static void print_value(FILE *out, const struct option *o, const char *text)
{
	if (o->kind == &kind_parent)
		print_parent(out, text);
	else if (o->kind->quoted)
		print_quoted(out, text);
	else
		fputs(text, out);
}

static void print_setting(FILE *out, const char *indent, const struct option *o,
			  const struct setting *s)
{
	bool list = o->kind->item_size > 0;

	fprintf(out, "%s%s = %s", indent, o->name, list ? "{" : "");
	for (unsigned i = 0; i < s->n; i++) {
		fputs(i ? ", " : "", out);
		print_value(out, o, s->at[i].text);
	}
	fputs(list ? "}\n" : "\n", out);
}

static void print_given(FILE *out, const char *indent, enum scope scope,
			const struct setting *all)
{
	unsigned n;
	const struct option *o = option_table(scope, &n);

	for (unsigned i = 0; i < n; i++)
		if (all[i].given)
			print_setting(out, indent, &o[i], &all[i]);
}

static void print_rule(FILE *out, const struct rule_form *r)
{
	fputs("\nrule ", out);
	print_quoted(out, r->name);
	fputs(" {\n", out);
	print_given(out, "\t", SCOPE_RULE, r->set);
	for (unsigned i = 0; i < r->supply_n; i++) {
		fputs("\tsupply ", out);
		print_quoted(out, r->supply[i].name);
		fputs(" {\n", out);
		print_given(out, "\t\t", SCOPE_SUPPLY, r->supply[i].set);
		fputs("\t}\n", out);
	}
	fputs("}\n", out);
}

void config_print(const struct config *c, FILE *out)
{
	const struct form *f = &((const struct loaded *)c)->form;
	unsigned n;
	const struct option *o = option_table(SCOPE_FILE, &n);

	fprintf(out, "# The effective configuration of retrywith %s.\n", RETRYWITH_VERSION);
	for (unsigned i = 0; i < n; i++) {
		if (o[i].group)
			fprintf(out, "\n# %s\n", o[i].group);
		print_setting(out, "", &o[i], &f->set[i]);
	}
	for (unsigned i = 0; i < f->rule_n; i++)
		print_rule(out, &f->rule[i]);
}

/* --- words in lines --- */

/* Lines that begin with `prefix`, of words that fit in WIDTH. */
static void print_wrapped(FILE *out, const char *prefix, const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (column && column + 1 + n > WIDTH) {
			putc('\n', out);
			column = 0;
		}
		fprintf(out, "%s%.*s", column ? " " : prefix, (int)n, text);
		column += (column ? 1 : strlen(prefix)) + n;
		text += n + strspn(text + n, " ");
	}
	putc('\n', out);
}

/* How a value is written: SIZE, or answer|observe|off. */
static const char *metavar(const struct option *o, char room[64])
{
	size_t n = 0;

	if (o->kind->metavar)
		return o->kind->metavar;
	for (const struct word *w = o->words; w->text && n < 64; w++)
		n += (size_t)snprintf(room + n, 64 - n, "%s%s", w == o->words ? "" : "|", w->text);
	return room;
}

/* --- the sample file --- */

static void print_default(FILE *out, const struct option *o)
{
	struct str list = str_of(o->fallback), item;
	bool first = true;
	char text[64];

	fprintf(out, "#%s = ", o->name);
	if (!o->kind->item_size) {
		print_value(out, o, o->fallback);
		putc('\n', out);
		return;
	}
	putc('{', out);
	while (str_list_next(&list, &item)) {
		snprintf(text, sizeof(text), "%.*s", STR_FMT(item));
		fputs(first ? "" : ", ", out);
		print_value(out, o, text);
		first = false;
	}
	fputs("}\n", out);
}

static const char sample_head[] =
	"# retrywith.conf: every option at its default.\n"
	"# Lines that begin with \"# \" explain; to change an option, take the # off its line.\n"
	"# Sizes: k, m, g (1024). Times: ms, s, m, h. See retrywith.conf(5).\n";

static const char sample_rules[] =
	"\n# --- Rules ---\n"
	"#\n"
	"# What is to be done differently for some requests. The first rule that matches\n"
	"# decides; what it does not say is as above. See retrywith.conf(5).\n"
	"#\n"
	"# rule \"orders\" {\n"
	"#     host = \"orders.corp.example\"\n"
	"#     path = \"/api/*\"\n"
	"#     answer = {\"echo\", \"supply\"}\n"
	"#     supply \"X-Session\" { from = \"header:X-Session-Id\" }\n"
	"#     supply \"X-Token\"   { from = \"file:token\" }\n"
	"#     supply \"X-Form\"    { from = \"body:/missing/token\" }\n"
	"# }\n"
	"# rule \"cosmos\" { host = \"*.documents.azure.com\"  answer = {\"backoff\"} }\n"
	"# rule \"old-ie\" { user-agent = \"*MSIE*\"  answer = {} }\n";

void config_print_sample(FILE *out)
{
	char room[64];
	unsigned n;
	const struct option *o = option_table(SCOPE_FILE, &n);

	fputs(sample_head, out);
	for (unsigned i = 0; i < n; i++) {
		if (o[i].group)
			fprintf(out, "\n# --- %s ---\n", o[i].group);
		fprintf(out, "\n# %c%s. Value: %s%s.\n", toupper((unsigned char)o[i].help[0]),
			o[i].help + 1, o[i].kind->item_size ? "list of " : "",
			metavar(&o[i], room));
		if (o[i].text)
			print_wrapped(out, "# ", o[i].text);
		print_default(out, &o[i]);
	}
	fputs(sample_rules, out);
}

/* --- --help --- */

void config_print_help(FILE *out)
{
	char room[64], left[64];
	unsigned n;
	const struct option *o = option_table(SCOPE_FILE, &n);

	for (unsigned i = 0; i < n; i++) {
		if (o[i].group)
			fprintf(out, "\n%s:\n", o[i].group);
		snprintf(left, sizeof(left), "--%s %s", o[i].name, metavar(&o[i], room));
		fprintf(out, "  %-32s %s", left, o[i].help);
		if (o[i].fallback[0])
			fprintf(out, " [%s]", o[i].fallback);
		putc('\n', out);
	}
}

/* --- retrywith.conf(5) --- */

/* `code` becomes bold; what roff would read as its own is escaped. */
static void print_roff(FILE *out, const char *text)
{
	bool code = false;

	for (const char *p = text; *p; p++) {
		if (*p == '`') {
			code = !code;
			fputs(code ? "\\fB" : "\\fR", out);
		} else if (*p == '\\') {
			fputs("\\e", out);
		} else if (*p == '-') {
			fputs("\\-", out);
		} else if (strchr(".'", *p) && (p == text || p[-1] == '\n')) {
			fprintf(out, "\\&%c", *p);
		} else {
			putc(*p, out);
		}
	}
}

static void print_man_option(FILE *out, const struct option *o)
{
	char room[64];

	fputs(".TP\n\\fB", out);
	print_roff(out, o->name);
	fputs("\\fR = ", out);
	if (o->kind->item_size)
		fputs("{", out);
	fputs("\\fI", out);
	print_roff(out, metavar(o, room));
	fputs(o->kind->item_size ? "\\fR, ...}\n" : "\\fR\n", out);
	putc(toupper((unsigned char)o->help[0]), out);
	print_roff(out, o->help + 1);
	fputs(".\n", out);
	if (o->text) {
		print_roff(out, o->text);
		putc('\n', out);
	}
	if (o->at_start)
		fputs("A reload does not change it: restart for that.\n", out);
	if (o->fallback && o->fallback[0]) {
		fputs("Default: \\fB", out);
		print_roff(out, o->fallback);
		fputs("\\fR.\n", out);
	}
}

static void print_man_options(FILE *out, enum scope scope)
{
	unsigned n;
	const struct option *o = option_table(scope, &n);

	for (unsigned i = 0; i < n; i++) {
		if (o[i].group)
			fprintf(out, ".SS %s\n", o[i].group);
		print_man_option(out, &o[i]);
	}
}

static const char man_head[] =
	".\\\" Printed by `retrywith --man` from the table of options: do not edit.\n"
	".TH RETRYWITH.CONF 5 \"\" \"retrywith\" \"File formats\"\n"
	".SH NAME\n"
	"retrywith.conf \\- configuration of the retrywith proxy\n"
	".SH DESCRIPTION\n";

static const char *const man_syntax[] = {
	"The file is read by retrywith(8) when it is named with `-c`; without a file all options are "
	"at their defaults. Every option is also a long option of the command line, where it wins "
	"over the file: `body-limit = 256M` is `--body-limit 256M`.",
	"A line is NAME = VALUE. Values with characters other than letters, digits, dots and colons "
	"are quoted. In double quotes `\\` escapes the next character and `${NAME}` is a variable of "
	"the environment, or nothing where that is not set; single quotes keep what they hold, which suits regular expressions. A "
	"list is `{VALUE, VALUE}`; one value may stand alone, and `+=` appends. On the command line "
	"a list option is repeated, or its values are separated by commas. Comments begin with `#` "
	"or `//`, or stand between `/*` and `*/`.",
	"Sizes are in octets, or have the unit k, m or g (powers of 1024). Times have the unit ms, s, "
	"m or h. Switches are yes, no, true, false, on or off; on the command line `--forward` and "
	"`--no-forward` will do.",
	"Files that are read (certificates, keys, secrets, `htpasswd`) are looked for in "
	"`$CREDENTIALS_DIRECTORY` first (see systemd.exec(5), LoadCredential=), as NAME or "
	"secrets_NAME, then beside the configuration file, as NAME or secrets/NAME; those of the "
	"command line in the working directory. The newline at the end of a secret is not part "
	"of it.",
	"`retrywith -t` checks a file; `retrywith -T` prints what it comes to.",
	NULL
};

static const char *const man_rules[] = {
	"`rule \"NAME\" { ... }` says what is to be done differently for some requests. Rules are "
	"tried in the order of the file; the first that matches decides. What it does not say is "
	"as outside of rules; without a matching rule, 449 responses with Ms-Echo-Request are "
	"answered and others are passed on. `retrywith match URL` tells which rule applies, and "
	"why the others do not.",
	NULL
};

static const char *const man_supply[] = {
	"`supply \"FIELD\" { ... }` inside of a rule names a header field that the replay carries, "
	"in the place of any of that name that the client sent.",
	"Not every field can be supplied: not those that we write ourselves (`Host`, `Via`, "
	"`Content-Length`, `Transfer-Encoding` and others that belong to one connection), not "
	"`Ms-Echo-Reply`, and not `Cookie`: cookies that a 449 sets are sent back anyhow, merged "
	"into the client's own.",
	"A value that is not in the 449, or that cannot stand in a header field, is not sent: the "
	"449 goes to the client, with the reason no-value. Regular expressions run with limits "
	"on steps and depth, JSON may be 64 levels deep, and the 449's body counts as far as "
	"`drain-limit`.",
	"HUP reads the files again; but credentials of a systemd service are copies made at its "
	"start, so a changed one needs a restart. What they hold is never shown.",
	NULL
};

static const char man_tail[] =
	".SH EXAMPLE\n"
	".nf\n"
	"listen = {\"127.0.0.1:3128\", \"[::1]:3128\"}\n"
	"body\\-limit = 256M\n"
	"rule \"orders\" {\n"
	"    host = \"orders.corp.example\"\n"
	"    path = \"/api/*\"\n"
	"    answer = {\"echo\", \"supply\"}\n"
	"    supply \"X\\-Session\" { from = \"header:X\\-Session\\-Id\" }\n"
	"    supply \"X\\-Token\"   { from = \"file:token\" }\n"
	"    supply \"X\\-Form\"    { from = 'body~name=\"csrf\" value=\"([^\"]+)\"' }\n"
	"}\n"
	"rule \"cosmos\" { host = \"*.documents.azure.com\"  answer = {\"backoff\"} }\n"
	"rule \"old\\-ie\" { user\\-agent = \"*MSIE*\"  answer = {} }\n"
	".fi\n"
	".SH SEE ALSO\n"
	".BR retrywith (8)\n";

static void print_man_prose(FILE *out, const char *const *paragraphs)
{
	for (unsigned i = 0; paragraphs[i]; i++) {
		fputs(i ? ".PP\n" : "", out);
		print_roff(out, paragraphs[i]);
		putc('\n', out);
	}
}

void config_print_man(FILE *out)
{
	fputs(man_head, out);
	print_man_prose(out, man_syntax);
	fputs(".SH OPTIONS\n", out);
	print_man_options(out, SCOPE_FILE);
	fputs(".SH RULES\n", out);
	print_man_prose(out, man_rules);
	print_man_options(out, SCOPE_RULE);
	fputs(".SS Fields to supply\n", out);
	print_man_prose(out, man_supply);
	print_man_options(out, SCOPE_SUPPLY);
	fputs(man_tail, out);
}
