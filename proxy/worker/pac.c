/* pac: see the header. Patterns are compared by a function of our own in the script:
 * shExpMatch() differs between browsers in what it does with brackets. */
#include "worker/pac.h"

static const char head[] =
	"// Written by retrywith from its configuration.\n"
	"function matches(host, patterns) {\n"
	"    for (var i = 0; i < patterns.length; i++)\n"
	"        if (new RegExp(\"^(?:\" + patterns[i] + \")$\").test(host))\n"
	"            return true;\n"
	"    return false;\n"
	"}\n\n"
	"function FindProxyForURL(url, host) {\n";

/* A glob as a regular expression within a string of JavaScript. */
static void put_pattern(struct str glob, FILE *out)
{
	putc('"', out);
	for (size_t i = 0; i < glob.len; i++) {
		unsigned char c = (unsigned char)str_lower(glob.at[i]);

		if (c == '*')
			fputs(".*", out);
		else if (c == '?')
			putc('.', out);
		else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')
			putc(c, out);
		else
			fprintf(out, "\\\\x%02x", c);
	}
	putc('"', out);
}

static void put_patterns(const struct str *at, unsigned n, const char **comma, FILE *out)
{
	for (unsigned i = 0; i < n; i++) {
		fputs(*comma, out);
		put_pattern(at[i], out);
		*comma = ", ";
	}
}

/* Hosts of the rules that answer something. False: it is for any host, by one of
 * them, or because there is none and the default answers everywhere. */
static bool put_rules(const struct rules *r, const char **comma, FILE *out)
{
	unsigned answering = 0;
	bool everywhere = false;

	for (unsigned i = 0; i < rules_count(r); i++) {
		const struct rule *rule = rules_at(r, i);

		if (rule->mode != MODE_ANSWER || !rule->answer)
			continue;
		answering++;
		everywhere = everywhere || !rule->hosts_n;
		put_patterns(rule->hosts, rule->hosts_n, comma, out);
	}
	return answering && !everywhere;
}

void pac_write(const struct config *c, const char *proxy, FILE *out)
{
	const char *comma = "";
	bool listed;

	fputs(head, out);
	fprintf(out, "    var proxy = \"PROXY %s; DIRECT\";\n", proxy);
	fputs("    var inside = [", out);
	put_patterns(c->intercept.at, c->intercept.n, &comma, out);
	fputs("];\n    var named = [", out);
	comma = "";
	listed = put_rules(c->rules, &comma, out);
	fputs("];\n\n    host = host.toLowerCase();\n"
	      "    if (matches(host, inside))\n        return proxy;\n", out);
	fprintf(out, "    if (url.substring(0, 5).toLowerCase() == \"http:\"%s)\n"
		"        return proxy;\n    return \"DIRECT\";\n}\n",
		listed ? " && matches(host, named)" : "");
}
