#include "net/address.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char *text_of(const struct address *a)
{
	static char room[INET6_ADDRSTRLEN];

	if (a->sa.sa_family == AF_INET)
		inet_ntop(AF_INET, &a->in4.sin_addr, room, sizeof(room));
	else
		inet_ntop(AF_INET6, &a->in6.sin6_addr, room, sizeof(room));
	return room;
}

static struct addresses list(const char *words)
{
	struct addresses all = { .n = 0 };
	struct str rest = str_of(words), word;

	while (str_list_next(&rest, &word)) {
		struct address a;

		assert_true(address_parse(word, 0, &a));
		addresses_add(&all, &a);
	}
	return all;
}

static void check_list(const struct addresses *all, const char *expected)
{
	char room[1000] = "";

	for (unsigned i = 0; i < all->n; i++)
		snprintf(room + strlen(room), sizeof(room) - strlen(room), "%s%s", i ? "," : "",
			 text_of(&all->at[i]));
	assert_string_equal(room, expected);
}

static void test_parse(void **state)
{
	static const struct { const char *text, *found; } row[] = {
		{ "127.0.0.1", "127.0.0.1" }, { "0.0.0.0", "0.0.0.0" },
		{ "255.255.255.255", "255.255.255.255" },
		{ "::1", "::1" }, { "::", "::" }, { "2001:DB8::1", "2001:db8::1" },
		{ "::ffff:192.0.2.1", "::ffff:192.0.2.1" },
		{ "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8" },
		{ "", NULL }, { "127.1", NULL }, { "127.0.0", NULL }, { "127.0.0.1.", NULL },
		{ "0127.0.0.1", NULL }, { "0x7f.0.0.1", NULL }, { "2130706433", NULL },
		{ "127.0.0.256", NULL }, { " 127.0.0.1", NULL }, { "127.0.0.1 ", NULL },
		{ "[::1]", NULL }, { "fe80::1%eth0", NULL }, { "fe80::1%1", NULL },
		{ "1:2:3:4:5:6:7", NULL }, { "1:2:3:4:5:6:7:8:9", NULL }, { ":::", NULL },
		{ "example.test", NULL },
		{ "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb", NULL },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct address a;
		bool ok = address_parse(str_of(row[i].text), 8080, &a);

		if (ok != (row[i].found != NULL))
			fail_msg("\"%s\": %d", row[i].text, ok);
		if (!ok)
			continue;
		assert_string_equal(text_of(&a), row[i].found);
		assert_int_equal(a.sa.sa_family == AF_INET ? a.in4.sin_port : a.in6.sin6_port,
				 htons(8080));
	}
	assert_false(address_parse(((struct str){ "1.2.3.4\0", 8 }), 1, &(struct address){ 0 }));
}

static void test_interleave(void **state)
{
	struct addresses v4 = list("1.1.1.1, 1.1.1.2, 1.1.1.3"), v6 = list("::a, ::b"), out;

	addresses_interleave(&v6, &v4, &out);
	check_list(&out, "::a,1.1.1.1,::b,1.1.1.2,1.1.1.3");
	addresses_interleave(&v4, &v6, &out);
	check_list(&out, "1.1.1.1,::a,1.1.1.2,::b,1.1.1.3");
	v6.n = 0;
	addresses_interleave(&v6, &v4, &out);
	check_list(&out, "1.1.1.1,1.1.1.2,1.1.1.3");
	v4.n = 0;
	addresses_interleave(&v6, &v4, &out);
	assert_int_equal(out.n, 0);
}

static void test_bound(void **state)
{
	struct addresses v4 = { .n = 0 }, v6, out;
	struct address a;

	for (int i = 0; i < 100; i++) {
		address_parse(STR("9.9.9.9"), 0, &a);
		addresses_add(&v4, &a);
	}
	assert_int_equal(v4.n, ADDRESSES_MOST);
	v6 = list("::a, ::b");
	addresses_interleave(&v4, &v6, &out);
	assert_int_equal(out.n, ADDRESSES_MOST);
	assert_int_equal(out.at[1].sa.sa_family, AF_INET6);
	assert_int_equal(out.at[3].sa.sa_family, AF_INET6);
}

/* Makeshift and local prefixes never come before IPv4, route or not. */
static void test_order(void **state)
{
	static const char *behind[] = { "2002:c000:201::1", "2001::1", "fd00::1", "fc12::1" };

	for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
		struct addresses v4 = list("192.0.2.1"), v6 = list(behind[i]), out;

		addresses_in_order(&v4, &v6, &out);
		assert_int_equal(out.n, 2);
		assert_int_equal(out.at[0].sa.sa_family, AF_INET);
		v4.n = 0;
		addresses_in_order(&v4, &v6, &out);
		check_list(&out, behind[i]);
	}
}

static void test_ports(void **state)
{
	struct addresses all = list("192.0.2.1, ::1");
	struct address copy;

	addresses_set_port(&all, 443);
	assert_int_equal(all.at[0].in4.sin_port, htons(443));
	assert_int_equal(all.at[1].in6.sin6_port, htons(443));
	copy = address_of(&all.at[1].sa);
	assert_int_equal(copy.in6.sin6_port, 0);
	assert_string_equal(text_of(&copy), "::1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_interleave),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
