/* check: a worker without a thread, a socket pair instead of a client, and the
 * engine that serves everybody else. What is printed is what the transaction
 * itself remembers; nothing is measured twice. */
#include "worker/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "worker/clients.h"
#include "worker/session.h"
#include "worker/transaction.h"

enum { EXIT_UNANSWERED = 10, EXIT_STILL_449 = 11, EXIT_NO_ANSWER = 12, HEADERS_MOST = 32 };

struct check {
	const char *url, *method, *file;
	const char *headers[HEADERS_MOST];
	unsigned headers_n;
	int fd, body;			/* our end; the file to send, or -1 */
	uint64_t body_size, body_sent;
	char out[65536];		/* octets for the engine not taken yet */
	size_t out_at, out_n;
	bool terminal, done;
	int status;
};

/* -- what became of it --------------------------------------------------------------- */

static const char *connection_of(const struct attempt *a)
{
	return a->reused ? "same connection" : "new connection";
}

static void print_attempts(const struct transaction *t)
{
	for (unsigned i = 0; i < t->attempts_n; i++) {
		const struct attempt *a = &t->attempts[i];

		if (a->status)
			printf("  attempt %u   %u after %llu ms, %s, %llu octets of body sent\n",
			       i + 1, a->status, (unsigned long long)a->head_ms,
			       connection_of(a), (unsigned long long)a->body_octets);
		else
			printf("  attempt %u   no answer, %s, %llu octets of body sent\n", i + 1,
			       connection_of(a), (unsigned long long)a->body_octets);
	}
}

static void print_rule(const struct transaction *t)
{
	const struct config *c = t->snapshot->config;

	for (unsigned i = 0; i < rules_count(c->rules); i++)
		if (rules_at(c->rules, i) == t->rule) {
			printf("  rule        \"%.*s\"\n", STR_FMT(t->rule->name));
			return;
		}
	printf("  rule        none %s, so what is said outside of rules applies\n",
	       rules_count(c->rules) ? "matches" : "is there");
}

static bool may_ask(const struct header *h)
{
	return !h->dropped && (str_starts_nocase(h->name, STR("x-")) ||
			       str_starts_nocase(h->name, STR("ms-")) ||
			       h->id == HEADER_SET_COOKIE || h->id == HEADER_RETRY_AFTER ||
			       h->id == HEADER_WWW_AUTHENTICATE);
}

/* Names only, here and below: the values are between client and server. */
static void print_asked(const struct response *p)
{
	const char *comma = "  asked by    ";

	for (unsigned i = 0; i < p->fields.count; i++) {
		const struct header *h = &p->fields.at[i];

		if (!may_ask(h))
			continue;
		printf("%s%.*s", comma, STR_FMT(h->name));
		comma = ", ";
	}
	if (*comma == ',')
		putchar('\n');
}

static void print_answer(const struct transaction *t)
{
	const struct attempt *last = &t->attempts[t->attempts_n - 1];

	printf("  answered    by sending the request again");
	if (t->waited_ms)
		printf(" after %u ms", t->waited_ms);
	for (unsigned i = 0; i < last->add_n; i++)
		printf("%s %.*s", i ? "," : " with", STR_FMT(last->add[i].name));
	if (t->answer.echoed.at)
		printf(" (%zu octets echoed)", t->answer.echoed.len);
	if (t->plan.without_authorization)
		printf(", without the login that the connection has by now");
	putchar('\n');
}

static void print_challenge(const struct transaction *t)
{
	if (!t->challenges)
		return;
	printf("  challenge   %s: %s\n", family_word(t->family), family_text(t->family));
	print_asked(t->response.status == 449 ? &t->response : &t->saved);
	if (t->replays && t->attempts_n)
		print_answer(t);
	if (t->unanswered == UNANSWERED_NONE)
		return;
	printf("  unanswered  %s: %s\n", unanswered_word(t->unanswered),
	       unanswered_text(t->unanswered));
	printf("  next        %s\n", unanswered_next(t->unanswered));
}

static int verdict_of(const struct transaction *t)
{
	if (t->status == 449 || t->why == WHY_UNANSWERED)
		return t->replays && t->unanswered == UNANSWERED_AGAIN ? EXIT_STILL_449 :
									 EXIT_UNANSWERED;
	return t->why == WHY_DONE || why_status(t->why) == 200 ? EXIT_SUCCESS : EXIT_NO_ANSWER;
}

static void print_result(const struct transaction *t, int status)
{
	static const char *const words[] = {
		[EXIT_SUCCESS] = "this is what a client gets",
		[EXIT_UNANSWERED] = "the 449 is not answered here, and this is what a client gets",
		[EXIT_STILL_449] = "the server answered 449 to the replay, and this is what a "
				   "client gets",
		[EXIT_NO_ANSWER] = "no answer could be had",
	};

	if (t->why != WHY_DONE)
		printf("  failed      %s: %s%s%s\n", why_name(t->why), why_text(t->why),
		       *t->detail ? ": " : "", t->detail);
	printf("  result      %u, %llu octets with its head: %s%s\n", t->status,
	       (unsigned long long)t->down.moved, words[status],
	       status == EXIT_SUCCESS && t->challenges ? ", which never sees the 449" : "");
}

static void watched(void *arg, const struct transaction *t)
{
	struct check *k = arg;

	if (k->terminal && k->body >= 0)
		fprintf(stderr, "\r\033[K");
	if (t->rule)
		print_rule(t);
	print_attempts(t);
	print_challenge(t);
	k->status = verdict_of(t);
	print_result(t, k->status);
	k->done = true;
}

/* -- the client's part ------------------------------------------------------------------ */

static bool make_head(struct check *k)
{
	struct url u;
	int n;

	if (url_parse_target(str_of(k->url), false, &u) != WHY_DONE || u.form != URL_ABSOLUTE) {
		fprintf(stderr, "retrywith check: %s: not an http:// or https:// URL\n", k->url);
		return false;
	}
	n = snprintf(k->out, sizeof k->out,
		     "%s %s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: retrywith/%s\r\n"
		     "Accept: */*\r\nConnection: close\r\n",
		     k->method, k->url, STR_FMT(u.authority), RETRYWITH_VERSION);
	for (unsigned i = 0; i < k->headers_n && n < (int)sizeof k->out; i++)
		n += snprintf(k->out + n, sizeof k->out - (size_t)n, "%s\r\n", k->headers[i]);
	if (k->body >= 0 && n < (int)sizeof k->out)
		n += snprintf(k->out + n, sizeof k->out - (size_t)n, "Content-Length: %llu\r\n",
			      (unsigned long long)k->body_size);
	if (n + 2 >= (int)sizeof k->out) {
		fprintf(stderr, "retrywith check: the header fields are too long\n");
		return false;
	}
	memcpy(k->out + n, "\r\n", 2);
	k->out_n = (size_t)n + 2;
	return true;
}

static void progress(struct check *k)
{
	if (k->terminal)
		fprintf(stderr, "\r  sending     %llu of %llu octets (%llu %%)",
			(unsigned long long)k->body_sent, (unsigned long long)k->body_size,
			(unsigned long long)(k->body_size ? k->body_sent * 100 / k->body_size :
					     100));
}

static bool refill(struct check *k)
{
	ssize_t r;

	if (k->out_at < k->out_n)
		return true;
	if (k->body < 0)
		return false;
	r = read(k->body, k->out, sizeof k->out);
	k->out_at = 0;
	k->out_n = r > 0 ? (size_t)r : 0;
	k->body_sent += k->out_n;
	if (r > 0)
		progress(k);
	return r > 0;
}

static void send_some(struct check *k)
{
	while (refill(k)) {
		ssize_t r = send(k->fd, k->out + k->out_at, k->out_n - k->out_at,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r <= 0)
			return;
		k->out_at += (size_t)r;
	}
}

static void take_some(struct check *k)
{
	char sink[65536];

	while (recv(k->fd, sink, sizeof sink, MSG_DONTWAIT) > 0)
		continue;
}

static int run(struct check *k, struct worker *w)
{
	struct sockaddr_in local = { .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
		return EXIT_FAILURE;
	k->fd = pair[0];
	w->watch = watched;
	w->watch_arg = k;
	clients_enter((struct sockaddr *)&local, 0, 0);
	if (!session_open(w, pair[1], (struct sockaddr *)&local, sizeof local, NULL))
		return EXIT_FAILURE;
	printf("%s %s\n", k->method, k->url);
	while (!k->done && w->sessions) {
		send_some(k);
		worker_turn(w);
		take_some(k);
	}
	close(k->fd);
	while (w->sessions)
		session_kill(w->sessions);
	return k->status;
}

/* -- the command line --------------------------------------------------------------------- */

static int usage(void)
{
	fprintf(stderr, "usage: retrywith " CHECK_USAGE "\n");
	return EX_USAGE;
}

static bool open_body(struct check *k)
{
	struct stat st;

	if (!k->file)
		return true;
	k->body = open(k->file, O_RDONLY | O_CLOEXEC);
	if (k->body < 0 || fstat(k->body, &st) != 0 || !S_ISREG(st.st_mode)) {
		fprintf(stderr, "retrywith check: --body %s: %s\n", k->file,
			k->body < 0 ? strerror(errno) : "not a regular file");
		return false;
	}
	k->body_size = (uint64_t)st.st_size;
	return true;
}

static bool parse(struct check *k, int argc, char **argv)
{
	static const struct option options[] = {
		{ "method", required_argument, NULL, 'X' },
		{ "header", required_argument, NULL, 'H' },
		{ "body", required_argument, NULL, 'T' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "X:H:", options, NULL)) != -1)
		switch (c) {
		case 'X':
			k->method = optarg;
			break;
		case 'H':
			if (k->headers_n == HEADERS_MOST)
				return false;
			k->headers[k->headers_n++] = optarg;
			break;
		case 'T':
			k->file = optarg;
			break;
		default:
			return false;
		}
	if (optind != argc - 1)
		return false;
	k->url = argv[optind];
	if (!k->method)
		k->method = k->file ? "PUT" : "GET";
	return true;
}

int check_main(struct config *c, int argc, char **argv)
{
	static struct check k;
	struct spool spool = { .dir = c->spool_dir.at,
			       .total = c->spool_total };
	struct worker *w;
	const char *why;
	int status = EXIT_FAILURE;

	k = (struct check){ .body = -1, .status = EXIT_NO_ANSWER, .terminal = isatty(2) };
	signal(SIGPIPE, SIG_IGN);
	c->access_log = STR("off");
	c->workers = 1;
	if (!parse(&k, argc, argv))
		return usage();
	if (!open_body(&k) || !make_head(&k))
		return EX_USAGE;
	w = worker_new(0, c, &spool, NULL, 0, &why);
	if (w)
		status = run(&k, w);
	else
		fprintf(stderr, "retrywith check: %s\n", why);
	worker_free(w);
	return status;
}
