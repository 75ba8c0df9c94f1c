/* form: the file and the command line, as text per option. The file's grammar is
 * libConfuse's; the options in it are the table's. It does not know what a value
 * means, nor which are required.
 *
 * libConfuse hands no pointer of ours to its callbacks, so the form being read
 * is a static; configurations are read by one thread, one at a time. */
#include "worker/form.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <confuse.h>

#include "worker/config.h"
#include "worker/value.h"

enum { FILE_FIRST = 1 << 16, FILE_MOST = 16 << 20, OPTIONS_MOST = 128 };

static struct reading {
	struct form *form;
	struct arena *arena;
	unsigned *section;		/* the lines on which sections begin, in order */
	unsigned sections, gathered;
} reading;

/* --- complaints --- */

static bool note(struct form *f, unsigned line, const char *name, const char *fmt, va_list ap)
{
	char *what = NULL, *all = NULL;

	if (f->complaint || vasprintf(&what, fmt, ap) < 0)
		return false;
	if (line && asprintf(&all, "%s:%u: %s%s%s", f->path, line, name ? name : "",
			     name ? ": " : "", what) < 0)
		all = NULL;
	if (!line && asprintf(&all, "%s%s%s%s", name ? "--" : "", name ? name : "",
			      name ? ": " : "", what) < 0)
		all = NULL;
	free(what);
	f->complaint = all;
	return false;
}

bool form_complain(struct form *f, const struct value *v, const char *name,
		   const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(f, v ? v->line : 0, name, fmt, ap);
	va_end(ap);
	return false;
}

static bool out_of_memory(struct form *f)
{
	return form_complain(f, NULL, NULL, "out of memory");
}

/* --- settings --- */

/* The members of a comma list, or the one value. */
static bool split(struct arena *a, const struct option *o, const char *text, struct setting *s)
{
	struct str list = str_of(text), item;
	unsigned n = s->n, room = n + 2;
	struct value *at;

	for (const char *p = text; *p; p++)
		room += *p == ',';
	at = arena_zero(a, room * sizeof(*at));
	if (!at)
		return false;
	if (n)
		memcpy(at, s->at, n * sizeof(*at));
	if (!o->kind->item_size)
		at[n++].text = arena_keepz(a, list);
	else
		while (str_list_next(&list, &item))
			at[n++].text = arena_keepz(a, item);
	s->at = at;
	s->n = n;
	return !arena_full(a);
}

struct setting *form_settings_new(struct arena *a, enum scope scope)
{
	unsigned n;
	const struct option *o = option_table(scope, &n);
	struct setting *all = arena_zero(a, n * sizeof(*all));

	for (unsigned i = 0; all && i < n; i++)
		if (o[i].fallback && !split(a, &o[i], o[i].fallback, &all[i]))
			return NULL;
	return all;
}

const struct setting *form_setting(const struct form *f, const char *name)
{
	unsigned n;
	const struct option *o = option_find(SCOPE_FILE, name);

	return &f->set[o - option_table(SCOPE_FILE, &n)];
}

/* --- the file --- */

static enum scope scope_of(cfg_t *cfg)
{
	const char *name = cfg_name(cfg);

	return strcmp(name, "rule") == 0 ? SCOPE_RULE :
	       strcmp(name, "supply") == 0 ? SCOPE_SUPPLY : SCOPE_FILE;
}

static int keep_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
	struct value *v = arena_zero(reading.arena, sizeof(*v));

	(void)opt;
	if (!v) {
		out_of_memory(reading.form);
		return -1;
	}
	v->text = arena_keepz(reading.arena, str_of(text));
	v->line = (unsigned)cfg->line;
	*(struct value **)result = v;
	return v->text ? 0 : -1;
}

/* libConfuse's message, put into our words where it lacks the hint. */
static void on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	const struct value at = { NULL, (unsigned)cfg->line };
	char text[256], name[64] = "";

	vsnprintf(text, sizeof(text), fmt, ap);
	if (sscanf(text, "no such option '%63[^']", name) == 1) {
		const char *near = option_suggest(scope_of(cfg), name);

		form_complain(reading.form, &at, NULL, "no such option '%s'%s%s%s", name,
			      scope_of(cfg) == SCOPE_FILE ? "" : " here",
			      near ? ", did you mean " : "", near ? near : "");
	} else if (sscanf(text, "found duplicate title '%63[^']", name) == 1) {
		form_complain(reading.form, &at, NULL, "\"%s\" is there twice", name);
	} else {
		form_complain(reading.form, &at, NULL, "%s", text);
	}
}

/* The options of a scope, and the section in it, if any. */
static void grammar(enum scope scope, cfg_opt_t *section, cfg_opt_t out[OPTIONS_MOST])
{
	unsigned n;
	const struct option *o = option_table(scope, &n);
	const cfg_opt_t end = CFG_END();

	for (unsigned i = 0; i < n; i++) {
		const cfg_opt_t one = CFG_PTR_CB(o[i].name, NULL, CFGF_NODEFAULT, keep_value, NULL);
		const cfg_opt_t list = CFG_PTR_LIST_CB(o[i].name, NULL, CFGF_NODEFAULT,
						       keep_value, NULL);

		out[i] = o[i].kind->item_size ? list : one;
	}
	if (section)
		out[n++] = *section;
	out[n] = end;
}

static cfg_t *parser_new(void)
{
	cfg_opt_t supply[OPTIONS_MOST], rule[OPTIONS_MOST], file[OPTIONS_MOST];
	cfg_opt_t of_rule = CFG_SEC("supply", supply,
				    CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
	cfg_opt_t of_file = CFG_SEC("rule", rule,
				    CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
	cfg_t *cfg;

	grammar(SCOPE_SUPPLY, NULL, supply);
	grammar(SCOPE_RULE, &of_rule, rule);
	grammar(SCOPE_FILE, &of_file, file);
	cfg = cfg_init(file, CFGF_NONE);
	if (cfg)
		cfg_set_error_function(cfg, on_error);
	return cfg;
}

/* What the section says, over what is there. "x = {}" says something too. */
static bool gather(cfg_t *cfg, enum scope scope, struct setting *all)
{
	unsigned n;
	const struct option *o = option_table(scope, &n);

	for (unsigned i = 0; i < n; i++) {
		cfg_opt_t *opt = cfg_getopt(cfg, o[i].name);
		unsigned size = cfg_opt_size(opt);
		struct value *at;

		if (!(opt->flags & CFGF_MODIFIED))
			continue;
		at = arena_zero(reading.arena, (size + 1) * sizeof(*at));
		if (!at)
			return out_of_memory(reading.form);
		for (unsigned k = 0; k < size; k++)
			at[k] = *(struct value *)cfg_opt_getnptr(opt, k);
		all[i] = (struct setting){ at, size, true };
	}
	return true;
}

/* libConfuse knows on which line a section ends. Sections are gathered in the order
 * in which they begin. */
static unsigned next_section(void)
{
	return reading.gathered < reading.sections ? reading.section[reading.gathered++] : 1;
}

static bool gather_supply(cfg_t *cfg, struct supply_form *s)
{
	s->name = arena_keepz(reading.arena, str_of(cfg_title(cfg)));
	s->line = next_section();
	s->set = form_settings_new(reading.arena, SCOPE_SUPPLY);
	return s->name && s->set ? gather(cfg, SCOPE_SUPPLY, s->set)
				 : out_of_memory(reading.form);
}

static bool gather_rule(cfg_t *cfg, struct rule_form *r)
{
	r->name = arena_keepz(reading.arena, str_of(cfg_title(cfg)));
	r->line = next_section();
	r->set = form_settings_new(reading.arena, SCOPE_RULE);
	r->supply_n = cfg_size(cfg, "supply");
	r->supply = arena_zero(reading.arena, (r->supply_n + 1) * sizeof(*r->supply));
	if (!r->name || !r->set || !r->supply)
		return out_of_memory(reading.form);
	for (unsigned i = 0; i < r->supply_n; i++)
		if (!gather_supply(cfg_getnsec(cfg, "supply", i), &r->supply[i]))
			return false;
	return gather(cfg, SCOPE_RULE, r->set);
}

static bool gather_file(cfg_t *cfg, struct form *f)
{
	f->rule_n = cfg_size(cfg, "rule");
	f->rule = arena_zero(reading.arena, (f->rule_n + 1) * sizeof(*f->rule));
	if (!f->rule)
		return out_of_memory(f);
	for (unsigned i = 0; i < f->rule_n; i++)
		if (!gather_rule(cfg_getnsec(cfg, "rule", i), &f->rule[i]))
			return false;
	return gather(cfg, SCOPE_FILE, f->set);
}

static bool at_word_start(const char *text, const char *p)
{
	return p == text || strchr(" \t\r\n={}(),", p[-1]) != NULL;
}

/* Blanks the comment that begins at p; where it ends. */
static char *blank_comment(char *p)
{
	bool block = p[0] == '/' && p[1] == '*';
	const char *end = block ? strstr(p + 2, "*/") : strchr(p, '\n');
	char *last = end ? p + (end - p) + (block ? 2 : 0) : strchr(p, '\0');

	for (; p < last; p++)
		if (*p != '\n')
			*p = ' ';
	return last;
}

/* Where the text stands, as libConfuse would read it. */
struct scan {
	char quote, before;		/* the last octet that was no blank */
	unsigned line, quoted_at, depth, opened_at;
};

static void scan_octet(struct scan *s, char c)
{
	if (c == '\n') {
		s->line++;
	} else if (s->quote) {
		if (c == s->quote)
			s->quote = '\0';
	} else if (c == '"' || c == '\'') {
		s->quote = c;
		s->quoted_at = s->line;
	} else if (c == '{') {
		if (s->depth++ == 0)
			s->opened_at = s->line;
		if (s->before != '=')
			reading.section[reading.sections++] = s->line;
	} else if (c == '}' && s->depth) {
		s->depth--;
	}
	if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
		s->before = c;
}

/* libConfuse 3.3 counts the lines of a comment twice, so that every line number
 * behind it would be wrong: it gets to see none. And it takes a section that the
 * end of the file cuts off for a whole one. */
static bool prepare(struct form *f, char *text)
{
	struct scan s = { .line = 1 };
	struct value at = { NULL, 0 };
	unsigned braces = 1;

	for (const char *p = text; *p; p++)
		braces += *p == '{';
	reading.section = arena_get(reading.arena, braces * sizeof(*reading.section));
	if (!reading.section)
		return out_of_memory(f);
	for (char *p = text; *p;) {
		bool comment = *p == '#' || (p[0] == '/' && (p[1] == '/' || p[1] == '*') &&
					     at_word_start(text, p));

		if (!s.quote && comment) {
			for (char *end = blank_comment(p); p < end; p++)
				scan_octet(&s, *p);
			continue;
		}
		if (s.quote && p[0] == '\\' && p[1])
			scan_octet(&s, *++p == '\n' ? '\n' : ' ');
		else
			scan_octet(&s, *p);
		p++;
	}
	at.line = s.quote ? s.quoted_at : s.opened_at;
	if (s.quote || s.depth)
		return form_complain(f, &at, NULL, "this %s is not closed",
				     s.quote ? "quote" : "brace");
	return true;
}

/* What is in the file and room for a NUL behind it, or NULL: errno. */
static char *read_text(FILE *in, size_t *n)
{
	char *text = NULL, *wider;
	size_t room = 0;

	*n = 0;
	do {
		room = room ? 2 * room : FILE_FIRST;
		wider = realloc(text, room + 1);
		if (!wider) {
			free(text);
			return NULL;
		}
		text = wider;
		*n += fread(text + *n, 1, room - *n, in);
	} while (*n == room && room < FILE_MOST);
	return text;
}

/* The whole file with a NUL behind it, or NULL: errno. */
static char *slurp(const char *path)
{
	FILE *in = fopen(path, "re");
	char *text;
	size_t n;
	int error;

	if (!in)
		return NULL;
	text = read_text(in, &n);
	error = !text || ferror(in) ? errno : n == FILE_MOST ? EFBIG : 0;
	fclose(in);
	if (!error) {
		text[n] = '\0';
		error = strlen(text) != n ? EILSEQ : 0;
	}
	if (!error)
		return text;
	free(text);
	errno = error;
	return NULL;
}

static bool parse(struct form *f, char *text)
{
	cfg_t *cfg = parser_new();
	bool good = false;

	if (!cfg)
		return out_of_memory(f);
	if (!prepare(f, text))
		good = false;
	else if (cfg_parse_buf(cfg, text) == CFG_SUCCESS)
		good = gather_file(cfg, f);
	else if (!f->complaint)
		form_complain(f, NULL, NULL, "%s: cannot be parsed", f->path);
	cfg_free(cfg);
	return good && !f->complaint;
}

bool form_read(struct form *f, struct arena *a, const char *path)
{
	char *text;
	bool good;

	*f = (struct form){ .path = path ? arena_keepz(a, str_of(path)) : NULL };
	f->set = form_settings_new(a, SCOPE_FILE);
	if (!f->set)
		return out_of_memory(f);
	if (!path)
		return true;
	text = slurp(path);
	if (!text)
		return form_complain(f, NULL, NULL, "%s: %s", path, strerror(errno));
	reading = (struct reading){ .form = f, .arena = a };
	good = parse(f, text);
	reading = (struct reading){ .form = NULL };
	free(text);
	return good;
}

/* --- the command line --- */

static bool override(struct form *f, struct arena *a, const struct config_override *o,
		     bool *seen)
{
	unsigned n;
	const struct option *table = option_table(SCOPE_FILE, &n);
	const struct option *option = option_find(SCOPE_FILE, o->name);
	struct setting *s;

	if (!option) {
		const char *near = option_suggest(SCOPE_FILE, o->name);

		return form_complain(f, NULL, o->name, "no such option%s%s",
				     near ? ", did you mean --" : "", near ? near : "");
	}
	s = &f->set[option - table];
	if (!seen[option - table] || !option->kind->item_size)
		*s = (struct setting){ .given = true };
	seen[option - table] = true;
	return split(a, option, o->value, s) || out_of_memory(f);
}

bool form_override(struct form *f, struct arena *a, const struct config_override *o, unsigned n)
{
	bool seen[OPTIONS_MOST] = { false };

	for (unsigned i = 0; i < n; i++)
		if (!override(f, a, &o[i], seen))
			return false;
	return true;
}
