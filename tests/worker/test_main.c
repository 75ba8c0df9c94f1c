/* main: what the command line asks for. The proxy itself is a stand-in here that
 * tells what it was given; each case is a child of its own. */
#include <sys/wait.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

int retrywith_main(int argc, char **argv);

#define main retrywith_main
#include "../../proxy/worker/main.c"
#undef main

int run_main(struct config *c)
{
	printf("run workers=%u forward=%d listen=%u file=%.*s", c->workers, c->forward,
	       c->listen.n, STR_FMT(c->file));
	if (c->origin.host.len)
		printf(" origin=%.*s", STR_FMT(c->origin.host));
	putchar('\n');
	config_release(c);
	return 3;
}

static char file[] = "/tmp/retrywith-main-XXXXXX";
static char said[1 << 17];			/* what the child wrote, both streams */

enum { WORDS_MOST = 16 };

/* The exit status of `retrywith WORDS`. */
static int ask(const char *words)
{
	char line[512], *argv[WORDS_MOST] = { "retrywith" }, *rest = line;
	int argc = 1, out[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t child;

	snprintf(line, sizeof(line), "%s", words);
	while (argc < WORDS_MOST - 1 && (argv[argc] = strsep(&rest, " ")) != NULL) {
		if (strcmp(argv[argc], "FILE") == 0)
			argv[argc] = file;
		argc += argv[argc][0] != '\0';
	}
	argv[argc] = NULL;
	assert_int_equal(pipe(out), 0);
	fflush(stdout);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		dup2(out[1], 1);
		dup2(out[1], 2);
		status = retrywith_main(argc, argv);
		fflush(stdout);
		_exit(status);
	}
	close(out[1]);
	while ((got = read(out[0], said + n, sizeof(said) - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = '\0';
	close(out[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void expect(const char *words, int status, const char *part)
{
	int got = ask(words);

	if (got != status || !strstr(said, part))
		fail_msg("retrywith %s: %d, want %d and '%s': %s", words, got, status, part, said);
}

static void test_run(void **state)
{
	(void)state;
	expect("", 3, "run workers=0 forward=1 listen=2 file=\n");
	expect("run", 3, "run workers=0");
	expect("-f", 3, "run workers=0");
	expect("--workers 4", 3, "run workers=4");
	expect("--workers=4 run", 3, "run workers=4");
	expect("run --workers 4 --foreground --workers 5", 3, "run workers=5");
	expect("--listen 127.0.0.1:1 run --listen 127.0.0.1:2 --listen [::1]:3", 3, "listen=3");
	expect("-c FILE", 3, "run workers=7");
	expect("-cFILE", 78, "FILE: No such file");
	expect("-c FILE --workers 1", 3, "run workers=1");
}

static void test_switches(void **state)
{
	(void)state;
	expect("--origin http://h:1 --no-forward", 3, "forward=0 listen=2 file= origin=h");
	expect("--forward no --origin http://h:1", 3, "forward=0 listen=2 file= origin=h");
	expect("--forward=off --origin http://h:1", 3, "forward=0");
	expect("--origin http://h:1 --no-forward --forward run", 3, "forward=1");
	expect("--forward maybe", 78, "--forward: \"maybe\" is none of");
	expect("--forward match http://h/", 0, "request   GET http://h/");
	expect("match --no-forward --origin http://h http://h/", 0, "request   GET http://h/");
	expect("--forward=maybe", 78, "--forward: \"maybe\" is none of");
	expect("--no-workers", 64, "there is no option --no-workers");
	expect("--no-forward=yes", 64, "there is no option --no-forward=yes");
}

static void test_usage(void **state)
{
	(void)state;
	expect("--body-limt 5", 64, "there is no option --body-limt, did you mean --body-limit");
	expect("--body-limt=5", 64, "did you mean --body-limit");
	expect("run --body-limt 5", 64, "did you mean --body-limit");
	expect("walk", 64, "there is no command walk\n");
	expect("mtach http://h/", 64, "there is no command mtach, did you mean match\n");
	expect("run away", 64, "retrywith run: there is no away; say nothing more");
	expect("-x", 64, "there is no option -x");
	expect("-c", 64, "-c wants a value");
	expect("--workers", 64, "--workers wants a value");
	expect("--workers x", 78, "--workers: \"x\" is not a number");
	expect("match", 64, "usage: retrywith match URL");
	expect("match http://a/ http://b/", 64, "usage: retrywith match URL");
	expect("match example.com", 64, "usage: retrywith match URL");
	expect("match example.com", 64, "example.com: malformed request target, want http://HOST/");
	expect("-t --error-log off", 78, "error-log: it cannot be off");
	expect("--completion", 64, "--completion wants bash or zsh");
	expect("--completion fish", 64, "--completion wants bash or zsh");
	expect("match --method", 64, "usage: retrywith match URL");
	expect("match --metod GET http://a/", 64, "usage: retrywith match URL");
}

static void test_prints(void **state)
{
	(void)state;
	expect("-h", 0, "\n  --listen ADDR:PORT ");
	expect("run --help", 0, "\nCommands:\n  run ");
	expect("match --help", 0, "usage: retrywith [-c FILE] [--OPTION VALUE ...] match URL [--method");
	expect("match -h", 0, "To tell which rule applies");
	assert_null(strstr(said, "Commands:"));
	expect("-V", 0, "retrywith " RETRYWITH_VERSION "\nlibevent ");
	expect("-v", 0, "llhttp ");
	expect("--version", 0, "OpenSSL ");
	expect("-V", 0, "c-ares ");
	expect("--sample", 0, "\n#body-limit = 64M\n");
	expect("--man", 0, ".TH RETRYWITH.CONF 5");
	expect("-T", 0, "\nlisten = {\"127.0.0.1:3128\", \"[::1]:3128\"}\n");
	expect("-T --workers 3", 0, "\nworkers = 3\n");
	expect("-t", 0, "the configuration is good");
	expect("-t -c FILE", 0, file);
	expect("-t --workers x", 78, "--workers: ");
	expect("-T -c /nowhere/x.conf", 78, "/nowhere/x.conf: No such file");
}

static void test_match(void **state)
{
	(void)state;
	expect("match http://orders.example/api/1 -c FILE", 0, "rule      \"orders\", line 3 of ");
	assert_non_null(strstr(said, "the host is orders.example or *.orders.example\n"));
	assert_non_null(strstr(said, "the path is /api/*\n"));
	assert_non_null(strstr(said, "answers   echo: "));
	assert_non_null(strstr(said, "supply: any 449"));
	assert_non_null(strstr(said, "sends X-A with a replay, from field X-B of the 449\n"));
	assert_non_null(strstr(said, "others    \"old\" does not match: its user-agent is another\n"));
	assert_non_null(strstr(said, "\"all\" matches too, but comes later\n"));
	assert_non_null(strstr(said, "access    the name is fine"));
	expect("-c FILE match --user-agent=MSIE --method=PUT http://x/", 0,
	       "request   PUT http://x/\nrule      \"old\"");
	assert_non_null(strstr(said, "answers   nothing"));
	expect("match http://127.0.0.1/", 0, "rule      there is none");
	assert_non_null(strstr(said, "access    allowed, for a client on this host\n"));
	expect("match http://127.0.0.1:3128/", 0, "access    refused: the request came back");
	expect("match http://[::ffff:a9fe:a9fe]/", 0, "access    refused: this destination");
	expect("match http://0x7f.1/", 0, "access    refused: unusual spelling");
	expect("match https://h:8443/", 0, "CONNECT to port 8443 is refused");
	assert_non_null(strstr(said, "tls       not opened"));
	expect("match --method CONNECT h:443", 0, "CONNECT to port 443 is allowed");
	assert_non_null(strstr(said, "replays   never: CONNECT is not replayed"));
	expect("match --mode observe http://h?q", 0, "replays   never: mode is observe");
	expect("match --workers x http://h/", 78, "--workers: ");
}

/* Every command is in the manual, and the manual's switches are in the help. */
static void test_manual(void **state)
{
	static const char *const switches[] = { "-c", "-t", "-T", "-V", "-h", "-f", "-v",
						"--sample", "--man" };
	char *man = calloc(1, 1 << 17), want[64];
	FILE *in = fopen(TOP "/docs/man/retrywith.8", "r");

	(void)state;
	assert_non_null(in);
	assert_true(fread(man, 1, (1 << 17) - 1, in) > 0);
	fclose(in);
	for (unsigned i = 0; i < COMMANDS; i++) {
		snprintf(want, sizeof(want), "\n.TP\n.B %s", commands[i].name);
		if (!strstr(man, want))
			fail_msg("%s is not in retrywith(8)", commands[i].name);
	}
	expect("-h", 0, "Switches:");
	for (size_t i = 0; i < sizeof(switches) / sizeof(*switches); i++) {
		size_t n = 0;

		for (const char *p = switches[i]; *p; p++)
			n += (size_t)snprintf(want + n, sizeof(want) - n, "%s%c",
					      *p == '-' ? "\\" : "", *p);
		if (!strstr(man, want) || !strstr(said, switches[i]))
			fail_msg("%s is not told everywhere", switches[i]);
	}
	free(man);
}

static int setup(void **state)
{
	static const char text[] =
		"workers = 7\n# rules\nrule orders {\n host = {orders.example, '*.orders.example'}\n"
		" path = '/api/*'\n supply X-A { from = 'header:X-B' }\n}\n"
		"rule old { user-agent = '*MSIE*' answer = {} }\nrule all { }\n";
	int fd = mkstemp(file);

	(void)state;
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? close(fd) : -1;
}

static int teardown(void **state)
{
	(void)state;
	return unlink(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_switches),
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_prints),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_manual),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
