/* config_rule: the rules of the file, and the fields they supply, from their forms.
 * What a rule does not say is taken from the rule for all the rest, which is made
 * of the options outside of rules. */
#include "worker/loaded.h"

#include <stdio.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { PATTERN_MOST = 4096, PATTERN_DEPTH = 50 };

/* --- supply sections --- */

static const struct value *supply_value(const struct supply_form *s, const char *name)
{
	unsigned n;
	const struct option *o = option_find(SCOPE_SUPPLY, name);
	const struct setting *set = &s->set[o - option_table(SCOPE_SUPPLY, &n)];

	return set->given ? &set->at[0] : NULL;
}

static void free_pattern(void *code)
{
	pcre2_code_free(code);
}

static bool compile(struct loading *l, const struct value *v, struct supply *s)
{
	pcre2_compile_context *limits = pcre2_compile_context_create(NULL);
	PCRE2_UCHAR words[128] = "";
	PCRE2_SIZE offset = 0;
	int error = 0;

	if (!limits)
		return form_complain(l->form, NULL, NULL, "out of memory");
	pcre2_set_max_pattern_length(limits, PATTERN_MOST);
	pcre2_set_parens_nest_limit(limits, PATTERN_DEPTH);
	s->compiled = pcre2_compile((PCRE2_SPTR)s->text.at, s->text.len,
				    PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
				    limits);
	pcre2_compile_context_free(limits);
	if (s->compiled)
		return arena_at_end(l->arena, free_pattern, s->compiled);
	pcre2_get_error_message(error, words, sizeof(words));
	return form_complain(l->form, v, "from", "regular expression, at offset %zu: %s",
			     (size_t)offset, (const char *)words);
}

static bool supply_header(struct loading *l, const struct value *v, struct supply *s)
{
	return header_is_token(s->text) ||
	       form_complain(l->form, v, "from", "\"%.*s\" is not a field name",
			     STR_FMT(s->text));
}

static bool supply_cookie(struct loading *l, const struct value *v, struct supply *s)
{
	return header_is_token(s->text) ||
	       form_complain(l->form, v, "from", "\"%.*s\" is not a cookie name",
			     STR_FMT(s->text));
}

static bool supply_pointer(struct loading *l, const struct value *v, struct supply *s)
{
	return s->text.len == 0 || s->text.at[0] == '/' ||
	       form_complain(l->form, v, "from", "\"body:%.*s\": a JSON pointer begins with /, "
			     "did you mean body:/%.*s", STR_FMT(s->text), STR_FMT(s->text));
}

static bool supply_file(struct loading *l, const struct value *v, struct supply *s)
{
	l->taker.name = "from";
	s->secret = true;
	if (!value_secret(&l->taker, v, &s->text))
		return false;
	return header_is_value(s->text) ||
	       form_complain(l->form, v, "from", "%s does not hold a field value (one line, "
			     "no control characters)", v->text);
}

static const struct source {
	const char *prefix;
	enum supply_source from;
	bool (*check)(struct loading *l, const struct value *v, struct supply *s);
} sources[] = {
	{ "header:", SUPPLY_HEADER, supply_header },
	{ "cookie:", SUPPLY_COOKIE, supply_cookie },
	{ "file:", SUPPLY_FIXED, supply_file },
	{ "body:", SUPPLY_POINTER, supply_pointer },
	{ "body~", SUPPLY_REGEX, compile },
};

static const char source_wants[] = "header:NAME, cookie:NAME, file:NAME, body:/POINTER or "
				   "body~REGEX";

/* "hdr:Y", "X-Session": what was meant? */
static bool no_source(struct loading *l, const struct value *v)
{
	static const struct word words[] = { { "header", 0 }, { "cookie", 0 }, { "file", 0 },
					     { "body", 0 }, { NULL, 0 } };
	struct str said = STR_NONE, rest = STR_NONE;
	bool prefixed = str_cut(str_of(v->text), ':', &said, &rest);
	struct str bare = prefixed ? rest : str_of(v->text);
	const char *near = prefixed ? word_suggest(words, arena_keepz(l->arena, said)) : "header";

	if (!near || !header_is_token(bare))
		return form_complain(l->form, v, "from", "\"%s\" is not a source (want %s)", v->text,
				     source_wants);
	return form_complain(l->form, v, "from", "\"%s\" is not a source (want %s), did you mean "
			     "%s:%.*s", v->text, source_wants, near, STR_FMT(bare));
}

static bool supply_from(struct loading *l, const struct value *v, struct supply *s)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
		struct str prefix = str_of(sources[i].prefix);

		if (!str_starts(str_of(v->text), prefix))
			continue;
		s->from = sources[i].from;
		s->text = str_from(str_of(v->text), prefix.len);
		return sources[i].check(l, v, s);
	}
	return no_source(l, v);
}

/* May a rule set this field? Framing, routing and the echo are ours. So is Cookie:
 * what a 449 sets is merged into the client's own, and a rule's would be instead of
 * all of them, which would log its users out. */
static bool is_ours(struct str name)
{
	enum header_id id = header_lookup(name);

	return (header_traits(id) & (TRAIT_HOP | TRAIT_FRAMING)) || id == HEADER_HOST ||
	       id == HEADER_EXPECT || id == HEADER_VIA || id == HEADER_MAX_FORWARDS ||
	       id == HEADER_TRAILER || id == HEADER_MS_ECHO_REPLY || id == HEADER_COOKIE;
}

static bool take_supply(struct loading *l, const struct supply_form *form, struct supply *s)
{
	const struct value at = { form->name, form->line };
	const struct value *from = supply_value(form, "from");
	const struct value *fixed = supply_value(form, "value");

	s->name = str_of(form->name);
	if (!header_is_token(s->name) || is_ours(s->name))
		return form_complain(l->form, &at, "supply", header_is_token(s->name) ?
				     "%s is a field that we write ourselves" :
				     "\"%s\" is not a field name", form->name);
	if (!config_take(l, SCOPE_SUPPLY, form->set, true, s))
		return false;
	if (!from == !fixed)
		return form_complain(l->form, &at, "supply", "%s wants either from or value",
				     form->name);
	if (from && !supply_from(l, from, s))
		return false;
	if (fixed)
		s->text = str_of(fixed->text);
	if (s->from == SUPPLY_FIXED && !header_is_value(s->text))
		return form_complain(l->form, fixed, "value", "\"%s\" is not a field value",
				     fixed->text);
	if (s->always && s->from != SUPPLY_FIXED)
		return form_complain(l->form, &at, "supply", "%s: always wants value or "
				     "file:NAME, since there is no 449 to read from", form->name);
	return true;
}

/* --- rules --- */

static const struct setting *rule_setting(const struct rule_form *form, const char *name)
{
	unsigned n;
	const struct option *o = option_find(SCOPE_RULE, name);

	return &form->set[o - option_table(SCOPE_RULE, &n)];
}

static bool check_rule(struct loading *l, const struct rule_form *form, const struct rule *r)
{
	const struct value at = { form->name, form->line };
	unsigned on_challenge = 0;

	for (unsigned i = 0; i < r->supply_n; i++)
		on_challenge += !r->supply[i].always;
	if ((r->answer & ANSWER_SUPPLY) && r->supply_n == 0)
		return form_complain(l->form, &at, "rule", "\"%s\" answers supply, but has no "
				     "supply section", form->name);
	if (!(r->answer & ANSWER_SUPPLY) && on_challenge)
		return form_complain(l->form, &at, "rule", "\"%s\" has a supply section, but "
				     "answer does not name supply", form->name);
	if ((r->client_cert.len == 0) != (r->client_key.len == 0))
		return form_complain(l->form, &at, "rule", "\"%s\" wants client-cert and "
				     "client-key together", form->name);
	return true;
}

static bool take_rule(struct loading *l, const struct rule_form *form, struct rule *r)
{
	r->name = str_of(form->name);
	r->supply = arena_zero(l->arena, (form->supply_n + 1) * sizeof(*r->supply));
	r->supply_n = form->supply_n;
	if (!r->supply)
		return form_complain(l->form, NULL, NULL, "out of memory");
	if (!config_take(l, SCOPE_RULE, form->set, true, r))
		return false;
	for (unsigned i = 0; i < form->supply_n; i++)
		if (!take_supply(l, &form->supply[i], &r->supply[i]))
			return false;
	if (form->supply_n && !rule_setting(form, "answer")->given)
		r->answer |= ANSWER_SUPPLY;
	return check_rule(l, form, r);
}

/* The rule for all that no rule is for: what is said outside of rules. */
static bool default_rule(struct loading *l, struct rule *r)
{
	const struct config *c = l->config;
	struct setting *all;
	unsigned n;
	const struct option *o = option_table(SCOPE_RULE, &n);

	*r = (struct rule){ .name = STR("(default)"), .mode = c->mode,
			    .max_replays = (uint8_t)c->max_replays,
			    .replay_idempotent_only = c->replay_idempotent_only,
			    .retry_after_max_ms = c->retry_after_max,
			    .drain_limit = (uint32_t)c->drain_limit,
			    .expect_threshold = c->expect_threshold };
	all = form_settings_new(l->arena, SCOPE_RULE);
	if (!all)
		return form_complain(l->form, NULL, NULL, "out of memory");
	for (unsigned i = 0; i < n; i++)
		if (o[i].fallback && !value_take(&l->taker, &o[i], &all[i], (char *)r + o[i].at))
			return false;
	return true;
}

bool config_take_rules(struct loading *l)
{
	struct rule otherwise, rule;

	if (!default_rule(l, &otherwise))
		return false;
	l->config->rules = rules_new(l->arena, &otherwise);
	if (!l->config->rules)
		return form_complain(l->form, NULL, NULL, "out of memory");
	for (unsigned i = 0; i < l->form->rule_n; i++) {
		rule = otherwise;
		if (!take_rule(l, &l->form->rule[i], &rule))
			return false;
		if (!rules_add(l->config->rules, &rule))
			return form_complain(l->form, NULL, NULL, "out of memory");
	}
	return rules_seal(l->config->rules) || form_complain(l->form, NULL, NULL, "out of memory");
}

