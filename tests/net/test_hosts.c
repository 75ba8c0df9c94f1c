#include "net/hosts.h"

#include <sys/stat.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/test-hosts-XXXXXX";
static char file[64];

static void write_hosts(const char *text)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static const char *find(struct hosts *h, const char *name)
{
	static char room[1000];
	struct addresses all;
	bool any = hosts_find(h, str_of(name), &all);

	room[0] = '\0';
	assert_int_equal(any, all.n > 0);
	for (unsigned i = 0; i < all.n; i++) {
		char one[INET6_ADDRSTRLEN];

		inet_ntop(all.at[i].sa.sa_family, all.at[i].sa.sa_family == AF_INET ?
			  (void *)&all.at[i].in4.sin_addr : (void *)&all.at[i].in6.sin6_addr,
			  one, sizeof(one));
		snprintf(room + strlen(room), sizeof(room) - strlen(room), "%s%s", i ? "," : "", one);
	}
	return room;
}

static void test_lines(void **state)
{
	static const struct { const char *name, *found; } row[] = {
		{ "one.test", "192.0.2.1" }, { "alias", "192.0.2.1" }, { "ONE.Test", "192.0.2.1" },
		{ "two.test", "192.0.2.2,2001:db8::2,192.0.2.22" },
		{ "tabs.test", "192.0.2.3" }, { "upper.test", "192.0.2.4" },
		{ "crlf.test", "192.0.2.5" }, { "last.test", "192.0.2.6" },
		{ "hash.test", "192.0.2.7" }, { "twice.test", "192.0.2.8" },
		{ "ne.test", "" }, { "one.tes", "" }, { "test", "" }, { "one", "" },
		{ "commented.test", "" }, { "behind.test", "" }, { "192.0.2.1", "" },
		{ "bad.test", "" }, { "zone.test", "" }, { "nobody.test", "" }, { "", "" },
		{ "#", "" },
	};
	struct hosts *h;

	write_hosts("192.0.2.1 one.test alias\n"
		    "\n   \n#192.0.2.9 commented.test\n"
		    "192.0.2.2 two.test\n2001:db8::2 x two.test\n"
		    "  192.0.2.3\t\ttabs.test\t# behind.test\n"
		    "192.0.2.4 UPPER.TEST\n192.0.2.5 crlf.test\r\n"
		    "192.0.2.7 hash.test#x\n192.0.2.8 twice.test twice.test\n"
		    "192.0.2 bad.test\nfe80::1%lo zone.test\nbad.test\n"
		    "192.0.2.22 two.test\n"
		    "192.0.2.6 last.test");
	h = hosts_new(file);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		assert_string_equal(find(h, row[i].name), row[i].found);
	hosts_free(h);
}

static void test_changes(void **state)
{
	struct hosts *h;

	unlink(file);
	h = hosts_new(file);
	assert_string_equal(find(h, "a.test"), "");
	write_hosts("192.0.2.1 a.test\n");
	assert_string_equal(find(h, "a.test"), "192.0.2.1");
	write_hosts("192.0.2.11 a.test\n");
	assert_string_equal(find(h, "a.test"), "192.0.2.11");
	write_hosts("");
	assert_string_equal(find(h, "a.test"), "");
	write_hosts("192.0.2.1 a.test\n");
	assert_string_equal(find(h, "a.test"), "192.0.2.1");
	unlink(file);
	assert_string_equal(find(h, "a.test"), "");
	write_hosts("192.0.2.1 a.test\n");
	assert_string_equal(find(h, "a.test"), "192.0.2.1");
	hosts_free(h);
}

static void test_many_addresses(void **state)
{
	struct addresses all;
	struct hosts *h;
	FILE *f = fopen(file, "w");

	for (int i = 0; i < 100; i++)
		fprintf(f, "192.0.2.%d many.test\n", i);
	fclose(f);
	h = hosts_new(file);
	assert_true(hosts_find(h, STR("many.test"), &all));
	assert_int_equal(all.n, ADDRESSES_MOST);
	hosts_free(h);
}

static void test_no_file(void **state)
{
	struct hosts *h = hosts_new(dir);	/* a directory */

	assert_string_equal(find(h, "a.test"), "");
	hosts_free(h);
	hosts_free(NULL);
}

static int set_up(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof(file), "%s/hosts", dir);
	return 0;
}

static int tear_down(void **state)
{
	unlink(file);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_many_addresses),
		cmocka_unit_test(test_no_file),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
