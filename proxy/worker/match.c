/* match: a request is put to `access` and `rules` as the proxy would do it, and
 * what they say is put into words. */
#include "worker/match.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <sysexits.h>

#include "worker/loaded.h"
#include "policy/access.h"
#include "policy/rules.h"

struct query {
	struct str method, user_agent, path;
	struct url url;
};

/* Two columns: what, and what of it. */
__attribute__((format(printf, 2, 3)))
static void say(const char *what, const char *fmt, ...)
{
	va_list ap;

	printf("%-10s", what);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static const struct rule_form *form_of(const struct config *c, unsigned i)
{
	return &((const struct loaded *)c)->form.rule[i];
}

static const char *misses(const struct rule *r, const struct query *q)
{
	return rule_misses(r, q->url.host, q->path, q->method, q->user_agent);
}

/* --- the rule --- */

static void say_list(const char *what, const struct str *at, unsigned n)
{
	if (n == 0)
		return;
	printf("          %s is ", what);
	for (unsigned i = 0; i < n; i++)
		printf("%s%.*s", i == 0 ? "" : i + 1 < n ? ", " : " or ", STR_FMT(at[i]));
	putchar('\n');
}

static void say_rule(const struct config *c, const struct rule *r)
{
	for (unsigned i = 0; i < rules_count(c->rules); i++) {
		if (rules_at(c->rules, i) != r)
			continue;
		say("rule", "\"%.*s\", line %u of %.*s, is the first that matches:",
		    STR_FMT(r->name), form_of(c, i)->line, STR_FMT(c->file));
		say_list("the host", r->hosts, r->hosts_n);
		say_list("the path", &r->path, r->path.len > 0);
		say_list("the method", r->methods, r->methods_n);
		say_list("the User-Agent", &r->user_agent, r->user_agent.len > 0);
		return;
	}
	say("rule", "%s, so what is said outside of rules applies",
	    rules_count(c->rules) ? "none matches" : "there is none");
}

static void say_supplied(const struct supply *s)
{
	const char *how = s->always ? "with every request" : "with a replay";

	switch (s->from) {
	case SUPPLY_FIXED:
		if (s->secret)
			say("", "sends %.*s: (a secret from a file) %s", STR_FMT(s->name), how);
		else
			say("", "sends %.*s: %.*s %s", STR_FMT(s->name), STR_FMT(s->text), how);
		return;
	case SUPPLY_HEADER:
		say("", "sends %.*s with a replay, from field %.*s of the 449", STR_FMT(s->name),
		    STR_FMT(s->text));
		return;
	case SUPPLY_COOKIE:
		say("", "sends %.*s with a replay, from cookie %.*s of the 449", STR_FMT(s->name),
		    STR_FMT(s->text));
		return;
	case SUPPLY_POINTER:
		say("", "sends %.*s with a replay, from %.*s in the JSON of the 449",
		    STR_FMT(s->name), STR_FMT(s->text));
		return;
	case SUPPLY_REGEX:
		say("", "sends %.*s with a replay, from what /%.*s/ finds in the 449",
		    STR_FMT(s->name), STR_FMT(s->text));
		return;
	}
}

static void say_answers(const struct rule *r)
{
	const char *what = "answers";

	if (r->answer & ANSWER_ECHO) {
		say(what, "echo: a 449 with Ms-Echo-Request, by a replay with Ms-Echo-Reply");
		what = "";
	}
	if (r->answer & ANSWER_SUPPLY) {
		say(what, "supply: any 449, by a replay with the fields below");
		what = "";
	}
	if (r->answer & ANSWER_BACKOFF) {
		say(what, "backoff: a 449 without Ms-Echo-Request, by waiting %u ms and more",
		    r->backoff.first_ms);
		what = "";
	}
	if (r->answer == 0)
		say(what, "nothing: every 449 goes to the client");
	for (unsigned i = 0; i < r->supply_n; i++)
		say_supplied(&r->supply[i]);
}

static bool is_method(const struct query *q, struct str name)
{
	return str_eq(q->method, name);
}

static void say_replays(const struct rule *r, const struct query *q)
{
	if (is_method(q, STR("CONNECT")) || is_method(q, STR("TRACE"))) {
		say("replays", "never: %.*s is not replayed", STR_FMT(q->method));
		return;
	}
	switch (r->mode) {
	case MODE_OFF:
		say("replays", "never: mode is off");
		return;
	case MODE_OBSERVE:
		say("replays", "never: mode is observe, so it is only logged");
		return;
	case MODE_ANSWER:
		break;
	}
	say("replays", "at most %u%s", r->max_replays,
	    r->replay_idempotent_only ? ", of idempotent methods only" : "");
	if (r->answer & ANSWER_BACKOFF)
		say("", "at most %u after waiting, which takes %u ms in all at the most",
		    r->backoff.most, r->backoff.total_ms);
	say("", "only where Retry-After asks for no more than %u ms", r->retry_after_max_ms);
	if (!r->learn)
		return;
	say("", "spared by learning: a value accepted twice goes with later requests of");
	say("", "the same client address for %u s", r->learn_ttl_ms / 1000);
}

static void say_unanswered(const struct config *c, const struct rule *r)
{
	if (r->mode != MODE_OBSERVE && c->on_unanswered == UNANSWERED_502)
		say("otherwise", "a 449 becomes a 502 that says why (on-unanswered)");
	else
		say("otherwise", "a 449 goes to the client as it came");
}

static void say_others(const struct config *c, const struct rule *found, const struct query *q)
{
	const char *what = "others";

	for (unsigned i = 0; i < rules_count(c->rules); i++) {
		const struct rule *r = rules_at(c->rules, i);
		const char *why = misses(r, q);

		if (r == found)
			continue;
		if (why)
			say(what, "\"%.*s\" does not match: its %s is another", STR_FMT(r->name),
			    why);
		else
			say(what, "\"%.*s\" matches too, but comes later", STR_FMT(r->name));
		what = "";
	}
}

/* --- access --- */

/* Is the host an address? Then it can be judged now. */
static bool literal(const struct url *u, struct sockaddr_storage *out)
{
	struct sockaddr_in *in4 = (void *)out;
	struct sockaddr_in6 *in6 = (void *)out;
	char z[INET6_ADDRSTRLEN];

	*out = (struct sockaddr_storage){ 0 };
	if (u->host.len >= sizeof(z))
		return false;
	memcpy(z, u->host.at, u->host.len);
	z[u->host.len] = '\0';
	if (u->literal6) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(u->port);
		return inet_pton(AF_INET6, z, &in6->sin6_addr) == 1;
	}
	in4->sin_family = AF_INET;
	in4->sin_port = htons(u->port);
	return inet_pton(AF_INET, z, &in4->sin_addr) == 1;
}

static void say_access(const struct config *c, const struct query *q)
{
	const struct url *u = &q->url;
	struct sockaddr_storage to;
	enum why why = access_host(u->host, u->literal6);

	if (why == WHY_DONE && u->form == URL_ABSOLUTE)
		why = access_url_port(&c->access, u->port);
	if (why != WHY_DONE)
		say("access", "refused: %s", why_text(why));
	else if (!literal(u, &to))
		say("access", "the name is fine; its addresses are judged when they are known");
	else if ((why = access_target(&c->access, NULL, (void *)&to)) != WHY_DONE)
		say("access", "refused: %s", why_text(why));
	else
		say("access", "allowed, for a client on this host");
	if (u->scheme != SCHEME_HTTPS && u->form != URL_AUTHORITY)
		return;
	why = access_connect_port(&c->access, u->port);
	if (why != WHY_DONE)
		say("", "CONNECT to port %u is refused: %s", u->port, why_text(why));
	else
		say("", "CONNECT to port %u is allowed", u->port);
}

static void say_tls(const struct config *c, const struct query *q)
{
	if (q->url.scheme != SCHEME_HTTPS && q->url.form != URL_AUTHORITY)
		return;
	for (unsigned i = 0; i < c->intercept.n; i++) {
		if (!str_glob(c->intercept.at[i], q->url.host))
			continue;
		say("tls", "opened, since intercept names %.*s", STR_FMT(c->intercept.at[i]));
		return;
	}
	say("tls", "not opened in a tunnel: intercept does not name the host, so a 449 inside");
	say("", "is not seen (requests with an https URL, or to an https origin, are)");
}

/* --- the command --- */

static int usage(const char *why)
{
	fprintf(stderr, "retrywith match: %s\n"
		"usage: retrywith " MATCH_USAGE "\n", why);
	return EX_USAGE;
}

/* --NAME VALUE or --NAME=VALUE; *i moves to the last word of it. */
static bool is_option(const char *name, int argc, char **argv, int *i, struct str *value)
{
	size_t n = strlen(name);
	const char *word = argv[*i];

	if (strncmp(word, name, n) != 0 || (word[n] != '=' && word[n] != '\0'))
		return false;
	if (word[n] == '\0' && *i + 1 == argc)
		return false;
	*value = str_of(word[n] ? word + n + 1 : argv[++*i]);
	return true;
}

static bool read_query(int argc, char **argv, struct query *q, const char **url)
{
	*url = NULL;
	for (int i = 1; i < argc; i++) {
		if (is_option("--method", argc, argv, &i, &q->method) ||
		    is_option("--user-agent", argc, argv, &i, &q->user_agent))
			continue;
		if (*url || argv[i][0] == '-')
			return false;
		*url = argv[i];
	}
	return *url != NULL;
}

int match_main(struct config *c, int argc, char **argv)
{
	struct query q = { .method = STR("GET"), .user_agent = STR("") };
	const struct rule *r;
	const char *url;
	enum why why;

	if (!read_query(argc, argv, &q, &url))
		return usage("want one URL");
	if (!header_is_token(q.method))
		return usage("the method is not a token");
	why = url_parse_target(str_of(url), is_method(&q, STR("CONNECT")), &q.url);
	if (why == WHY_DONE && q.url.form != URL_ABSOLUTE && q.url.form != URL_AUTHORITY)
		return usage("the URL lacks its scheme, did you mean http://...");
	if (why != WHY_DONE)
		return usage(arena_print(c->arena, "%s: %s, want http://HOST/... or https://HOST/...",
					 url, why_text(why)).at);
	q.path = q.url.path.len && q.url.path.at[0] == '/' ? q.url.path
		: arena_print(c->arena, "/%.*s", STR_FMT(q.url.path));
	r = rules_find(c->rules, q.url.host, q.path, q.method, q.user_agent);
	say("request", "%.*s %s", STR_FMT(q.method), url);
	say_rule(c, r);
	say_answers(r);
	say_replays(r, &q);
	say_unanswered(c, r);
	say_others(c, r, &q);
	say_access(c, &q);
	say_tls(c, &q);
	return 0;
}
