/* pac: which hosts stand in the script. That browsers' own engine reads it as it is
 * meant is shown by tests/flow/test_admin.py. */
#include "worker/pac.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char *text;

static int drop(void **state)
{
	free(text);
	text = NULL;
	return 0;
}

static const char *pac_of(const char *config)
{
	char path[] = "/tmp/retrywith-pac-XXXXXX", *err = NULL;
	int fd = mkstemp(path);
	struct config *c;
	size_t size;
	FILE *out;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, config, strlen(config)), strlen(config));
	close(fd);
	c = config_load(path, NULL, 0, &err);
	unlink(path);
	if (!c)
		fail_msg("%s", err);
	drop(NULL);
	out = open_memstream(&text, &size);
	pac_write(c, "127.0.0.1:3128", out);
	fclose(out);
	config_release(c);
	return text;
}

#define HTTP "url.substring(0, 5).toLowerCase() == \"http:\""

static void test_rows(void **state)
{
	static const struct { const char *config, *has; } rows[] = {
		{ "", "var proxy = \"PROXY 127.0.0.1:3128; DIRECT\";" },
		{ "", "var named = [];" },
		{ "", "if (" HTTP ")\n" },
		{ "rule \"a\" { host = \"*.A-b.example\" }", "var named = [\".*\\\\x2ea-b\\\\x2eexample\"];" },
		{ "rule \"a\" { host = \"a\" }", "if (" HTTP " && matches(host, named))\n" },
		{ "rule \"a\" { host = {\"a\", \"b?\"} }\nrule \"c\" { host = \"c\" }",
		  "var named = [\"a\", \"b.\", \"c\"];" },
		/* what is not answered needs no proxy */
		{ "rule \"a\" { host = \"a\" answer = {} }\nrule \"b\" { host = \"b\" }",
		  "var named = [\"b\"];" },
		{ "rule \"a\" { host = \"a\" mode = off }\nrule \"b\" { host = \"b\" }",
		  "var named = [\"b\"];" },
		{ "rule \"a\" { host = \"a\" answer = {} }", "if (" HTTP ")\n" },
		/* a rule for any host */
		{ "rule \"a\" { host = \"a\" }\nrule \"b\" { path = \"/x\" }", "if (" HTTP ")\n" },
	};

	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
		if (!strstr(pac_of(rows[i].config), rows[i].has))
			fail_msg("row %u: no %s in\n%s", i, rows[i].has, text);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_teardown(test_rows, drop) };

	return cmocka_run_group_tests_name("pac", tests, NULL, NULL);
}
