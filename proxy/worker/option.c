/* option: the table of options, and the nearest name to a mistyped one. Rows
 * are in the order of the manual. Nothing here reads or stores a value. */
#include "worker/option.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/tls1.h>

#include "worker/config.h"
#include "worker/value.h"
#include "ground/log.h"

#define K UINT64_C(1024)
#define M (K * K)
#define G (K * M)
#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define DAY (24 * 60 * MINUTE)

#define IN(type, field) \
	.at = offsetof(struct type, field), .size = sizeof(((struct type *)0)->field)
#define RANGE(low, high) .least = (low), .most = (high)

static const struct word word_mode[] = {
	{ "answer", MODE_ANSWER }, { "observe", MODE_OBSERVE }, { "off", MODE_OFF }, { NULL, 0 }
};
static const struct word word_methods[] = { { "all", 0 }, { "idempotent", 1 }, { NULL, 0 } };
static const struct word word_unanswered[] = {
	{ "pass", UNANSWERED_PASS }, { "502", UNANSWERED_502 }, { NULL, 0 }
};
static const struct word word_format[] = {
	{ "combined", LOG_COMBINED }, { "json", LOG_JSON }, { NULL, 0 }
};
static const struct word word_level[] = {
	{ "error", LEVEL_ERROR }, { "warn", LEVEL_WARN }, { "notice", LEVEL_NOTICE },
	{ "info", LEVEL_INFO }, { "debug", LEVEL_DEBUG }, { NULL, 0 }
};
static const struct word word_tls[] = {
	{ "1.0", TLS1_VERSION }, { "1.1", TLS1_1_VERSION }, { "1.2", TLS1_2_VERSION },
	{ "1.3", TLS1_3_VERSION }, { NULL, 0 }
};
static const struct word word_answer[] = {
	{ "echo", ANSWER_ECHO }, { "supply", ANSWER_SUPPLY }, { "backoff", ANSWER_BACKOFF },
	{ NULL, 0 }
};
static const struct word word_never[] = { { "never", -1 }, { NULL, 0 } };

static const struct option of_file[] = {
	{ .group = "Listening", .name = "listen", .kind = &kind_listens, .at_start = true,
	  .fallback = "127.0.0.1:3128, [::1]:3128", IN(config, listen),
	  .help = "where clients connect",
	  .text = "Addresses are numeric; port 0 takes a free one. An address that other hosts "
		  "can reach needs `allow`, so that nobody runs an open proxy by accident." },
	{ .name = "listen-tls", .kind = &kind_listens, .at_start = true,
	  .fallback = "", IN(config, listen_tls),
	  .help = "the same, for clients that speak TLS to their proxy",
	  .text = "Needs `listen-cert` and `listen-key`." },
	{ .name = "listen-cert", .kind = &kind_file, .fallback = "", IN(config, listen_cert),
	  .help = "certificate chain of listen-tls (PEM)" },
	{ .name = "listen-key", .kind = &kind_file, .fallback = "", IN(config, listen_key),
	  .help = "private key of listen-tls (PEM)" },
	{ .name = "origin", .kind = &kind_origin, .fallback = "", IN(config, origin),
	  .help = "sidecar: requests in origin-form go to this server",
	  .text = "`http://HOST:PORT` or `https://HOST:PORT`, without a path. A client that knows "
		  "nothing of proxies then talks to us as if we were the server." },
	{ .name = "forward", .kind = &kind_switch, .fallback = "yes", IN(config, forward),
	  .help = "serve proxy requests (absolute-form and CONNECT)",
	  .text = "With `no`, only requests for `origin` are served." },
	{ .name = "transparent", .kind = &kind_switch, .fallback = "no", IN(config, transparent),
	  .help = "serve redirected connections: Host names the server",
	  .text = "Those of this host come from its own addresses, which `allow` has to name. "
		  "docs/service.md shows the whole of it." },
	{ .name = "workers", .kind = &kind_count, .at_start = true, .fallback = "0", RANGE(0, 1024),
	  IN(config, workers), .help = "threads; 0: one per core" },
	{ .name = "user", .kind = &kind_text, .at_start = true, .fallback = "", IN(config, user),
	  .help = "become this user, when started as root" },
	{ .name = "sandbox", .kind = &kind_switch, .at_start = true,
	  .fallback = "yes", IN(config, sandbox),
	  .help = "give up what a proxy does not need (Landlock, seccomp)",
	  .text = "After the start, files can be written in `spool-dir` and beside the logs only, "
		  "no program can be started, and unusual system calls fail." },

	{ .group = "Answering 449", .name = "mode", .kind = &kind_word, .fallback = "answer",
	  .words = word_mode, IN(config, mode),
	  .help = "answer challenges, only watch them, or neither",
	  .text = "`observe` passes every 449 on and logs what would have been answered." },
	{ .name = "on-unanswered", .kind = &kind_word, .fallback = "pass",
	  .words = word_unanswered, IN(config, on_unanswered),
	  .help = "what the client gets when a 449 cannot be answered",
	  .text = "`pass`: the 449 as it came, which says what the server wants. `502`: a Bad "
		  "Gateway that says why." },
	{ .name = "max-replays", .kind = &kind_count, .fallback = "1", RANGE(0, 16),
	  IN(config, max_replays), .help = "how often one request is sent again",
	  .text = "MS-WDV forbids a server to answer a replay with 449, so more than one is for "
		  "servers that break the rule." },
	{ .name = "replay-methods", .kind = &kind_word, .fallback = "all",
	  .words = word_methods, IN(config, replay_idempotent_only),
	  .help = "which methods are sent again",
	  .text = "A 449 says that the request was not carried out and is expected again; that is "
		  "why POST and its like are replayed. `idempotent` holds to the letter of RFC 9110 "
		  "9.2.2." },
	{ .name = "drain-limit", .kind = &kind_size, .fallback = "64K", RANGE(0, G),
	  IN(config, drain_limit), .help = "most of a 449's body that is read to its end",
	  .text = "Past it the replay takes a fresh connection." },
	{ .name = "retry-after-max", .kind = &kind_duration, .fallback = "2s", RANGE(0, 10 * MINUTE),
	  IN(config, retry_after_max), .help = "longest Retry-After of a 449 that is waited for",
	  .text = "A 449 that asks for more goes to the client." },
	{ .name = "breaker-trips", .kind = &kind_count, .fallback = "20", RANGE(0, 1000000),
	  IN(config, breaker_trips), .help = "replays in a row answered 449 until an origin pauses",
	  .text = "Such an origin gets no replays for `breaker-pause`. 0: never pauses." },
	{ .name = "breaker-pause", .kind = &kind_duration, .fallback = "30s", RANGE(SECOND, DAY),
	  IN(config, breaker_pause), .help = "how long that origin gets no replays" },
	{ .name = "expect-threshold", .kind = &kind_size, .fallback = "64K", RANGE(0, 1024 * G),
	  .words = word_never, IN(config, expect_threshold),
	  .help = "bodies this long ask first, where 449 is usual",
	  .text = "Towards an origin that was seen to challenge in the last ten minutes, such a "
		  "request is sent with `Expect: 100-continue`, so that a 449 does not cost an "
		  "upload. An origin that answers 417, or says nothing for a second, is not asked "
		  "again. `never`: not at all." },

	{ .group = "Request bodies", .name = "body-memory", .kind = &kind_size, .fallback = "64K",
	  RANGE(4 * K, G), IN(config, body_memory),
	  .help = "of one request body, kept in memory for a replay",
	  .text = "What is beyond goes to an unlinked file in `spool-dir`." },
	{ .name = "memory-total", .kind = &kind_size, .fallback = "1G", RANGE(M, 1024 * G),
	  IN(config, memory_total), .help = "of all buffers, in memory",
	  .text = "From half of it on, request bodies go to their file at once. When it is used "
		  "up, requests are answered 503 with `Retry-After`. The workers share it evenly." },
	{ .name = "body-limit", .kind = &kind_size, .fallback = "64M", RANGE(0, 1024 * G),
	  IN(config, body_limit), .help = "of one request body, kept at all",
	  .text = "A longer body is forwarded all the same, but a 449 to it cannot be answered." },
	{ .name = "spool-total", .kind = &kind_size, .at_start = true,
	  .fallback = "512M", RANGE(0, 1024 * G),
	  IN(config, spool_total), .help = "of all request bodies, kept in files" },
	{ .name = "spool-dir", .kind = &kind_path, .at_start = true,
	  .fallback = "", IN(config, spool_dir),
	  .help = "where these files are",
	  .text = "Default: `$RUNTIME_DIRECTORY`, else `$TMPDIR`, else `/var/tmp`." },

	{ .group = "Access", .name = "allow", .kind = &kind_networks, .fallback = "",
	  IN(config, access.allow), .help = "client networks that may use the proxy",
	  .text = "Default: loopback only. With a list, only what it names, loopback too." },
	{ .name = "deny", .kind = &kind_networks, .fallback = "", IN(config, access.deny),
	  .help = "client networks that may not; wins over allow" },
	{ .name = "max-clients", .kind = &kind_count, .fallback = "0", RANGE(0, 10000000),
	  IN(config, max_clients), .help = "connections at once; 0: as many as descriptors allow" },
	{ .name = "max-clients-per-address", .kind = &kind_count, .fallback = "0",
	  RANGE(0, 10000000), IN(config, max_clients_per_address),
	  .help = "connections at once from one address; 0: no limit" },
	{ .name = "htpasswd", .kind = &kind_file, .fallback = "", IN(config, htpasswd),
	  .help = "users for Proxy-Authorization (Basic), as of htpasswd(1)" },
	{ .name = "connect-ports", .kind = &kind_ports, .fallback = "443",
	  IN(config, access.connect_ports), .help = "ports that CONNECT may ask for",
	  .text = "Ports and ranges: `{443, \"8000-8999\"}`. An empty list: no CONNECT." },
	{ .name = "deny-ports", .kind = &kind_ports,
	  .fallback = "7, 11-79, 95-179, 389, 427, 465, 512-515, 526-563, 587, 601, 636, "
		      "989-995, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6665-6669, "
		      "6697, 10080, 11211",
	  IN(config, access.deny_ports), .help = "ports that a URL must not name",
	  .text = "Services that are not HTTP, and some of which would take a request for words "
		  "of their own: mail, remote shells, caches. Mostly what browsers refuse too." },
	{ .name = "deny-to", .kind = &kind_networks, .fallback = "", IN(config, access.deny_to),
	  .help = "destination networks that are refused; comes first",
	  .text = "Judged on the address that is dialled, after the name was looked up, and on "
		  "IPv4 addresses inside IPv6 ones (mapped, NAT64, 6to4, Teredo) as well." },
	{ .name = "allow-to", .kind = &kind_networks, .fallback = "", IN(config, access.allow_to),
	  .help = "destination networks that are allowed; comes second",
	  .text = "What neither list names is refused when it is unspecified, link-local (cloud "
		  "metadata is there), multicast, reserved or for documentation, or loopback and "
		  "the client is not on this host. Private networks are allowed. Our own addresses "
		  "are always refused." },

	{ .group = "Upstream", .name = "parent", .kind = &kind_parent, .fallback = "",
	  IN(config, parent), .help = "proxy that we go through ourselves",
	  .text = "`http://USER:PASSWORD@HOST:PORT`; user and password may be missing." },
	{ .name = "parent-password-file", .kind = &kind_secret, .fallback = "",
	  .at = OPTION_NOWHERE, .help = "file with the password of parent's user" },
	{ .name = "no-proxy", .kind = &kind_no_proxy, .fallback = "", IN(config, no_proxy),
	  .help = "hosts and networks reached without the parent",
	  .text = "As curl reads it: a name stands for itself and all beneath it, `*` for all." },
	{ .name = "dns-servers", .kind = &kind_servers, .at_start = true,
	  .fallback = "", IN(config, dns_servers),
	  .help = "name servers, ADDR or ADDR:PORT, instead of the system's" },
	{ .name = "hosts-file", .kind = &kind_file, .at_start = true,
	  .fallback = "", IN(config, hosts_file),
	  .help = "hosts(5) file, instead of the system's" },
	{ .name = "upstream-ca", .kind = &kind_file, .fallback = "", IN(config, upstream_ca),
	  .help = "certificate authorities of servers (PEM), instead of the system's" },
	{ .name = "upstream-crl", .kind = &kind_file, .fallback = "", IN(config, upstream_crl),
	  .help = "revocation lists for servers (PEM)" },
	{ .name = "tls-min", .kind = &kind_word, .fallback = "1.2", .words = word_tls,
	  IN(config, tls_min), .help = "oldest TLS version towards servers" },

	{ .group = "TLS interception", .name = "intercept", .kind = &kind_patterns,
	  .fallback = "", IN(config, intercept),
	  .help = "hosts whose TLS is opened, so that a 449 inside is seen",
	  .text = "Patterns such as `*.corp.example`. The client must trust `ca-cert`; see "
		  "`retrywith ca`." },
	{ .name = "ca-cert", .kind = &kind_file, .fallback = "", IN(config, ca_cert),
	  .help = "certificate of the local authority (PEM)" },
	{ .name = "ca-key", .kind = &kind_file, .fallback = "", IN(config, ca_key),
	  .help = "private key of the local authority (PEM)" },
	{ .name = "ca-passphrase-file", .kind = &kind_secret, .fallback = "",
	  IN(config, ca_passphrase), .help = "file with the passphrase of ca-key" },
	{ .name = "client-tls-min", .kind = &kind_word, .fallback = "1.2", .words = word_tls,
	  IN(config, client_tls_min), .help = "oldest TLS version towards clients" },

	{ .group = "Identity and logs", .name = "via", .kind = &kind_token, .fallback = "",
	  IN(config, via), .help = "our name in Via",
	  .text = "Also how a loop is found, so no two instances should share one. Default: "
		  "`retrywith-` and eight random hexadecimal digits." },
	{ .name = "proxy-status", .kind = &kind_switch, .fallback = "yes",
	  IN(config, proxy_status), .help = "say in Proxy-Status (RFC 9209) what was done" },
	{ .name = "admin", .kind = &kind_listen, .at_start = true,
	  .fallback = "", IN(config, admin),
	  .help = "where metrics and health are served",
	  .text = "`ADDR:PORT` or `unix:PATH`. An address that other hosts can reach needs "
		  "`allow`." },
	{ .name = "access-log", .kind = &kind_log_or_off, .at_start = true, .fallback = "-",
	  IN(config, access_log),
	  .help = "one line a request: a file, - (standard output), or off" },
	{ .name = "log-format", .kind = &kind_word, .fallback = "combined", .words = word_format,
	  IN(config, log_format), .help = "of the access log",
	  .text = "Its words are explained in retrywith(8)." },
	{ .name = "log-query", .kind = &kind_switch, .fallback = "no", IN(config, log_query),
	  .help = "log URLs with their query" },
	{ .name = "error-log", .kind = &kind_log, .at_start = true,
	  .fallback = "-", IN(config, error_log),
	  .help = "a file, or - (standard error)" },
	{ .name = "log-level", .kind = &kind_word, .fallback = "notice", .words = word_level,
	  IN(config, log_level), .help = "least important lines of the error log" },

	{ .group = "Limits and timeouts", .name = "head-limit", .kind = &kind_size, .fallback = "64K",
	  RANGE(4 * K, M), IN(config, head_limit),
	  .help = "octets in a message head" },
	{ .name = "fields-limit", .kind = &kind_count, .fallback = "200", RANGE(16, 10000),
	  IN(config, fields_limit), .help = "field lines in a message head" },
	{ .name = "min-rate", .kind = &kind_size, .fallback = "500", RANGE(0, G),
	  IN(config, min_rate), .help = "octets a second that a request must come at",
	  .text = "On average, after the first seconds. 0: any." },
	{ .name = "head-timeout", .kind = &kind_duration, .fallback = "30s", RANGE(0, DAY),
	  IN(config, head_timeout), .help = "for a whole request head to arrive",
	  .text = "For this and all other timeouts 0 means: wait for ever." },
	{ .name = "body-timeout", .kind = &kind_duration, .fallback = "30s", RANGE(0, DAY),
	  IN(config, body_timeout), .help = "for the next part of a request body" },
	{ .name = "idle-timeout", .kind = &kind_duration, .fallback = "60s", RANGE(0, DAY),
	  IN(config, idle_timeout), .help = "for the next request on a connection" },
	{ .name = "connect-timeout", .kind = &kind_duration, .fallback = "10s", RANGE(0, DAY),
	  IN(config, connect_timeout), .help = "for lookup, connect and TLS handshake" },
	{ .name = "response-timeout", .kind = &kind_duration, .fallback = "300s", RANGE(0, DAY),
	  IN(config, response_timeout), .help = "for a response to begin, replays included" },
	{ .name = "read-timeout", .kind = &kind_duration, .fallback = "60s", RANGE(0, DAY),
	  IN(config, read_timeout), .help = "for the next part of a response" },
	{ .name = "write-timeout", .kind = &kind_duration, .fallback = "60s", RANGE(0, DAY),
	  IN(config, write_timeout), .help = "for a peer to take what we send" },
	{ .name = "tunnel-timeout", .kind = &kind_duration, .fallback = "1h", RANGE(0, 30 * DAY),
	  IN(config, tunnel_timeout), .help = "for either direction of a tunnel to move" },
	{ .name = "drain-timeout", .kind = &kind_duration, .fallback = "30s", RANGE(0, DAY),
	  IN(config, drain_timeout), .help = "for requests to finish after TERM" },
	{ .name = "pool-timeout", .kind = &kind_duration, .fallback = "30s", RANGE(0, DAY),
	  IN(config, pool_timeout), .help = "how long an idle upstream connection is kept" },
};

static const struct option of_rule[] = {
	{ .group = "Which requests", .name = "host", .kind = &kind_rule_hosts, .fallback = "",
	  .at = 0, .help = "host names or patterns such as *.corp.example; none: any host" },
	{ .name = "path", .kind = &kind_rule_path, .fallback = "", IN(rule, path),
	  .help = "pattern for path and query; empty: any",
	  .text = "`*` is any run of characters, `?` is one; letter case does not matter." },
	{ .name = "method", .kind = &kind_rule_methods, .fallback = "", .at = 0,
	  .help = "methods; none: any" },
	{ .name = "user-agent", .kind = &kind_text, .fallback = "", IN(rule, user_agent),
	  .help = "pattern for the User-Agent field; empty: any" },

	{ .group = "What is answered, and how", .name = "mode", .kind = &kind_word, .words = word_mode,
	  IN(rule, mode), .help = "as outside of rules" },
	{ .name = "answer", .kind = &kind_answers, .fallback = "echo", .words = word_answer,
	  IN(rule, answer), .help = "what kinds of 449 are answered",
	  .text = "`echo`: 449 with Ms-Echo-Request. `supply`: any 449, with the fields of the "
		  "`supply` sections. `backoff`: 449 without Ms-Echo-Request, by waiting. An "
		  "empty list: none. A rule with `supply` sections answers `echo` and `supply` "
		  "unless it says otherwise." },
	{ .name = "max-replays", .kind = &kind_count, RANGE(0, 16), IN(rule, max_replays),
	  .help = "as outside of rules" },
	{ .name = "replay-methods", .kind = &kind_word, .words = word_methods,
	  IN(rule, replay_idempotent_only), .help = "as outside of rules" },
	{ .name = "drain-limit", .kind = &kind_size, RANGE(0, G), IN(rule, drain_limit),
	  .help = "as outside of rules" },
	{ .name = "retry-after-max", .kind = &kind_duration, RANGE(0, 10 * MINUTE),
	  IN(rule, retry_after_max_ms), .help = "as outside of rules" },
	{ .name = "expect-threshold", .kind = &kind_size, RANGE(0, 1024 * G),
	  .words = word_never, IN(rule, expect_threshold), .help = "as outside of rules" },

	{ .group = "Waiting (backoff)", .name = "backoff-first", .kind = &kind_duration,
	  .fallback = "10ms", RANGE(0, MINUTE), IN(rule, backoff.first_ms),
	  .help = "before the first replay" },
	{ .name = "backoff-factor", .kind = &kind_count, .fallback = "2", RANGE(1, 10),
	  IN(rule, backoff.factor), .help = "from one wait to the next" },
	{ .name = "backoff-step-max", .kind = &kind_duration, .fallback = "1s", RANGE(0, MINUTE),
	  IN(rule, backoff.step_most_ms), .help = "longest single wait" },
	{ .name = "backoff-jitter", .kind = &kind_duration, .fallback = "5ms", RANGE(0, MINUTE),
	  IN(rule, backoff.jitter_ms), .help = "up to this much is added at random" },
	{ .name = "backoff-total", .kind = &kind_duration, .fallback = "1s", RANGE(0, 10 * MINUTE),
	  IN(rule, backoff.total_ms), .help = "all waits of a request together" },
	{ .name = "backoff-replays", .kind = &kind_count, .fallback = "3", RANGE(0, 255),
	  IN(rule, backoff.most), .help = "how often a request is sent again after waiting" },

	{ .group = "Learning", .name = "learn", .kind = &kind_switch, .fallback = "no",
	  IN(rule, learn), .help = "attach an echo that was accepted twice from the start",
	  .text = "Per client address, origin, method and path; forgotten after `learn-ttl`, at the "
		  "first 4xx, or when the challenge changes." },
	{ .name = "learn-ttl", .kind = &kind_duration, .fallback = "5m", RANGE(SECOND, DAY),
	  IN(rule, learn_ttl_ms), .help = "how long it is remembered" },

	{ .group = "TLS towards the server", .name = "client-cert", .kind = &kind_file,
	  .fallback = "", IN(rule, client_cert), .help = "certificate that we show (PEM)" },
	{ .name = "client-key", .kind = &kind_file, .fallback = "", IN(rule, client_key),
	  .help = "its private key (PEM)" },
	{ .name = "pinned-sha256", .kind = &kind_pin, .fallback = "", IN(rule, pinned_sha256),
	  .help = "the server's certificate must be this one",
	  .text = "Its SHA-256 fingerprint, 64 hexadecimal digits, with or without colons." },
};

/* Read into a form of their own by the loader: see config.c. */
static const struct option of_supply[] = {
	{ .name = "from", .kind = &kind_text, .fallback = "", .at = OPTION_NOWHERE,
	  .help = "where the value comes from",
	  .text = "`header:NAME` or `cookie:NAME` of the 449; `file:NAME`, a secret; "
		  "`body:/POINTER`, a JSON pointer into the 449's body; `body~REGEX`, the first "
		  "group of a Perl-compatible regular expression, or all that it matches." },
	{ .name = "value", .kind = &kind_text, .fallback = "", .at = OPTION_NOWHERE,
	  .help = "the value itself, instead of from",
	  .text = "It is shown by `-T` and `match`: a secret belongs into a file." },
	{ .name = "always", .kind = &kind_switch, .fallback = "no", IN(supply, always),
	  .help = "send the field with every request, not only with a replay",
	  .text = "For `value` and `file:NAME`." },
};

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

const struct option *option_table(enum scope scope, unsigned *n)
{
	switch (scope) {
	case SCOPE_FILE:
		*n = COUNT(of_file);
		return of_file;
	case SCOPE_RULE:
		*n = COUNT(of_rule);
		return of_rule;
	case SCOPE_SUPPLY:
		break;
	}
	*n = COUNT(of_supply);
	return of_supply;
}

const struct option *option_find(enum scope scope, const char *name)
{
	unsigned n;
	const struct option *o = option_table(scope, &n);

	for (; n > 0; n--, o++)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

/* --- did you mean --- */

enum { NAME_MOST = 40, FAR = 1000 };

static unsigned least_of(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* How many letters must be put in, taken out or changed. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_MOST + 1], n = (unsigned)strlen(b);

	if (n > NAME_MOST || strlen(a) > NAME_MOST)
		return FAR;
	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; a[i - 1]; i++) {
		unsigned corner = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= n; j++) {
			unsigned change = corner + (a[i - 1] != b[j - 1]);

			corner = row[j];
			row[j] = least_of(change, 1 + least_of(row[j], row[j - 1]));
		}
	}
	return row[n];
}

/* The better of `best` and `name`, as a reading of `text`; where two are as good,
 * none is: "1.4" is not 1.0 any more than 1.3. */
static void compare(const char *text, const char *name, const char **best, unsigned *best_at)
{
	unsigned far = distance(text, name);
	unsigned most = least_of(3, (unsigned)strlen(name) / 3 + 1);

	if (far > *best_at || far > most)
		return;
	*best = far < *best_at ? name : NULL;
	*best_at = far;
}

const char *option_suggest(enum scope scope, const char *name)
{
	static const char *const sections[] = { "rule", "supply" };
	unsigned n, best_at = FAR;
	const struct option *o = option_table(scope, &n);
	const char *best = NULL;

	for (; n > 0; n--, o++)
		compare(name, o->name, &best, &best_at);
	if (scope != SCOPE_SUPPLY)
		compare(name, sections[scope], &best, &best_at);
	return best;
}

const char *word_suggest(const struct word *words, const char *text)
{
	unsigned best_at = FAR;
	const char *best = NULL;

	for (; words->text; words++)
		compare(text, words->text, &best, &best_at);
	return best;
}
