/* config: the option table against everything that is printed from it, good and
 * bad files, the command line, secrets, and the way there and back. (P18) */
#include "worker/config.h"

#include <sys/stat.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/tls1.h>

#include "worker/option.h"
#include "worker/value.h"
#include "ground/log.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static char directory[] = "/tmp/retrywith-config-XXXXXX";

static const char *path_of(const char *name)
{
	static char path[4][256];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", directory, name);
	return path[turn];
}

static const char *write_file(const char *name, const char *text)
{
	const char *path = path_of(name);
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
	return path;
}

static struct config *load_with(const char *text, const struct config_override *o, unsigned n)
{
	const char *path = text ? write_file("t.conf", text) : NULL;
	char *err = NULL;
	struct config *c = config_load(path, o, n, &err);

	if (!c)
		fail_msg("%s", err);
	assert_null(err);
	return c;
}

static struct config *load(const char *text)
{
	return load_with(text, NULL, 0);
}

/* The complaint, without the directory. */
static void expect_bad_with(const char *text, const struct config_override *o, unsigned n,
			    const char *want)
{
	const char *path = text ? write_file("t.conf", text) : NULL;
	char *err = NULL, *got;
	struct config *c = config_load(path, o, n, &err);

	if (c)
		fail_msg("no complaint about: %s", text ? text : o->value);
	assert_non_null(err);
	got = strncmp(err, directory, strlen(directory)) == 0 ? err + strlen(directory) + 1 : err;
	if (strcmp(got, want) != 0)
		fail_msg("got  %s\nwant %s", got, want);
	free(err);
}

static void expect_bad(const char *text, const char *want)
{
	expect_bad_with(text, NULL, 0, want);
}

typedef void print_fn(FILE *out);

static char *printed(print_fn *fn, const struct config *c)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	assert_non_null(out);
	if (fn)
		fn(out);
	else
		config_print(c, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void assert_str(struct str got, const char *want)
{
	if (!str_eq(got, str_of(want)))
		fail_msg("got '%.*s', want '%s'", STR_FMT(got), want);
}

/* --- what loads --- */

static const char example[] =
	"listen = {\"127.0.0.1:3128\", \"[::1]:3128\"}\n"
	"body-limit = 256M\n"
	"rule \"orders\" {\n"
	"    host = \"orders.corp.example\"\n"
	"    path = \"/api/*\"\n"
	"    answer = {\"echo\", \"supply\"}\n"
	"    supply \"X-Session\" { from = \"header:X-Session-Id\" }\n"
	"    supply \"X-Token\"   { from = \"file:token\" }          # $CREDENTIALS_DIRECTORY/token\n"
	"    supply \"X-Form\"    { from = \"body:/missing/token\" }  # JSON pointer; \"body~REGEX\" captures\n"
	"}\n"
	"rule \"cosmos\" { host = \"*.documents.azure.com\"  answer = {\"backoff\"} }\n"
	"rule \"old-ie\" { user-agent = \"*MSIE*\"  answer = {} }\n";

static void test_example(void **state)
{
	struct config *c;
	const struct rule *r;

	(void)state;
	write_file("token", "s3cret\r\n\n");
	c = load(example);
	assert_int_equal(c->listen.n, 2);
	assert_str(c->listen.at[1], "[::1]:3128");
	assert_int_equal(c->body_limit, 256 << 20);
	assert_int_equal(rules_count(c->rules), 3);
	r = rules_find(c->rules, STR("Orders.corp.example"), STR("/api/1"), STR("PUT"), STR(""));
	assert_str(r->name, "orders");
	assert_int_equal(r->answer, ANSWER_ECHO | ANSWER_SUPPLY);
	assert_int_equal(r->supply_n, 3);
	assert_int_equal(r->supply[0].from, SUPPLY_HEADER);
	assert_str(r->supply[0].text, "X-Session-Id");
	assert_int_equal(r->supply[1].from, SUPPLY_FIXED);
	assert_str(r->supply[1].text, "s3cret");
	assert_true(r->supply[1].secret);
	assert_int_equal(r->supply[2].from, SUPPLY_POINTER);
	assert_str(r->supply[2].text, "/missing/token");
	r = rules_find(c->rules, STR("a.documents.azure.com"), STR("/"), STR("GET"), STR(""));
	assert_int_equal(r->answer, ANSWER_BACKOFF);
	r = rules_find(c->rules, STR("x"), STR("/"), STR("GET"), STR("MSIE"));
	assert_str(r->name, "old-ie");
	assert_int_equal(r->answer, 0);
	config_release(c);
}

static void test_defaults(void **state)
{
	struct config *c = load_with(NULL, NULL, 0);
	const struct rule *r = rules_find(c->rules, STR("h"), STR("/"), STR("GET"), STR(""));

	(void)state;
	assert_int_equal(c->file.len, 0);
	assert_int_equal(c->listen.n, 2);
	assert_str(c->listen.at[0], "127.0.0.1:3128");
	assert_int_equal(c->access.own_n, 2);
	assert_int_equal(c->origin.host.len, 0);
	assert_int_equal(c->parent.url.host.len, 0);
	assert_true(c->forward);
	assert_false(c->transparent);
	assert_int_equal(c->workers, 0);
	assert_int_equal(c->body_memory, 64 << 10);
	assert_int_equal(c->body_limit, 64 << 20);
	assert_int_equal(c->spool_total, 512 << 20);
	assert_int_equal(c->head_limit, 64 << 10);
	assert_int_equal(c->fields_limit, 200);
	assert_int_equal(c->min_rate, 500);
	assert_int_equal(c->mode, MODE_ANSWER);
	assert_int_equal(c->on_unanswered, UNANSWERED_PASS);
	assert_int_equal(c->max_replays, 1);
	assert_false(c->replay_idempotent_only);
	assert_int_equal(c->drain_limit, 64 << 10);
	assert_int_equal(c->retry_after_max, 2000);
	assert_int_equal(c->expect_threshold, 64 << 10);
	assert_int_equal(c->access.connect_ports.n, 1);
	assert_int_equal(c->access.connect_ports.at[0].first, 443);
	assert_int_equal(c->access.allow.n, 0);
	assert_int_equal(c->tls_min, TLS1_2_VERSION);
	assert_true(c->proxy_status);
	assert_str(c->access_log, "-");
	assert_int_equal(c->log_level, LEVEL_NOTICE);
	assert_int_equal(c->response_timeout, 300000);
	assert_int_equal(c->tunnel_timeout, 3600000);
	assert_int_equal(c->drain_timeout, 30000);
	assert_int_equal(r->answer, ANSWER_ECHO);
	assert_int_equal(r->backoff.first_ms, 10);
	assert_int_equal(r->backoff.factor, 2);
	assert_int_equal(r->backoff.step_most_ms, 1000);
	assert_int_equal(r->backoff.jitter_ms, 5);
	assert_int_equal(r->backoff.total_ms, 1000);
	assert_int_equal(r->backoff.most, 3);
	assert_int_equal(r->max_replays, 1);
	assert_int_equal(r->learn_ttl_ms, 300000);
	config_release(c);
}

static const char everything[] =
	"listen = \"0.0.0.0:8080\" listen += {'[::]:8080', \"unix:/run/r.sock\"}\n"
	"listen-tls = \"127.0.0.1:8443\" listen-cert = cert.pem listen-key = /abs/key.pem\n"
	"origin = \"https://[fd00::1]:8443\" forward = off transparent = true\n"
	"workers = 3 user = nobody\n"
	"mode = observe on-unanswered = 502 max-replays = 2 replay-methods = idempotent\n"
	"drain-limit = 1m retry-after-max = 1500ms breaker-trips = 0 breaker-pause = 2m\n"
	"expect-threshold = never\n"
	"body-memory = 128K body-limit = 1g spool-total = 2G spool-dir = /spool\n"
	"allow = {\"10.0.0.0/8\", ::1, 127.0.0.0/8} deny = \"10.6.6.0/24\"\n"
	"max-clients = 5000 max-clients-per-address = 64 htpasswd = users\n"
	"connect-ports = {443, \"8000-8999\"} deny-to = fd00::/8 allow-to = 127.0.0.1\n"
	"parent = 'http://me%40corp:p%3aw@proxy.example:3128/'\n"
	"no-proxy = {corp.example, \"10.0.0.0/8\"} dns-servers = {10.0.0.53, \"[::1]:5353\"}\n"
	"hosts-file = hosts upstream-ca = ca.pem upstream-crl = crl.pem tls-min = 1.3\n"
	"intercept = {\"*.Corp.Example\"} ca-cert = c.pem ca-key = k.pem client-tls-min = 1.0\n"
	"via = edge-1 proxy-status = no admin = \"unix:/run/a.sock\"\n"
	"access-log = off log-format = json log-query = yes error-log = e.log log-level = debug\n"
	"head-limit = 16K fields-limit = 50 min-rate = 0 idle-timeout = 0 tunnel-timeout = 24h\n"
	"rule \"a\\\"b\" { host = {A.example, \"*.b.example\"} path = '/x?y*' method = {GET, POST}\n"
	"  user-agent = '*\"quoted\" \\d $x ${HOME}*' mode = off max-replays = 5\n"
	"  replay-methods = all drain-limit = 0 retry-after-max = 1m expect-threshold = 5\n"
	"  backoff-first = 1ms backoff-factor = 3 backoff-step-max = 2s backoff-jitter = 0\n"
	"  backoff-total = 5s backoff-replays = 7 learn = yes learn-ttl = 1h\n"
	"  client-cert = cc.pem client-key = /ck.pem\n"
	"  pinned-sha256 = 'AA:bb:00112233445566778899aabbccddeeff00112233445566778899aabbccdd'\n"
	"  supply X-A { value = \"v w\" always = on }\n"
	"  supply X-B { from = 'body~t=\"(\\w+)\"' }\n"
	"  supply X-C { from = \"cookie:SID\" } }\n";

static void test_everything(void **state)
{
	struct config *c = load(everything);

	(void)state;
	assert_int_equal(c->listen.n, 3);
	assert_str(c->listen.at[2], "unix:/run/r.sock");
	assert_str(c->listen_cert, path_of("cert.pem"));
	assert_str(c->listen_key, "/abs/key.pem");
	assert_str(c->origin.host, "fd00::1");
	assert_int_equal(c->origin.port, 8443);
	assert_int_equal(c->origin.scheme, SCHEME_HTTPS);
	assert_false(c->forward);
	assert_true(c->transparent);
	assert_int_equal(c->mode, MODE_OBSERVE);
	assert_int_equal(c->on_unanswered, UNANSWERED_502);
	assert_true(c->replay_idempotent_only);
	assert_int_equal(c->retry_after_max, 1500);
	assert_true(c->expect_threshold == UINT64_MAX);
	assert_int_equal(c->body_limit, 1 << 30);
	assert_int_equal(c->access.allow.n, 3);
	assert_int_equal(c->access.connect_ports.n, 2);
	assert_int_equal(c->access.connect_ports.at[1].last, 8999);
	assert_str(c->parent.url.host, "proxy.example");
	assert_int_equal(c->parent.url.port, 3128);
	assert_str(c->parent.authorization, "Basic bWVAY29ycDpwOnc=");	/* me@corp:p:w */
	assert_int_equal(c->no_proxy.n, 2);
	assert_str(c->dns_servers, "10.0.0.53,[::1]:5353");
	assert_int_equal(c->dns_servers.at[c->dns_servers.len], '\0');
	assert_str(c->intercept.at[0], "*.corp.example");
	assert_int_equal(c->tls_min, TLS1_3_VERSION);
	assert_int_equal(c->client_tls_min, TLS1_VERSION);
	assert_str(c->via, "edge-1");
	assert_int_equal(c->log_level, LEVEL_DEBUG);
	assert_int_equal(c->log_format, LOG_JSON);
	assert_int_equal(c->idle_timeout, 0);
	assert_int_equal(c->tunnel_timeout, 86400000);
	assert_true(c->access.own_n >= 4);		/* and one each interface */
	config_release(c);
}

static void test_everything_in_a_rule(void **state)
{
	struct config *c = load(everything);
	const struct rule *r = rules_at(c->rules, 0);

	(void)state;
	assert_str(r->name, "a\"b");
	assert_str(r->hosts[0], "a.example");
	assert_str(r->user_agent, "*\"quoted\" \\d $x ${HOME}*");
	assert_int_equal(r->mode, MODE_OFF);
	assert_int_equal(r->max_replays, 5);
	assert_false(r->replay_idempotent_only);
	assert_int_equal(r->drain_limit, 0);
	assert_int_equal(r->expect_threshold, 5);
	assert_int_equal(r->backoff.factor, 3);
	assert_int_equal(r->backoff.most, 7);
	assert_true(r->learn);
	assert_str(r->client_cert, path_of("cc.pem"));
	assert_str(r->pinned_sha256,
		   "aabb00112233445566778899aabbccddeeff00112233445566778899aabbccdd");
	assert_int_equal(r->answer, ANSWER_ECHO | ANSWER_SUPPLY);
	assert_true(r->supply[0].always);
	assert_str(r->supply[0].text, "v w");
	assert_int_equal(r->supply[1].from, SUPPLY_REGEX);
	assert_non_null(r->supply[1].compiled);
	assert_int_equal(r->supply[2].from, SUPPLY_COOKIE);
	config_release(c);
}

/* A rule says only what is different. */
static void test_rules_inherit(void **state)
{
	struct config *c = load("max-replays = 4 mode = observe drain-limit = 1K\n"
				"retry-after-max = 7s replay-methods = idempotent\n"
				"expect-threshold = 9\n"
				"rule \"r\" { host = h max-replays = 0 }\n");
	const struct rule *r = rules_at(c->rules, 0);
	const struct rule *d = rules_find(c->rules, STR("x"), STR("/"), STR("GET"), STR(""));

	(void)state;
	assert_int_equal(r->max_replays, 0);
	assert_int_equal(d->max_replays, 4);
	assert_int_equal(r->mode, MODE_OBSERVE);
	assert_int_equal(d->mode, MODE_OBSERVE);
	assert_int_equal(r->drain_limit, 1024);
	assert_int_equal(r->retry_after_max_ms, 7000);
	assert_true(r->replay_idempotent_only && d->replay_idempotent_only);
	assert_int_equal(r->expect_threshold, 9);
	assert_int_equal(r->answer, ANSWER_ECHO);
	config_release(c);
}

/* --- what does not --- */

static void test_complaints(void **state)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "\n\nbody-limit = 12parsecs\n", "t.conf:3: body-limit: \"12parsecs\" is not a "
		  "size such as 64K or 256M" },
		{ "body-limit = 256MB", "t.conf:1: body-limit: \"256MB\" is not a size such as 64K "
		  "or 256M, did you mean 256M" },
		{ "body-limit = 99999999999999999999999", "t.conf:1: body-limit: "
		  "\"99999999999999999999999\" is not a size such as 64K or 256M" },
		{ "body-limit = 99999999999g", "t.conf:1: body-limit: 99999999999g is out of range, "
		  "want 0 to 1024G" },
		{ "idle-timeout = 30", "t.conf:1: idle-timeout: \"30\" is not a time such as 500ms, "
		  "30s, 5m or 1h, did you mean 30s" },
		{ "idle-timeout = '5 minutes'", "t.conf:1: idle-timeout: \"5 minutes\" is not a time "
		  "such as 500ms, 30s, 5m or 1h, did you mean 5m" },
		{ "idle-timeout = 25h", "t.conf:1: idle-timeout: 25h is out of range, want 0ms to "
		  "24h" },
		{ "workers = -1", "t.conf:1: workers: \"-1\" is not a number such as 4" },
		{ "workers = 5000", "t.conf:1: workers: 5000 is out of range, want 0 to 1024" },
		{ "mode = obsrve", "t.conf:1: mode: \"obsrve\" is none of: answer, observe, off, did "
		  "you mean observe" },
		{ "tls-min = 1.4", "t.conf:1: tls-min: \"1.4\" is none of: 1.0, 1.1, 1.2, 1.3" },
		{ "access-log = none", "t.conf:1: access-log: \"none\" is not a log (want a path, - "
		  "or off), did you mean off" },
		{ "access-log = Off", "t.conf:1: access-log: \"Off\" is not a log (want a path, - "
		  "or off), did you mean off" },
		{ "access-log = syslog", "t.conf:1: access-log: \"syslog\" is not a log (want a path, "
		  "- or off), did you mean -" },
		{ "error-log = none", "t.conf:1: error-log: it cannot be off; say - or a file, and "
		  "log-level = error for less" },
		{ "error-log = stderr", "t.conf:1: error-log: \"stderr\" is not a log (want a path or "
		  "-), did you mean -" },
		{ "connect-ports = \"90-80\"", "t.conf:1: connect-ports: \"90-80\" ends before it "
		  "begins, did you mean 80-90" },
		{ "connect-ports = \"9x-8\"", "t.conf:1: connect-ports: \"9x-8\" is not a port (want "
		  "e.g. 443 or 8000-8999)" },
		{ "forward = maybe", "t.conf:1: forward: \"maybe\" is none of: yes, no, true, false, "
		  "on, off" },
		{ "max-replay = 2\n", "t.conf:1: no such option 'max-replay', did you mean "
		  "max-replays" },
		{ "xyzzy = 2\n", "t.conf:1: no such option 'xyzzy'" },
		{ "rules \"x\" { }", "t.conf:1: no such option 'rules', did you mean rule" },
		{ "rule \"x\" {\n hots = h\n}", "t.conf:2: no such option 'hots' here, did you mean "
		  "host" },
		{ "rule \"x\" { supply \"A\" {\n\n form = x } }", "t.conf:3: no such option 'form' "
		  "here, did you mean from" },
		{ "rule \"x\" { }\nrule \"x\" { }", "t.conf:2: \"x\" is there twice" },
		{ "listen 3128", "t.conf:1: missing equal sign after option 'listen'" },
		{ "listen = {\"127.0.0.1:1\",\n\n\"3128\"}", "t.conf:3: listen: \"3128\" is not an "
		  "address (want ADDR:PORT, [ADDR]:PORT or unix:PATH), did you mean 127.0.0.1:3128" },
		{ "listen = \"localhost:80\"", "t.conf:1: listen: \"localhost:80\" is not an address "
		  "(want ADDR:PORT, [ADDR]:PORT or unix:PATH), did you mean 127.0.0.1:80" },
		{ "\nrule \"x\" {\n host = \"h\n\n", "t.conf:3: this quote is not closed" },
		{ "\nrule \"x\" {\n host = {\n", "t.conf:2: this brace is not closed" },
		{ "rule \"x\" { }\n}", "t.conf:2: unexpected closing brace" },
		{ "workers =\n", "t.conf:2: premature end of file" },
		{ "allow = 10.0.0.1/8", "t.conf:1: allow: \"10.0.0.1/8\" is not a network (want e.g. "
		  "10.0.0.0/8 or fd00::/8, host bits zero)" },
		{ "origin = \"http://h/path\"", "t.conf:1: origin: \"http://h/path\" is not an "
		  "origin (want http://HOST:PORT or https://HOST:PORT, no path)" },
		{ "parent = \"http://u:secret@h\"", "t.conf:1: parent: the port is missing, did you "
		  "mean http://h:3128" },
		{ "parent = \"socks://u:secret@h:1\"", "t.conf:1: parent: this is not a proxy (want "
		  "http://HOST:PORT or http://USER:PASSWORD@HOST:PORT)" },
		{ "rule x { host = \"http://h/\" }", "t.conf:1: host: \"http://h/\" is not a host "
		  "(want a name or a pattern such as *.corp.example, without scheme, port or path)" },
		{ "rule x { host = \"h:80\" }", "t.conf:1: host: \"h:80\" is not a host (want a name "
		  "or a pattern such as *.corp.example, without scheme, port or path)" },
		{ "rule x { path = api }", "t.conf:1: path: \"api\" is not a path (want a pattern "
		  "that begins with / or *)" },
		{ "rule x { answer = {echo,\nsuply} }", "t.conf:2: answer: \"suply\" is none of: "
		  "echo, supply, backoff, did you mean supply" },
		{ "rule x { answer = supply }", "t.conf:1: rule: \"x\" answers supply, but has no "
		  "supply section" },
		{ "rule x { answer = echo\n supply A { value = v } }", "t.conf:1: rule: \"x\" has a "
		  "supply section, but answer does not name supply" },
		{ "allow = {\n}\nrule w {\n host = {a,\nb}\n}\nrule x {\n\n supply A\n { value = v }\n"
		  " supply B\n\n {\n}\n}\n", "t.conf:13: supply: B wants either from or value" },
		{ "rule x { client-cert = c }", "t.conf:1: rule: \"x\" wants client-cert and "
		  "client-key together" },
		{ "rule x {\n supply A { from = 'body~a(b' } }", "t.conf:2: from: regular "
		  "expression, at offset 3: missing closing parenthesis" },
		{ "rule x { supply A { from = X-B } }", "t.conf:1: from: \"X-B\" is not a source "
		  "(want header:NAME, cookie:NAME, file:NAME, body:/POINTER or body~REGEX), did you "
		  "mean header:X-B" },
		{ "rule x { supply A { from = \"hdr:X-B\" } }", "t.conf:1: from: \"hdr:X-B\" is not a "
		  "source (want header:NAME, cookie:NAME, file:NAME, body:/POINTER or body~REGEX), "
		  "did you mean header:X-B" },
		{ "rule x { supply A { from = \"status:X-B\" } }", "t.conf:1: from: \"status:X-B\" is "
		  "not a source (want header:NAME, cookie:NAME, file:NAME, body:/POINTER or "
		  "body~REGEX)" },
		{ "rule x { supply A { from = \"body:a/b\" } }", "t.conf:1: from: \"body:a/b\": a "
		  "JSON pointer begins with /, did you mean body:/a/b" },
		{ "rule x { supply A { from = \"header:a b\" } }", "t.conf:1: from: \"a b\" is not a "
		  "field name" },
		{ "rule x { supply A { } }", "t.conf:1: supply: A wants either from or value" },
		{ "rule x { supply A { from = \"header:b\" value = c } }", "t.conf:1: supply: A wants "
		  "either from or value" },
		{ "rule x { supply A { from = \"header:b\" always = yes } }", "t.conf:1: supply: A: "
		  "always wants value or file:NAME, since there is no 449 to read from" },
		{ "rule x { supply Content-Length { value = 1 } }", "t.conf:1: supply: "
		  "Content-Length is a field that we write ourselves" },
		{ "rule x { supply host { value = 1 } }", "t.conf:1: supply: host is a field that we "
		  "write ourselves" },
		{ "rule x { supply Connection { value = 1 } }", "t.conf:1: supply: Connection is a "
		  "field that we write ourselves" },
		{ "rule x { supply Cookie { value = 1 } }", "t.conf:1: supply: Cookie is a field "
		  "that we write ourselves" },
		{ "rule x { supply Ms-Echo-Reply { value = 1 } }", "t.conf:1: supply: Ms-Echo-Reply "
		  "is a field that we write ourselves" },
		{ "rule x { supply \"a b\" { value = 1 } }", "t.conf:1: supply: \"a b\" is not a "
		  "field name" },
		{ "rule x { supply A { value = \" a\" } }", "t.conf:1: value: \" a\" is not a field "
		  "value" },
		{ "\nlisten = {\"127.0.0.1:1\", \"0.0.0.0:3128\"}", "t.conf:2: listen: other hosts "
		  "can reach 0.0.0.0:3128, so say in allow which networks may use the proxy, e.g. "
		  "allow = {\"10.0.0.0/8\", \"127.0.0.0/8\"}" },
		{ "admin = \"[::]:9090\"", "t.conf:1: admin: other hosts can reach [::]:9090, so say "
		  "in allow which networks may use the proxy, e.g. allow = {\"10.0.0.0/8\", "
		  "\"127.0.0.0/8\"}" },
		{ "listen-tls = \"127.0.0.1:1\"", "t.conf:1: listen-tls: this needs listen-cert" },
		{ "intercept = \"*\"", "t.conf:1: intercept: this needs ca-cert (make one with "
		  "`retrywith ca init`)" },
		{ "forward = no", "t.conf:1: forward: without it there is nothing to serve: this "
		  "needs origin" },
		{ "body-limit = 1G", "t.conf:1: body-limit: 1G is more than spool-total, 512M: no "
		  "such body could ever be kept" },
		{ "spool-total = 1M", "t.conf:1: spool-total: 1M is less than body-limit, 64M: no "
		  "such body could ever be kept" },
		{ "parent = \"http://h:1\" parent-password-file = t.conf", "t.conf:1: parent: "
		  "parent-password-file needs a user here: http://USER@HOST:PORT" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		expect_bad(rows[i].text, rows[i].want);
}

/* libConfuse 3.3 miscounts comments; we do not. */
static void test_lines_behind_comments(void **state)
{
	(void)state;
	expect_bad("# one\n#\n## two # three\n\nworkers = x\n",
		   "t.conf:5: workers: \"x\" is not a number such as 4");
	expect_bad("// one\n/* two\n three */ /**/\nworkers = x\n",
		   "t.conf:4: workers: \"x\" is not a number such as 4");
	expect_bad("user = \"# no // comment /* here\" # but here\nworkers = x\n",
		   "t.conf:2: workers: \"x\" is not a number such as 4");
	expect_bad("user = 'a\nb' user = 'it\\'s # text' workers = x",
		   "t.conf:2: workers: \"x\" is not a number such as 4");
	expect_bad("user = \"a\\\nb\" workers = x",
		   "t.conf:2: workers: \"x\" is not a number such as 4");
	expect_bad("origin = http://h:80 # unquoted\nworkers = x\n",
		   "t.conf:2: workers: \"x\" is not a number such as 4");
}

/* An octet 1 is no value of any option: each says where, who, and what it wants. */
static void test_every_option_refuses(void **state)
{
	static const char *const open[] = { "", "rule r {\n", "rule r { supply S {\n" };
	static const char *const close[] = { "", "}\n", "}}\n" };

	(void)state;
	for (enum scope s = SCOPE_FILE; s <= SCOPE_SUPPLY; s++) {
		unsigned n;
		const struct option *o = option_table(s, &n);

		for (unsigned i = 0; i < n; i++) {
			char text[256], where[256], *err = NULL;
			const char *path;

			snprintf(text, sizeof(text), "\n%s# c\n%s = \"\\x01\"\n%s", open[s],
				 o[i].name, close[s]);
			path = write_file("t.conf", text);
			snprintf(where, sizeof(where), "%s:%u: %s: ", path, s ? 4 : 3,
				 o[i].name);
			assert_null(config_load(path, NULL, 0, &err));
			if (strncmp(err, where, strlen(where)) != 0)
				fail_msg("got %s, want %s", err, where);
			if (!strstr(err, "want") && !strstr(err, "such as") &&
			    !strstr(err, "none of:") && !strstr(err, "yes or no"))
				fail_msg("no hint in %s", err);
			free(err);
		}
	}
}

static void test_bad_files(void **state)
{
	char want[256], *err = NULL;
	const char *path = path_of("nul.conf");
	FILE *out = fopen(path, "w");

	(void)state;
	fwrite("workers = 1\n\0x", 1, 14, out);
	fclose(out);
	assert_null(config_load(path, NULL, 0, &err));
	assert_non_null(strstr(err, "nul.conf: "));
	free(err);
	assert_null(config_load(directory, NULL, 0, &err));
	snprintf(want, sizeof(want), "%s: Is a directory", directory);
	assert_string_equal(err, want);
	free(err);
	assert_null(config_load(path_of("nowhere.conf"), NULL, 0, &err));
	assert_non_null(strstr(err, "nowhere.conf: No such file"));
	free(err);
	config_release(load(""));
	config_release(load("# only a comment"));
	config_release(load("/* never closed {\""));
}

/* The example cut anywhere: it loads, or there is a complaint. */
static void test_torn_files(void **state)
{
	unsigned loaded = 0;

	(void)state;
	write_file("token", "x\n");
	for (size_t n = 0; n <= strlen(example); n++) {
		char *text = strndup(example, n), *err = NULL;
		struct config *c = config_load(write_file("torn.conf", text), NULL, 0, &err);

		loaded += c != NULL;
		assert_true((c == NULL) == (err != NULL));
		config_release(c);
		free(err);
		free(text);
	}
	assert_in_range(loaded, 5, 200);
}

/* --- the command line --- */

static void test_overrides(void **state)
{
	static const struct config_override o[] = {
		{ "listen", "127.0.0.1:1" }, { "workers", "2" }, { "listen", "[::1]:2" },
		{ "connect-ports", "443, 8443,9000-9001" }, { "workers", "5" },
		{ "body-limit", "1m" }, { "allow-to", "" }, { "user", "a, b" },
	};
	struct config *c = load_with("listen = {\"127.0.0.1:7\", \"127.0.0.1:8\"} workers = 9\n"
				     "allow-to = 127.0.0.1 rule r { host = h }\n", o, COUNT(o));

	(void)state;
	assert_int_equal(c->listen.n, 2);
	assert_str(c->listen.at[0], "127.0.0.1:1");
	assert_str(c->listen.at[1], "[::1]:2");
	assert_int_equal(c->workers, 5);
	assert_int_equal(c->body_limit, 1 << 20);
	assert_int_equal(c->access.connect_ports.n, 3);
	assert_int_equal(c->access.connect_ports.at[2].last, 9001);
	assert_int_equal(c->access.allow_to.n, 0);
	assert_str(c->user, "a, b");
	assert_int_equal(rules_count(c->rules), 1);
	config_release(c);
}

static void test_bad_overrides(void **state)
{
	static const struct { struct config_override o; const char *want; } rows[] = {
		{ { "workers", "x" }, "--workers: \"x\" is not a number such as 4" },
		{ { "body-limt", "5" }, "--body-limt: no such option, did you mean --body-limit" },
		{ { "zzzzz", "5" }, "--zzzzz: no such option" },
		{ { "mode", "of" }, "--mode: \"of\" is none of: answer, observe, off, did you mean "
		  "off" },
		{ { "listen", "10.0.0.1:80" }, "--listen: other hosts can reach 10.0.0.1:80, so "
		  "say in allow which networks may use the proxy, e.g. allow = {\"10.0.0.0/8\", "
		  "\"127.0.0.0/8\"}" },
		{ { "body-limit", "1G" }, "--body-limit: 1G is more than spool-total, 512M: no such "
		  "body could ever be kept" },
		{ { "parent-password-file", "/nowhere/at/all" }, "--parent-password-file: cannot "
		  "read /nowhere/at/all: No such file or directory" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		expect_bad_with("workers = 1\n", &rows[i].o, 1, rows[i].want);
}

static void test_knows(void **state)
{
	bool takes_value;

	(void)state;
	assert_true(config_knows("listen", &takes_value) && takes_value);
	assert_true(config_knows("forward", &takes_value) && !takes_value);
	assert_false(config_knows("rule", &takes_value));
	assert_string_equal(config_suggest("lisen"), "listen");
	assert_null(config_suggest("rulé"));
	assert_null(config_suggest("completely-different"));
}

static void test_again(void **state)
{
	static const struct config_override o[] = { { "listen", "127.0.0.1:1" } };
	struct config *c = load_with("workers = 1", o, 1), *next;
	char *err;

	(void)state;
	write_file("t.conf", "workers = 2 listen = \"127.0.0.1:9\"");
	next = config_again(c, &err);
	assert_non_null(next);
	config_release(c);
	assert_int_equal(next->workers, 2);
	assert_str(next->listen.at[0], "127.0.0.1:1");
	write_file("t.conf", "workers = x");
	assert_null(config_again(next, &err));
	assert_non_null(strstr(err, "t.conf:1: workers"));
	free(err);
	assert_ptr_equal(config_hold(next), next);
	config_release(next);
	assert_int_equal(next->workers, 2);
	config_release(next);
}

static void expect_waits(const char *before, const char *after, unsigned n, const char *want)
{
	struct config *a = load(before), *b = load(after);
	char names[64];

	assert_int_equal(config_waits(a, b, names, sizeof names), n);
	assert_string_equal(names, want);
	config_release(a);
	config_release(b);
}

static void test_what_waits_for_a_restart(void **state)
{
	(void)state;
	expect_waits("", "workers = 0\nvia = other\nbody-limit = 1M\nlog-format = json", 0, "");
	expect_waits("access-log = off", "access-log = off\nmode = off", 0, "");
	expect_waits("", "access-log = off", 1, "access-log");
	expect_waits("listen = {\"127.0.0.1:1\"}", "listen = {\"127.0.0.1:1\", \"127.0.0.1:2\"}",
		     1, "listen");
	expect_waits("workers = 2\nadmin = \"127.0.0.1:3\"", "spool-dir = \"/x\"", 3,
		     "workers, spool-dir, admin");
	expect_waits("", "listen-tls=\"127.0.0.1:2\" listen-cert=a listen-key=b workers=2 user=u "
		     "sandbox=no spool-total=1G spool-dir=d dns-servers=\"127.0.0.1\"", 7,
		     "listen-tls, workers, user, sandbox, spool-total, spool-dir, dns");
}

/* --- secrets and files --- */

static void test_secrets(void **state)
{
	const char *rule = "rule r { supply A { from = \"file:tok\" } }";
	struct config *c;

	(void)state;
	write_file("tok", "beside\n");
	c = load(rule);
	assert_str(rules_at(c->rules, 0)->supply[0].text, "beside");
	config_release(c);

	mkdir(path_of("cred"), 0700);
	write_file("cred/tok", "credential\n");
	setenv("CREDENTIALS_DIRECTORY", path_of("cred"), 1);
	c = load(rule);
	assert_str(rules_at(c->rules, 0)->supply[0].text, "credential");
	config_release(c);
	write_file("tok2", "beside too");
	c = load("rule r { supply A { from = \"file:tok2\" } } ca-key = tok ca-cert = tok2\n");
	assert_str(rules_at(c->rules, 0)->supply[0].text, "beside too");
	assert_str(c->ca_key, path_of("cred/tok"));
	assert_str(c->ca_cert, path_of("tok2"));
	config_release(c);
	unsetenv("CREDENTIALS_DIRECTORY");

	write_file("tok", "two\nlines\n");
	expect_bad(rule, "t.conf:1: from: file:tok does not hold a field value (one line, no "
		   "control characters)");
}

/* LoadCredential=secrets:DIRECTORY names what is in it secrets_NAME. */
static void test_secrets_of_a_directory(void **state)
{
	const char *file = "rule r { supply A { from = \"file:word\" } } ca-key = key";
	struct config *c;

	(void)state;
	mkdir(path_of("secrets"), 0700);
	write_file("secrets/word", "by hand\n");
	write_file("secrets/key", "k");
	c = load(file);
	assert_str(rules_at(c->rules, 0)->supply[0].text, "by hand");
	assert_str(c->ca_key, path_of("secrets/key"));
	config_release(c);

	mkdir(path_of("given"), 0700);
	setenv("CREDENTIALS_DIRECTORY", path_of("given"), 1);
	c = load(file);			/* an empty directory is no obstacle */
	assert_str(rules_at(c->rules, 0)->supply[0].text, "by hand");
	config_release(c);
	write_file("given/secrets_word", "in the unit\n");
	c = load(file);
	assert_str(rules_at(c->rules, 0)->supply[0].text, "in the unit");
	config_release(c);
	write_file("given/word", "by its own name\n");
	c = load(file);
	assert_str(rules_at(c->rules, 0)->supply[0].text, "by its own name");
	config_release(c);
	unsetenv("CREDENTIALS_DIRECTORY");
}

static void test_missing_secret(void **state)
{
	char want[256];

	(void)state;
	snprintf(want, sizeof(want), "t.conf:2: from: cannot read %s: No such file or directory",
		 path_of("nofile"));
	expect_bad("\nrule r { supply A { from = \"file:nofile\" } }", want);
	snprintf(want, sizeof(want), "t.conf:1: from: cannot read %s: Is a directory", directory);
	expect_bad("rule r { supply A { from = \"file:.\" } }", strcat(strcpy(want,
		   "t.conf:1: from: cannot read "), path_of(".: Is a directory")));
}

static void test_parent_password(void **state)
{
	struct config *c;

	(void)state;
	write_file("pass", "p w\n");
	c = load("parent = \"http://user@h:3128\" parent-password-file = pass");
	assert_str(c->parent.authorization, "Basic dXNlcjpwIHc=");	/* user:p w */
	assert_str(c->parent.url.authority, "h:3128");
	config_release(c);
	write_file("phrase", "open\n");
	c = load("ca-cert = c ca-key = k ca-passphrase-file = phrase");
	assert_str(c->ca_passphrase, "open");
	config_release(c);
}

/* --- there and back --- */

static void assert_no_secret(const char *text)
{
	static const char *const secrets[] = { "s3cret", "p%3aw", "p:w", "bWVAY29y" };

	for (size_t i = 0; i < COUNT(secrets); i++)
		if (strstr(text, secrets[i]))
			fail_msg("%s is in: %s", secrets[i], text);
}

static void test_round_trip(void **state)
{
	static const char *const texts[] = {
		"", example, everything,
		"parent = 'http://a\"${b}\\\\c:p\"w@proxy.example:3128/'\n",	/* found by fuzz_config */
	};

	(void)state;
	write_file("token", "s3cret\n");
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct config *c = load(texts[i]), *again;
		char *first = printed(NULL, c), *second;

		assert_no_secret(first);
		again = load(first);
		second = printed(NULL, again);
		assert_string_equal(first, second);
		assert_int_equal(again->listen.n, c->listen.n);
		assert_int_equal(again->idle_timeout, c->idle_timeout);
		assert_int_equal(again->access.allow.n, c->access.allow.n);
		assert_int_equal(rules_count(again->rules), rules_count(c->rules));
		for (unsigned k = 0; k < rules_count(c->rules); k++) {
			assert_int_equal(rules_at(again->rules, k)->answer,
					 rules_at(c->rules, k)->answer);
			assert_true(str_eq(rules_at(again->rules, k)->user_agent,
					   rules_at(c->rules, k)->user_agent));
		}
		free(first);
		free(second);
		config_release(c);
		config_release(again);
	}
}

/* --- what the table is printed to --- */

static char *committed(const char *name)
{
	char path[512], *text = calloc(1, 1 << 18);
	FILE *in;

	snprintf(path, sizeof(path), TOP "/%s", name);
	in = fopen(path, "r");
	if (!in)
		fail_msg("no %s", path);
	assert_true(fread(text, 1, (1 << 18) - 1, in) > 0);
	fclose(in);
	return text;
}

static void expect_committed(const char *name, print_fn *fn, const char *how)
{
	char *want = printed(fn, NULL), *got = committed(name);

	if (strcmp(want, got) != 0)
		fail_msg("%s is not what the program prints: retrywith %s > %s", name, how, name);
	free(want);
	free(got);
}

static void test_committed(void **state)
{
	(void)state;
	expect_committed("conf/retrywith.conf", config_print_sample, "--sample");
	expect_committed("docs/man/retrywith.conf.5", config_print_man, "--man");
}

/* name with the hyphens as roff has them */
static const char *as_roff(const char *name)
{
	static char room[128];
	size_t n = 0;

	n += (size_t)snprintf(room, sizeof(room), ".TP\n\\fB");
	for (; *name; name++) {
		if (*name == '-')
			room[n++] = '\\';
		room[n++] = *name;
	}
	snprintf(room + n, sizeof(room) - n, "\\fR = ");
	return room;
}

static void test_every_option_is_told(void **state)
{
	char *sample = printed(config_print_sample, NULL), *help = printed(config_print_help, NULL);
	char *man = printed(config_print_man, NULL), line[128];

	(void)state;
	for (enum scope s = SCOPE_FILE; s <= SCOPE_SUPPLY; s++) {
		unsigned n;
		const struct option *o = option_table(s, &n);

		for (unsigned i = 0; i < n; i++) {
			if (!strstr(man, as_roff(o[i].name)))
				fail_msg("%s is not in the manual", o[i].name);
			assert_true(o[i].help && o[i].help[0]);
			if (s != SCOPE_FILE)
				continue;
			snprintf(line, sizeof(line), "\n#%s = ", o[i].name);
			if (!strstr(sample, line))
				fail_msg("%s is not in the sample", o[i].name);
			snprintf(line, sizeof(line), "\n  --%s ", o[i].name);
			if (!strstr(help, line))
				fail_msg("%s is not in the help", o[i].name);
		}
	}
	free(sample);
	free(help);
	free(man);
}

/* Every line of the sample switched on gives the defaults. */
static void test_sample_is_the_defaults(void **state)
{
	char *sample = printed(config_print_sample, NULL), *want, *got;
	struct config *plain = load(""), *c;
	unsigned n, on = 0;

	(void)state;
	for (char *p = sample; *p; p++)
		if (*p == '#' && (p == sample || p[-1] == '\n') && p[1] >= 'a' && p[1] <= 'z') {
			*p = ' ';
			on++;
		}
	option_table(SCOPE_FILE, &n);
	assert_int_equal(on, n);
	c = load(sample);
	want = printed(NULL, plain);
	got = printed(NULL, c);
	assert_string_equal(got, want);
	free(sample);
	free(want);
	free(got);
	config_release(c);
	config_release(plain);
}

static void test_names_are_unlike(void **state)
{
	(void)state;
	for (enum scope s = SCOPE_FILE; s <= SCOPE_SUPPLY; s++) {
		unsigned n;
		const struct option *o = option_table(s, &n);

		for (unsigned i = 0; i < n; i++)
			for (unsigned k = 0; k < i; k++)
				assert_string_not_equal(o[i].name, o[k].name);
	}
}

static void test_addresses(void **state)
{
	static const struct { const char *text; int family; } rows[] = {
		{ "127.0.0.1:0", AF_INET }, { "[::1]:65535", AF_INET6 }, { "unix:/a", AF_UNIX },
		{ "127.0.0.1", 0 }, { "::1:80", 0 }, { "[::1]", 0 }, { "[::1]80", 0 },
		{ "[127.0.0.1]:80", 0 }, { "127.0.0.1:65536", 0 }, { "127.0.0.1:", 0 },
		{ ":80", 0 }, { "*:80", 0 }, { "unix:", 0 }, { "", 0 }, { "127.1:80", 0 },
		{ "[fe80::1%lo]:80", 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct sockaddr_storage a;
		socklen_t len;
		bool good = value_address(str_of(rows[i].text), &a, &len);

		if (good != (rows[i].family != 0) || (good && a.ss_family != rows[i].family))
			fail_msg("%s", rows[i].text);
	}
}

static void test_derived(void **state)
{
	struct config *a, *b;

	(void)state;
	setenv("RUNTIME_DIRECTORY", "/run/a:/run/b", 1);
	setenv("TMPDIR", "/some/tmp", 1);
	a = load("body-limit = 1K");
	assert_str(a->spool_dir, "/run/a");
	assert_int_equal(a->body_memory, 1024);
	assert_int_equal(a->via.len, strlen("retrywith-01234567"));
	unsetenv("RUNTIME_DIRECTORY");
	b = load("");
	assert_str(b->spool_dir, "/some/tmp");
	unsetenv("TMPDIR");
	assert_false(str_eq(a->via, b->via));
	config_release(a);
	config_release(b);
	a = load("");
	assert_str(a->spool_dir, "/var/tmp");
	config_release(a);
}

static int setup(void **state)
{
	(void)state;
	unsetenv("CREDENTIALS_DIRECTORY");
	if (!mkdtemp(directory))
		return -1;
	write_file("users", "alice:$2y$05$abcdefghijklmnopqrstuu5Ls6Lyk0ESoDtuFzKQd1p7aYaB7Y8W6\n");
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "t.conf", "torn.conf", "nul.conf", "token", "tok",
					     "tok2", "pass", "phrase", "users", "cred/tok",
					     "secrets/word", "secrets/key",
					     "given/secrets_word", "given/word" };
	static const char *const directories[] = { "cred", "secrets", "given" };

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		unlink(path_of(names[i]));
	for (size_t i = 0; i < COUNT(directories); i++)
		rmdir(path_of(directories[i]));
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_everything), cmocka_unit_test(test_everything_in_a_rule),
		cmocka_unit_test(test_rules_inherit),
		cmocka_unit_test(test_complaints),
		cmocka_unit_test(test_lines_behind_comments),
		cmocka_unit_test(test_every_option_refuses),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_torn_files),
		cmocka_unit_test(test_overrides),
		cmocka_unit_test(test_bad_overrides),
		cmocka_unit_test(test_knows),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_what_waits_for_a_restart),
		cmocka_unit_test(test_secrets),
		cmocka_unit_test(test_secrets_of_a_directory),
		cmocka_unit_test(test_missing_secret),
		cmocka_unit_test(test_parent_password),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_committed),
		cmocka_unit_test(test_every_option_is_told),
		cmocka_unit_test(test_sample_is_the_defaults),
		cmocka_unit_test(test_names_are_unlike),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_derived),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
