/* access: every embedded form of the addresses that must not be dialled, the
 * odd spellings of hosts, and the operator's lists. (P09) */
#include "policy/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static struct sockaddr_storage address(const char *text, uint16_t port)
{
	struct sockaddr_storage s = { 0 };
	struct sockaddr_in *in4 = (void *)&s;
	struct sockaddr_in6 *in6 = (void *)&s;

	if (inet_pton(AF_INET, text, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		return s;
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) != 1)
		fail_msg("%s is no address", text);
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	return s;
}

static enum why target(const struct access *a, const char *client, const char *to)
{
	struct sockaddr_storage c, t = address(to, 80);

	if (!client)
		return access_target(a, NULL, (void *)&t);
	c = address(client, 40000);
	return access_target(a, (void *)&c, (void *)&t);
}

static void expect_target(const char *client, const char *to, enum why want)
{
	static const struct access plain;
	enum why got = target(&plain, client, to);

	if (got != want)
		fail_msg("client %s to %s: %s, want %s", client ? client : "(none)", to,
			 why_name(got), why_name(want));
}

/* All IPv6 spellings that carry a.b.c.d, by family of carrier. */
enum { FORMS = 10 };

static void forms(const char *v4, char out[FORMS][INET6_ADDRSTRLEN])
{
	unsigned char o[4];
	unsigned hi, lo;

	assert_int_equal(inet_pton(AF_INET, v4, o), 1);
	hi = o[0] << 8 | o[1];
	lo = o[2] << 8 | o[3];
	snprintf(out[0], INET6_ADDRSTRLEN, "::ffff:%x:%x", hi, lo);
	snprintf(out[1], INET6_ADDRSTRLEN, "::%x:%x", hi, lo);
	snprintf(out[2], INET6_ADDRSTRLEN, "64:ff9b::%x:%x", hi, lo);
	snprintf(out[3], INET6_ADDRSTRLEN, "64:ff9b:1::%x:%x", hi, lo);
	snprintf(out[4], INET6_ADDRSTRLEN, "64:ff9b:1:%x:%x:%x::", hi, o[2], o[3] << 8);
	snprintf(out[5], INET6_ADDRSTRLEN, "64:ff9b:1:%x:%x:%x::", o[0], o[1], lo);
	snprintf(out[6], INET6_ADDRSTRLEN, "64:ff9b:1::%x:%x:%x:0", o[0], o[1] << 8 | o[2],
		 o[3] << 8);
	snprintf(out[7], INET6_ADDRSTRLEN, "2002:%x:%x::1", hi, lo);
	snprintf(out[8], INET6_ADDRSTRLEN, "2001:0:808:808:0:1234:%x:%x", hi ^ 0xffff,
		 lo ^ 0xffff);
	snprintf(out[9], INET6_ADDRSTRLEN, "2001:0:%x:%x:0:1234:f7f7:f7f7", hi, lo);
}

static void test_embedded_metadata(void **state)
{
	static const char *const bad[] = {
		"169.254.169.254", "169.254.0.1", "100.100.100.200", "168.63.129.16",
		"224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "0.1.2.3",
	};
	char form[FORMS][INET6_ADDRSTRLEN];

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		expect_target("127.0.0.1", bad[i], WHY_DENIED_TARGET);
		expect_target("10.1.2.3", bad[i], WHY_DENIED_TARGET);
		forms(bad[i], form);
		for (unsigned f = 0; f < FORMS; f++)
			if (!(f >= 3 && f <= 6 && bad[i][0] == '0'))
				expect_target("::1", form[f], WHY_DENIED_TARGET);
	}
}

static void test_embedded_loopback(void **state)
{
	char form[FORMS][INET6_ADDRSTRLEN];

	(void)state;
	forms("127.0.0.1", form);
	/* Mapped is the same address; the others are somebody's loopback. */
	expect_target("127.0.0.1", form[0], WHY_DONE);
	expect_target("192.168.1.9", form[0], WHY_DENIED_TARGET);
	for (unsigned f = 1; f < FORMS; f++) {
		expect_target("127.0.0.1", form[f], WHY_DENIED_TARGET);
		expect_target("192.168.1.9", form[f], WHY_DENIED_TARGET);
	}
}

static void test_embedded_public_and_private(void **state)
{
	static const char *const good[] = { "93.184.216.34", "10.0.0.1", "192.168.7.7",
					    "172.31.0.1", "100.64.0.1" };
	char form[FORMS][INET6_ADDRSTRLEN];

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		expect_target("10.1.2.3", good[i], WHY_DONE);
		forms(good[i], form);
		expect_target("10.1.2.3", form[0], WHY_DONE);
		expect_target("10.1.2.3", form[2], WHY_DONE);
		expect_target("10.1.2.3", form[3], WHY_DONE);
		expect_target("10.1.2.3", form[7], WHY_DONE);
		expect_target("10.1.2.3", form[8], WHY_DONE);
	}
}

static void test_targets(void **state)
{
	static const struct { const char *client, *to; enum why want; } rows[] = {
		{ NULL, "127.0.0.1", WHY_DONE },
		{ NULL, "::1", WHY_DONE },
		{ "127.9.9.9", "127.0.0.1", WHY_DONE },
		{ "::1", "127.0.0.1", WHY_DONE },
		{ "::ffff:127.0.0.1", "::1", WHY_DONE },
		{ "127.0.0.1", "::ffff:127.0.0.1", WHY_DONE },	/* the same address */
		{ "::ffff:10.0.0.1", "::ffff:127.0.0.1", WHY_DENIED_TARGET },
		{ "10.0.0.1", "127.0.0.1", WHY_DENIED_TARGET },
		{ "10.0.0.1", "127.255.255.254", WHY_DENIED_TARGET },
		{ "2001:4860::1", "::1", WHY_DENIED_TARGET },
		{ "127.0.0.1", "0.0.0.0", WHY_DENIED_TARGET },
		{ "127.0.0.1", "::", WHY_DENIED_TARGET },
		{ "127.0.0.1", "fe80::1", WHY_DENIED_TARGET },
		{ "127.0.0.1", "febf::1", WHY_DENIED_TARGET },
		{ "127.0.0.1", "fe80::a9fe:a9fe", WHY_DENIED_TARGET },
		{ "127.0.0.1", "ff02::1", WHY_DENIED_TARGET },
		{ "127.0.0.1", "fd00:ec2::254", WHY_DENIED_TARGET },
		{ "127.0.0.1", "fd20:ce::254", WHY_DENIED_TARGET },
		{ "127.0.0.1", "2001:db8::1", WHY_DENIED_TARGET },
		{ "127.0.0.1", "100::1", WHY_DENIED_TARGET },
		{ "127.0.0.1", "198.51.100.7", WHY_DENIED_TARGET },
		{ "127.0.0.1", "198.19.255.255", WHY_DENIED_TARGET },
		{ "127.0.0.1", "192.0.0.192", WHY_DENIED_TARGET },
		{ "127.0.0.1", "fd12:3456::1", WHY_DONE },
		{ "127.0.0.1", "fec0::1", WHY_DONE },
		{ "127.0.0.1", "2606:4700::1111", WHY_DONE },
		{ "127.0.0.1", "198.17.0.1", WHY_DONE },
		{ "127.0.0.1", "198.20.0.1", WHY_DONE },
		{ "127.0.0.1", "169.253.255.255", WHY_DONE },
		{ "127.0.0.1", "169.255.0.0", WHY_DONE },
		{ "127.0.0.1", "223.255.255.255", WHY_DONE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		expect_target(rows[i].client, rows[i].to, rows[i].want);
}

static void test_unix_clients(void **state)
{
	const struct sockaddr_un un = { .sun_family = AF_UNIX };
	const struct access a = { 0 };
	struct sockaddr_storage to = address("127.0.0.1", 80);

	(void)state;
	assert_int_equal(access_client(&a, (const void *)&un), WHY_DONE);
	assert_int_equal(access_target(&a, (const void *)&un, (void *)&to), WHY_DONE);
	assert_int_equal(access_target(&a, NULL, (const void *)&un), WHY_DENIED_TARGET);
}

static struct network_list networks(struct network *room, const char *const *text, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!network_parse(str_of(text[i]), &room[i]))
			fail_msg("%s is no network", text[i]);
	return (struct network_list){ room, n };
}

static void test_deny_to_and_allow_to(void **state)
{
	static const char *const deny[] = { "10.0.0.0/8", "fd00:1::/32" };
	static const char *const allow[] = { "169.254.169.254", "10.9.0.0/16", "127.0.0.0/8",
					     "2001:db8::/32" };
	struct network d[2], w[4];
	struct access a = { .deny_to = networks(d, deny, 2), .allow_to = networks(w, allow, 4) };
	static const struct { const char *to; enum why want; } rows[] = {
		{ "10.1.2.3", WHY_DENIED_TARGET },
		{ "10.9.1.1", WHY_DENIED_TARGET },		/* deny-to is first */
		{ "::ffff:10.1.2.3", WHY_DENIED_TARGET },
		{ "64:ff9b::10.1.2.3", WHY_DENIED_TARGET },
		{ "2002:a01:203::", WHY_DENIED_TARGET },
		{ "fd00:1::9", WHY_DENIED_TARGET },
		{ "169.254.169.254", WHY_DONE },
		{ "::ffff:169.254.169.254", WHY_DONE },
		{ "169.254.169.253", WHY_DENIED_TARGET },
		{ "64:ff9b::169.254.169.254", WHY_DENIED_TARGET },
		{ "127.0.0.1", WHY_DONE },			/* from 10.0.0.9 */
		{ "::1", WHY_DENIED_TARGET },
		{ "2001:db8::1", WHY_DONE },
		{ "11.0.0.1", WHY_DONE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (target(&a, "10.0.0.9", rows[i].to) != rows[i].want)
			fail_msg("%s: not %s", rows[i].to, why_name(rows[i].want));
}

static void test_families_apart(void **state)
{
	static const char *const six[] = { "::/0" };
	static const char *const four[] = { "0.0.0.0/0" };
	struct network n[1];
	struct access a = { 0 };

	(void)state;
	a.deny_to = networks(n, six, 1);
	assert_int_equal(target(&a, NULL, "93.184.216.34"), WHY_DONE);
	assert_int_equal(target(&a, NULL, "2606:4700::1111"), WHY_DENIED_TARGET);
	a.deny_to = networks(n, four, 1);
	assert_int_equal(target(&a, NULL, "93.184.216.34"), WHY_DENIED_TARGET);
	assert_int_equal(target(&a, NULL, "2606:4700::1111"), WHY_DONE);
}

static void test_own_addresses(void **state)
{
	struct sockaddr_storage own[3], to;
	struct access a = { .own = own, .own_n = 3 };
	static const struct { const char *to; uint16_t port; enum why want; } rows[] = {
		{ "127.0.0.1", 3128, WHY_LOOP },
		{ "::ffff:127.0.0.1", 3128, WHY_LOOP },
		{ "127.0.0.1", 80, WHY_DONE },
		{ "127.0.0.2", 3128, WHY_DONE },
		{ "10.0.0.5", 8080, WHY_LOOP },
		{ "10.0.0.5", 8081, WHY_DONE },
		{ "127.0.0.7", 9000, WHY_LOOP },	/* listens on all */
		{ "0.0.0.0", 9000, WHY_LOOP },
		{ "::", 9000, WHY_LOOP },
		{ "::1", 9000, WHY_LOOP },
		{ "10.0.0.6", 9000, WHY_DONE },
	};

	(void)state;
	own[0] = address("127.0.0.1", 3128);
	own[1] = address("10.0.0.5", 8080);
	own[2] = address("0.0.0.0", 9000);
	for (size_t i = 0; i < COUNT(rows); i++) {
		enum why got;

		to = address(rows[i].to, rows[i].port);
		got = access_target(&a, NULL, (void *)&to);
		if (got != rows[i].want)
			fail_msg("%s:%u: %s", rows[i].to, rows[i].port, why_name(got));
	}
}

static void test_clients(void **state)
{
	static const char *const allow[] = { "10.0.0.0/8", "fd00::/8" };
	static const char *const deny[] = { "10.6.6.0/24" };
	struct network w[2], d[1];
	struct access a = { 0 };
	static const struct { const char *client; enum why by_default, with_lists; } rows[] = {
		{ "127.0.0.1", WHY_DONE, WHY_DENIED_CLIENT },
		{ "::1", WHY_DONE, WHY_DENIED_CLIENT },
		{ "::ffff:127.0.0.1", WHY_DONE, WHY_DENIED_CLIENT },
		{ "10.1.1.1", WHY_DENIED_CLIENT, WHY_DONE },
		{ "::ffff:10.1.1.1", WHY_DENIED_CLIENT, WHY_DONE },
		{ "10.6.6.6", WHY_DENIED_CLIENT, WHY_DENIED_CLIENT },
		{ "fd77::1", WHY_DENIED_CLIENT, WHY_DONE },
		{ "8.8.8.8", WHY_DENIED_CLIENT, WHY_DENIED_CLIENT },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct sockaddr_storage c = address(rows[i].client, 1);

		a.allow = a.deny = (struct network_list){ 0 };
		assert_int_equal(access_client(&a, (void *)&c), rows[i].by_default);
		a.allow = networks(w, allow, 2);
		a.deny = networks(d, deny, 1);
		assert_int_equal(access_client(&a, (void *)&c), rows[i].with_lists);
	}
}

static void test_networks(void **state)
{
	static const struct { const char *text; bool good; unsigned bits; } rows[] = {
		{ "10.0.0.0/8", true, 104 }, { "192.168.1.7", true, 128 },
		{ "0.0.0.0/0", true, 96 }, { "::1", true, 128 }, { "::/0", true, 0 },
		{ "[fd00::]/8", true, 8 }, { "fd00::/8", true, 8 }, { "[::1]", true, 128 },
		{ "2001:db8::/33", true, 33 }, { "::ffff:10.0.0.0/104", true, 104 },
		{ "10.0.0.1/8", false, 0 }, { "fd00::1/64", false, 0 },
		{ "10.0.0.0/33", false, 0 }, { "::/129", false, 0 }, { "10.0.0.0/", false, 0 },
		{ "/8", false, 0 }, { "", false, 0 }, { "10/8", false, 0 },
		{ "10.0.0/24", false, 0 }, { "[10.0.0.0]/8", false, 0 },
		{ "10.0.0.0/-1", false, 0 }, { "10.0.0.0/8/8", false, 0 },
		{ "fe80::1%eth0", false, 0 }, { "example", false, 0 }, { "[]", false, 0 },
		{ "010.0.0.0/8", false, 0 }, { "0x0a.0.0.0/8", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct network n = { .bits = 0 };
		bool good = network_parse(str_of(rows[i].text), &n);

		if (good != rows[i].good || (good && n.bits != rows[i].bits))
			fail_msg("%s: %d, %u bits", rows[i].text, good, n.bits);
	}
}

/* Against a bit by bit reading, over random networks and addresses. */
static bool naive_has(const struct network *n, const uint8_t octets[16])
{
	for (unsigned i = 0; i < n->bits; i++)
		if ((n->octets[i / 8] ^ octets[i / 8]) & (0x80 >> (i % 8)))
			return false;
	return true;
}

static void test_networks_at_random(void **state)
{
	unsigned seed = 449, hits = 0;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
		struct network n = { .bits = (uint8_t)(rand_r(&seed) % 129) };
		const struct network_list l = { &n, 1 };
		bool want;

		for (unsigned i = 0; i < 16; i++)
			n.octets[i] = in6.sin6_addr.s6_addr[i] = (uint8_t)rand_r(&seed) | 1;
		if (round % 4)
			in6.sin6_addr.s6_addr[rand_r(&seed) % 16] ^=
				(uint8_t)(1 << rand_r(&seed) % 8);
		want = naive_has(&n, in6.sin6_addr.s6_addr);
		hits += want;
		assert_int_equal(network_list_has(&l, (void *)&in6), want);
	}
	assert_in_range(hits, 5000, 19000);
}

static void test_ports(void **state)
{
	static const struct { const char *text; bool good; uint16_t first, last; } rows[] = {
		{ "443", true, 443, 443 }, { "8000-8999", true, 8000, 8999 },
		{ "1-65535", true, 1, 65535 }, { "0", false, 0, 0 }, { "65536", false, 0, 0 },
		{ "9-8", false, 0, 0 }, { "-8", false, 0, 0 }, { "8-", false, 0, 0 },
		{ "", false, 0, 0 }, { "http", false, 0, 0 }, { "1-2-3", false, 0, 0 },
	};
	struct port_range r[2] = { { 443, 443 }, { 8000, 8999 } };
	struct access a = { .connect_ports = { r, 2, NULL }, .deny_ports = { r, 1, NULL } };
	struct arena *arena = arena_new(65536, 65536);

	(void)state;
	assert_true(port_list_ready(&a.connect_ports, arena));
	assert_true(port_list_ready(&a.deny_ports, arena));
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct port_range p = { 0, 0 };
		bool good = port_range_parse(str_of(rows[i].text), &p);

		if (good != rows[i].good ||
		    (good && (p.first != rows[i].first || p.last != rows[i].last)))
			fail_msg("%s: %u-%u", rows[i].text, p.first, p.last);
	}
	assert_int_equal(access_connect_port(&a, 443), WHY_DONE);
	assert_int_equal(access_connect_port(&a, 8000), WHY_DONE);
	assert_int_equal(access_connect_port(&a, 8999), WHY_DONE);
	assert_int_equal(access_connect_port(&a, 9000), WHY_DENIED_PORT);
	assert_int_equal(access_connect_port(&a, 25), WHY_DENIED_PORT);
	assert_int_equal(access_url_port(&a, 443), WHY_DENIED_URL_PORT);
	assert_int_equal(access_url_port(&a, 442), WHY_DONE);
	assert_int_equal(access_url_port(&a, 8000), WHY_DONE);
	arena_free(arena);
}

static void test_hosts(void **state)
{
	static const struct { const char *host; bool literal6; enum why want; } rows[] = {
		{ "example.com", false, WHY_DONE }, { "EXAMPLE.com.", false, WHY_DONE },
		{ "localhost", false, WHY_DONE }, { "a_b-c.1x.example", false, WHY_DONE },
		{ "127.0.0.1", false, WHY_DONE }, { "255.255.255.255", false, WHY_DONE },
		{ "xn--bcher-kva.example", false, WHY_DONE }, { "1.2.3.4.example", false, WHY_DONE },
		{ "dead.beef", false, WHY_DONE }, { "123.example", false, WHY_DONE },
		{ "::1", true, WHY_DONE }, { "::ffff:1.2.3.4", true, WHY_DONE },
		/* PO- rows of the wire cases, and kin */
		{ "0xA9FEA9FE", false, WHY_NUMERIC_HOST },
		{ "0251.0376.0251.0376", false, WHY_NUMERIC_HOST },
		{ "0xa9.254.0251.254", false, WHY_NUMERIC_HOST },
		{ "169.254.169.254.", false, WHY_NUMERIC_HOST },
		{ "127.1", false, WHY_NUMERIC_HOST }, { "127.0.1", false, WHY_NUMERIC_HOST },
		{ "017700000001", false, WHY_NUMERIC_HOST }, { "0", false, WHY_NUMERIC_HOST },
		{ "2130706433", false, WHY_NUMERIC_HOST }, { "0x7f000001", false, WHY_NUMERIC_HOST },
		{ "0X7F.1", false, WHY_NUMERIC_HOST }, { "0x", false, WHY_NUMERIC_HOST },
		{ "127.0.0.01", false, WHY_NUMERIC_HOST }, { "00.0.0.0", false, WHY_NUMERIC_HOST },
		{ "256.1.1.1", false, WHY_NUMERIC_HOST }, { "1.2.3.4.5", false, WHY_NUMERIC_HOST },
		{ "127.0.0.1.", false, WHY_NUMERIC_HOST }, { "1.1.1.08", false, WHY_NUMERIC_HOST },
		{ "localhost", true, WHY_BAD_TARGET }, { "127.0.0.1", true, WHY_BAD_TARGET },
		{ "fe80::1%eth0", true, WHY_BAD_TARGET }, { "::1%25lo", true, WHY_BAD_TARGET },
		{ "::1", false, WHY_BAD_TARGET }, { "", true, WHY_BAD_TARGET },
		{ "127\xe3\x80\x82" "0.0.1", false, WHY_BAD_TARGET },
		{ "", false, WHY_BAD_TARGET }, { ".", false, WHY_BAD_TARGET },
		{ "a..b", false, WHY_BAD_TARGET }, { ".a", false, WHY_BAD_TARGET },
		{ "a..", false, WHY_BAD_TARGET }, { "a b", false, WHY_BAD_TARGET },
		{ "a%2eb", false, WHY_BAD_TARGET }, { "a\tb", false, WHY_BAD_TARGET },
		{ "user@host", false, WHY_BAD_TARGET }, { "*", false, WHY_BAD_TARGET },
		{ "metadata.google.internal", false, WHY_DENIED_TARGET },
		{ "Metadata.Google.Internal.", false, WHY_DENIED_TARGET },
		{ "metadata.goog", false, WHY_DENIED_TARGET },
		{ "x.metadata.goog", false, WHY_DONE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		enum why got = access_host(str_of(rows[i].host), rows[i].literal6);

		if (got != rows[i].want)
			fail_msg("'%s': %s, want %s", rows[i].host, why_name(got),
				 why_name(rows[i].want));
	}
}

static void test_long_hosts(void **state)
{
	char text[300];

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_int_equal(access_host((struct str){ text, 63 }, false), WHY_DONE);
	assert_int_equal(access_host((struct str){ text, 64 }, false), WHY_BAD_TARGET);
	for (unsigned i = 50; i < sizeof(text); i += 50)
		text[i] = '.';
	assert_int_equal(access_host((struct str){ text, 253 }, false), WHY_DONE);
	assert_int_equal(access_host((struct str){ text, 254 }, false), WHY_BAD_TARGET);
	assert_int_equal(access_host((struct str){ "a\0b", 3 }, false), WHY_BAD_TARGET);
	assert_int_equal(access_host((struct str){ "::1\0", 4 }, true), WHY_BAD_TARGET);
	assert_int_equal(access_host((struct str){ "127.0.0.1\0", 10 }, false),
			 WHY_BAD_TARGET);
}

/* Whatever inet_aton() reads as an address passes only as four plain parts. */
static void test_like_inet_aton(void **state)
{
	static const char alphabet[] = "0011279.xXaf..";
	unsigned seed = 3128, numbers = 0;

	(void)state;
	for (unsigned round = 0; round < 100000; round++) {
		char text[20], again[INET_ADDRSTRLEN];
		unsigned n = 1 + rand_r(&seed) % 16;
		struct in_addr in;

		for (unsigned i = 0; i < n; i++)
			text[i] = alphabet[rand_r(&seed) % (sizeof(alphabet) - 1)];
		text[n] = '\0';
		if (!inet_aton(text, &in))
			continue;
		numbers++;
		inet_ntop(AF_INET, &in, again, sizeof(again));
		if (strcmp(text, again) != 0)
			assert_int_not_equal(access_host(str_of(text), false), WHY_DONE);
		else
			assert_int_equal(access_host(str_of(text), false), WHY_DONE);
	}
	assert_true(numbers > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_embedded_metadata),
		cmocka_unit_test(test_embedded_loopback),
		cmocka_unit_test(test_embedded_public_and_private),
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_unix_clients),
		cmocka_unit_test(test_deny_to_and_allow_to),
		cmocka_unit_test(test_families_apart),
		cmocka_unit_test(test_own_addresses),
		cmocka_unit_test(test_clients),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_networks_at_random),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_long_hosts),
		cmocka_unit_test(test_like_inet_aton),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
