/* resolver: against a name server of our own, a thread on loopback that answers
 * by the name it is asked for, and counts. The clock is ours: it runs with the
 * kernel's, and can be put forward. */
#include "net/resolver.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "ground/clock.h"

static uint64_t skew_ms;

/* Instead of ground/clock's: never kept for the turn. */
_Thread_local uint64_t clock_now_ms;

uint64_t clock_read_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000 + skew_ms;
}

/* The name server. */

enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_AAAA = 28 };
enum kind { ANSWER, NXDOMAIN, SERVFAIL, SILENT, JUNK, WRONG_ID, CUT, EMPTY };

static const struct zone {
	const char *name;
	enum kind a, aaaa;
	unsigned n4, n6;		/* addresses: 192.0.2.1.., 2001:db8::1.. */
	uint32_t ttl;
	const char *cname;
	uint32_t cname_ttl;
} zones[] = {
	{ "both.test", ANSWER, ANSWER, 3, 2, 60, NULL, 0 },
	{ "v4.test", ANSWER, EMPTY, 1, 0, 60, NULL, 0 },
	{ "v6.test", EMPTY, ANSWER, 0, 1, 60, NULL, 0 },
	{ "nx6.test", ANSWER, NXDOMAIN, 1, 0, 60, NULL, 0 },
	{ "fail6.test", ANSWER, SERVFAIL, 1, 0, 60, NULL, 0 },
	{ "none.test", EMPTY, EMPTY, 0, 0, 0, NULL, 0 },
	{ "nx.test", NXDOMAIN, NXDOMAIN, 0, 0, 0, NULL, 0 },
	{ "fail.test", SERVFAIL, SERVFAIL, 0, 0, 0, NULL, 0 },
	{ "half-fail.test", EMPTY, SERVFAIL, 0, 0, 0, NULL, 0 },
	{ "silent.test", SILENT, SILENT, 0, 0, 0, NULL, 0 },
	{ "silent6.test", ANSWER, SILENT, 1, 0, 60, NULL, 0 },
	{ "silent4.test", SILENT, ANSWER, 0, 1, 60, NULL, 0 },
	{ "junk.test", JUNK, JUNK, 0, 0, 0, NULL, 0 },
	{ "cut.test", CUT, CUT, 2, 2, 60, NULL, 0 },
	{ "id.test", WRONG_ID, WRONG_ID, 1, 1, 60, NULL, 0 },
	{ "zero.test", ANSWER, ANSWER, 1, 1, 0, NULL, 0 },
	{ "long.test", ANSWER, ANSWER, 1, 1, 2000000000, NULL, 0 },
	{ "many.test", ANSWER, ANSWER, 20, 5, 60, NULL, 0 },
	{ "alias.test", ANSWER, ANSWER, 1, 1, 60, "both.test", 2 },
};
enum { ZONES = sizeof(zones) / sizeof(zones[0]) };

static struct {
	pthread_t thread;
	int fd, stop[2];
	_Atomic unsigned asked[ZONES + 1];	/* A and AAAA together; last: others */
	char address[32];
} server;

/* The name in the question, dotted; the offset behind it, or 0. */
static size_t question_name(const unsigned char *at, size_t len, char *room, size_t size)
{
	size_t i = 12, n = 0;

	while (i < len && at[i] != 0) {
		if (i + at[i] >= len || n + at[i] + 2 > size)
			return 0;
		memcpy(room + n, at + i + 1, at[i]);
		n += at[i];
		room[n++] = '.';
		i += 1u + at[i];
	}
	room[n ? n - 1 : 0] = '\0';
	return i + 5 <= len ? i + 1 : 0;
}

static void put16(unsigned char **to, unsigned v)
{
	*(*to)++ = (unsigned char)(v >> 8);
	*(*to)++ = (unsigned char)v;
}

static void put_head(unsigned char **to, unsigned type, uint32_t ttl)
{
	put16(to, type);
	put16(to, 1);
	put16(to, ttl >> 16);
	put16(to, ttl & 0xffff);
}

static void put_name(unsigned char **to, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		*(*to)++ = (unsigned char)n;
		memcpy(*to, name, n);
		*to += n;
		name += n + (name[n] == '.');
	}
	*(*to)++ = 0;
}

static unsigned put_records(unsigned char **to, const struct zone *z, unsigned type)
{
	unsigned n = type == TYPE_A ? z->n4 : z->n6, owner = 0xc00c;
	unsigned char *len_at;

	if (z->cname) {
		put16(to, owner);
		put_head(to, TYPE_CNAME, z->cname_ttl);
		len_at = *to;
		*to += 2;
		put_name(to, z->cname);
		put16(&len_at, (unsigned)(*to - len_at - 2));
	}
	for (unsigned i = 1; i <= n; i++) {
		unsigned char v4[4] = { 192, 0, 2, (unsigned char)i };
		unsigned char v6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = (unsigned char)i };

		if (z->cname)
			put_name(to, z->cname);
		else
			put16(to, owner);
		put_head(to, type, z->ttl);
		put16(to, type == TYPE_A ? 4 : 16);
		memcpy(*to, type == TYPE_A ? v4 : v6, type == TYPE_A ? 4 : 16);
		*to += type == TYPE_A ? 4 : 16;
	}
	return n + (z->cname != NULL);
}

static const struct zone *zone_of(const char *name)
{
	static const struct zone other = { "", ANSWER, ANSWER, 1, 0, 60, NULL, 0 };

	for (int i = 0; i < ZONES; i++)
		if (strcasecmp(zones[i].name, name) == 0) {
			server.asked[i]++;
			return &zones[i];
		}
	server.asked[ZONES]++;
	return &other;
}

static void reply(unsigned char *at, size_t len, const struct sockaddr *to, socklen_t to_len)
{
	char name[256];
	size_t end = question_name(at, len, name, sizeof(name));
	unsigned char *p;
	const struct zone *z;
	unsigned type, n = 0;
	enum kind kind;

	if (end == 0)
		return;
	z = zone_of(name);
	type = (unsigned)(at[end] << 8 | at[end + 1]);
	kind = type == TYPE_A ? z->a : z->aaaa;
	p = at + end + 4;
	if (kind == ANSWER || kind == WRONG_ID || kind == CUT)
		n = put_records(&p, z, type);
	at[2] = 0x81;
	at[3] = (unsigned char)(0x80 | (kind == NXDOMAIN ? 3 : kind == SERVFAIL ? 2 : 0));
	at[7] = (unsigned char)n;
	at[10] = at[11] = 0;
	if (kind == WRONG_ID)
		at[0] ^= 0x55;
	if (kind == CUT)
		p -= 3;
	if (kind == JUNK) {
		at[7] = 200;
		memset(p, 0xc0, 20);
		p += 20;
	}
	if (kind != SILENT)
		sendto(server.fd, at, (size_t)(p - at), 0, to, to_len);
}

static void *serve(void *arg)
{
	for (;;) {
		struct pollfd fds[2] = { { server.fd, POLLIN, 0 }, { server.stop[0], POLLIN, 0 } };
		struct sockaddr_storage from;
		socklen_t from_len = sizeof(from);
		unsigned char room[4096];
		ssize_t n;

		if (poll(fds, 2, -1) < 0 || fds[1].revents)
			return NULL;
		n = recvfrom(server.fd, room, 512, 0, (struct sockaddr *)&from, &from_len);
		if (n > 12)
			reply(room, (size_t)n, (struct sockaddr *)&from, from_len);
	}
}

static unsigned asked(const char *name)
{
	for (int i = 0; i < ZONES; i++)
		if (strcmp(zones[i].name, name) == 0)
			return server.asked[i];
	return server.asked[ZONES];
}

/* The owner. */

static char hosts_file[] = "/tmp/test-resolver-hosts-XXXXXX";

struct owner {
	struct event_base *base;
	struct resolver *r;
	struct lookup *lookup;
	struct owner *also_cancel;
	struct addresses found;
	enum why why;
	unsigned called;
	bool asking;			/* we are inside resolver_ask() */
};

static void on_found(void *arg, const struct addresses *found, enum why why)
{
	struct owner *o = arg;

	assert_false(o->asking);
	assert_int_equal(found != NULL, why == WHY_DONE);
	o->lookup = NULL;
	o->called++;
	o->why = why;
	o->found.n = 0;
	if (found)
		o->found = *found;
	if (o->also_cancel) {
		lookup_cancel(o->also_cancel->lookup);
		o->also_cancel->lookup = NULL;
	}
}

static void ask(struct owner *o, const char *name)
{
	enum why why;

	o->called = 0;
	o->asking = true;
	o->lookup = resolver_ask(o->r, str_of(name), 80, on_found, o, &why);
	o->asking = false;
	o->why = why;
	assert_int_equal(o->lookup != NULL, why == WHY_DONE);
}

static void wait_for(struct owner *o)
{
	for (int i = 0; i < 1000 && o->lookup; i++)
		event_base_loop(o->base, EVLOOP_ONCE);
	assert_null(o->lookup);
	assert_int_equal(o->called, 1);
}

static enum why look_up(struct owner *o, const char *name)
{
	ask(o, name);
	if (o->lookup)
		wait_for(o);
	return o->why;
}

static const char *answer_of(const struct addresses *all)
{
	static char room[1000];

	room[0] = '\0';
	for (unsigned i = 0; i < all->n; i++) {
		bool v4 = all->at[i].sa.sa_family == AF_INET;
		char one[INET6_ADDRSTRLEN];

		inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? (void *)&all->at[i].in4.sin_addr
						      : (void *)&all->at[i].in6.sin6_addr,
			  one, sizeof(one));
		assert_int_equal(all->at[i].in4.sin_port, htons(80));
		snprintf(room + strlen(room), sizeof(room) - strlen(room), "%s%s", i ? "," : "", one);
	}
	return room;
}

static struct resolver_options defaults(void)
{
	return (struct resolver_options){ .timeout_ms = 2000, .servers = server.address,
					  .hosts_file = hosts_file, .cache_most = 100,
					  .cache_ttl_most_s = 300 };
}

static void owner_open(struct owner *o, const struct resolver_options *options)
{
	memset(o, 0, sizeof(*o));
	o->base = event_base_new();
	o->r = resolver_new(o->base, options);
	assert_non_null(o->r);
}

static void owner_close(struct owner *o)
{
	resolver_free(o->r);
	event_base_free(o->base);
}

/* One of each family in turn; either may come first, as there is a route or not. */
static void check_both(const struct addresses *found)
{
	const char *is = answer_of(found);

	if (strcmp(is, "192.0.2.1,2001:db8::1,192.0.2.2,2001:db8::2,192.0.2.3") != 0)
		assert_string_equal(is, "2001:db8::1,192.0.2.1,2001:db8::2,192.0.2.2,192.0.2.3");
}

static void test_answers(void **state)
{
	static const struct { const char *name; enum why why; const char *found; } row[] = {
		{ "v4.test", WHY_DONE, "192.0.2.1" },
		{ "V4.Test.", WHY_DONE, "192.0.2.1" },
		{ "v6.test", WHY_DONE, "2001:db8::1" },
		{ "nx6.test", WHY_DONE, "192.0.2.1" },
		{ "fail6.test", WHY_DONE, "192.0.2.1" },
		{ "none.test", WHY_NAME_NOT_FOUND, "" },
		{ "nx.test", WHY_NAME_NOT_FOUND, "" },
		{ "fail.test", WHY_NAME_FAILED, "" },
		{ "half-fail.test", WHY_NAME_FAILED, "" },
		{ "192.0.2.77", WHY_DONE, "192.0.2.77" },
		{ "2001:db8::77", WHY_DONE, "2001:db8::77" },
	};
	struct resolver_options options = defaults();
	struct owner o;
	struct resolver_counts counts;

	owner_open(&o, &options);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		if (look_up(&o, row[i].name) != row[i].why)
			fail_msg("%s: %s", row[i].name, why_name(o.why));
		assert_string_equal(answer_of(&o.found), row[i].found);
	}
	assert_int_equal(look_up(&o, "both.test"), WHY_DONE);
	check_both(&o.found);
	resolver_count(o.r, &counts);
	assert_int_equal(counts.asked, 12);
	assert_int_equal(counts.found, 8);
	assert_int_equal(counts.failed, 4);
	owner_close(&o);
}

static void test_bad_servers(void **state)
{
	static const char *names[] = { "junk.test", "cut.test", "id.test", "silent.test" };
	struct resolver_options options = defaults();
	struct owner o;

	options.timeout_ms = 400;
	owner_open(&o, &options);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		enum why why = look_up(&o, names[i]);

		if (why != WHY_NAME_FAILED && why != WHY_NAME_TIMEOUT)
			fail_msg("%s: %s", names[i], why_name(why));
		if (i >= 2)
			assert_int_equal(why, WHY_NAME_TIMEOUT);
	}
	owner_close(&o);
	options.servers = "127.0.0.1:1";	/* refuses */
	owner_open(&o, &options);
	assert_int_not_equal(look_up(&o, "v4.test"), WHY_DONE);
	owner_close(&o);
	options.servers = "not an address";
	o.base = event_base_new();
	assert_null(resolver_new(o.base, &options));
	event_base_free(o.base);
}

/* A family that is silent costs a moment, not the lookup. */
static void test_half_answers(void **state)
{
	static const struct { const char *name, *found; } row[] = {
		{ "silent6.test", "192.0.2.1" }, { "silent4.test", "2001:db8::1" },
	};
	struct resolver_options options = defaults();
	struct owner o, second;

	options.timeout_ms = 60000;
	owner_open(&o, &options);
	second = o;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(look_up(&o, row[i].name), WHY_DONE);
		assert_string_equal(answer_of(&o.found), row[i].found);
		/* The other half is still asked for; who comes now does not wait. */
		assert_false(resolver_know(o.r, str_of(row[i].name), 80, &o.found));
		ask(&second, row[i].name);
		event_base_loop(o.base, EVLOOP_NONBLOCK);
		assert_int_equal(second.called, 1);
		assert_string_equal(answer_of(&second.found), row[i].found);
	}
	owner_close(&o);
}

static void test_cache(void **state)
{
	struct resolver_options options = defaults();
	struct addresses found;
	struct owner o;
	unsigned before = asked("both.test");

	owner_open(&o, &options);
	assert_false(resolver_know(o.r, STR("both.test"), 80, &found));
	look_up(&o, "both.test");
	assert_int_equal(asked("both.test"), before + 2);
	assert_true(resolver_know(o.r, STR("BOTH.test."), 80, &found));
	check_both(&found);
	assert_int_equal(look_up(&o, "both.test"), WHY_DONE);
	check_both(&o.found);
	skew_ms += 59000;
	assert_true(resolver_know(o.r, STR("both.test"), 80, &found));
	assert_int_equal(asked("both.test"), before + 2);
	skew_ms += 1000;
	assert_false(resolver_know(o.r, STR("both.test"), 80, &found));
	assert_int_equal(look_up(&o, "both.test"), WHY_DONE);
	assert_int_equal(asked("both.test"), before + 4);
	owner_close(&o);
}

static void test_ttl(void **state)
{
	static const struct { const char *name; uint64_t ms; } row[] = {
		{ "zero.test", 0 }, { "alias.test", 2000 }, { "long.test", 300000 },
	};
	struct resolver_options options = defaults();
	struct addresses found;
	struct owner o;

	owner_open(&o, &options);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		assert_int_equal(look_up(&o, row[i].name), WHY_DONE);
		assert_int_equal(o.found.n, 2);
		skew_ms += row[i].ms ? row[i].ms - 1000 : 0;
		assert_int_equal(resolver_know(o.r, str_of(row[i].name), 80, &found), row[i].ms > 0);
		skew_ms += 1000;
		assert_false(resolver_know(o.r, str_of(row[i].name), 80, &found));
	}
	owner_close(&o);
	options.cache_ttl_most_s = 0;
	owner_open(&o, &options);
	look_up(&o, "both.test");
	assert_false(resolver_know(o.r, STR("both.test"), 80, &found));
	owner_close(&o);
}

static void test_negative(void **state)
{
	static const struct { const char *name; enum why why; } row[] = {
		{ "nx.test", WHY_NAME_NOT_FOUND }, { "none.test", WHY_NAME_NOT_FOUND },
		{ "fail.test", WHY_NAME_FAILED },
	};
	struct resolver_options options = defaults();
	struct addresses found;
	struct owner o;

	owner_open(&o, &options);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		unsigned before;

		assert_int_equal(look_up(&o, row[i].name), row[i].why);
		before = asked(row[i].name);
		assert_int_equal(look_up(&o, row[i].name), row[i].why);
		assert_int_equal(asked(row[i].name), before);
		assert_false(resolver_know(o.r, str_of(row[i].name), 80, &found));
		skew_ms += 1000;
		assert_int_equal(look_up(&o, row[i].name), row[i].why);
		assert_true(asked(row[i].name) > before);
	}
	owner_close(&o);
}

static void test_bounded(void **state)
{
	struct resolver_options options = defaults();
	struct addresses found;
	struct owner o;
	char name[32];

	options.cache_most = 4;
	owner_open(&o, &options);
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "n%d.test", i);
		assert_int_equal(look_up(&o, name), WHY_DONE);
	}
	/* What is good for no time takes no place. */
	assert_int_equal(look_up(&o, "zero.test"), WHY_DONE);
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "n%d.test", i);
		assert_int_equal(resolver_know(o.r, str_of(name), 80, &found), i >= 4);
	}
	assert_int_equal(look_up(&o, "many.test"), WHY_DONE);
	assert_int_equal(o.found.n, ADDRESSES_MOST);
	owner_close(&o);
}

static void test_known_without_asking(void **state)
{
	static const struct { const char *name, *found; } row[] = {
		{ "127.0.0.1", "127.0.0.1" }, { "::1", "::1" },
		{ "localhost", "127.0.0.1,::1" }, { "LOCALHOST.", "127.0.0.1,::1" },
		{ "a.b.localhost", "127.0.0.1,::1" },
	};
	struct resolver_options options = defaults();
	struct addresses found;
	struct owner o;
	unsigned others = asked("");

	owner_open(&o, &options);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		assert_true(resolver_know(o.r, str_of(row[i].name), 80, &found));
		assert_string_equal(answer_of(&found), row[i].found);
		assert_int_equal(look_up(&o, row[i].name), WHY_DONE);
		assert_string_equal(answer_of(&o.found), row[i].found);
	}
	assert_int_equal(look_up(&o, "listed.test"), WHY_DONE);
	assert_string_equal(answer_of(&o.found), "192.0.2.50,2001:db8::50,192.0.2.51");
	assert_int_equal(asked(""), others);
	owner_close(&o);
}

/* No name, or one that other resolvers would read as an address. */
static void test_no_names(void **state)
{
	static const char *names[] = {
		"", ".", "a b.test", "a\tb", "127.1", "0x7f000001", "2130706433", "0177.0.0.1",
		"a.1", "a.0x1f", "1.2.3.4.5", "256.1.1.1", "h\xc3\xb6st.test", "a..",
		"fe80::1%1", "[::1]", "a@b.test", "a%2eb.test",
	};
	struct resolver_options options = defaults();
	struct addresses found;
	char longest[300];
	struct owner o;
	unsigned others = asked("");

	owner_open(&o, &options);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_false(resolver_know(o.r, str_of(names[i]), 80, &found));
		if (look_up(&o, names[i]) != WHY_NAME_NOT_FOUND)
			fail_msg("%s: %s", names[i], why_name(o.why));
	}
	memset(longest, 'a', sizeof(longest));
	longest[254] = '\0';
	assert_int_equal(look_up(&o, longest), WHY_NAME_NOT_FOUND);
	assert_false(resolver_know(o.r, ((struct str){ "both.test\0", 10 }), 80, &found));
	assert_int_equal(asked(""), others);
	owner_close(&o);
}

static void test_shared(void **state)
{
	struct resolver_options options = defaults();
	struct owner o, more[20];
	unsigned before = asked("both.test");

	owner_open(&o, &options);
	for (int i = 0; i < 20; i++) {
		more[i] = o;
		ask(&more[i], i % 2 ? "both.test" : "BOTH.test");
	}
	lookup_cancel(more[3].lookup);
	lookup_cancel(more[0].lookup);
	for (int i = 0; i < 20; i++) {
		if (i == 0 || i == 3)
			continue;
		wait_for(&more[i]);
		check_both(&more[i].found);
	}
	assert_int_equal(more[0].called + more[3].called, 0);
	assert_int_equal(asked("both.test"), before + 2);
	owner_close(&o);
}

static void test_cancel(void **state)
{
	struct resolver_options options = defaults();
	struct owner o, second;
	struct addresses found;

	owner_open(&o, &options);
	lookup_cancel(NULL);
	/* Waiting; the answer is kept all the same. A new lookup joins the query. */
	ask(&o, "both.test");
	lookup_cancel(o.lookup);
	o.lookup = NULL;
	assert_int_equal(look_up(&o, "both.test"), WHY_DONE);
	assert_true(resolver_know(o.r, STR("both.test"), 80, &found));
	/* Ready. */
	ask(&o, "localhost");
	lookup_cancel(o.lookup);
	o.lookup = NULL;
	event_base_loop(o.base, EVLOOP_NONBLOCK);
	assert_int_equal(o.called, 0);
	/* From the callback of another, ready or waiting. */
	for (int i = 0; i < 2; i++) {
		second = o;
		o.also_cancel = &second;
		ask(&o, "localhost");
		ask(&second, i ? "silent.test" : "localhost");
		wait_for(&o);
		event_base_loop(o.base, EVLOOP_NONBLOCK);
		assert_int_equal(second.called, 0);
		o.also_cancel = NULL;
	}
	/* Queries on their way when the resolver goes. */
	ask(&o, "silent.test");
	lookup_cancel(o.lookup);
	owner_close(&o);
}

/* The lookup is late before c-ares gives up. */
static void test_late(void **state)
{
	struct resolver_options options = defaults();
	struct owner o, second;

	options.timeout_ms = 100;
	owner_open(&o, &options);
	second = o;
	ask(&o, "silent.test");
	ask(&second, "silent.test");
	wait_for(&o);
	wait_for(&second);
	assert_int_equal(o.why, WHY_NAME_TIMEOUT);
	assert_int_equal(second.why, WHY_NAME_TIMEOUT);
	owner_close(&o);
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_no_leak_of_descriptors(void **state)
{
	struct resolver_options options = defaults();
	unsigned before = open_fds();
	struct owner o;

	options.timeout_ms = 100;
	owner_open(&o, &options);
	look_up(&o, "both.test");
	look_up(&o, "fail.test");
	look_up(&o, "silent.test");
	owner_close(&o);
	assert_int_equal(open_fds(), before);
}

static int set_up(void **state)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(to);
	int fd = mkstemp(hosts_file);
	static const char text[] = "192.0.2.50 listed.test\n192.0.2.51 listed.test\n"
				   "2001:db8::50 x listed.test\n192.0.2.99 localhost\n";

	if (fd < 0 || write(fd, text, sizeof(text) - 1) < 0)
		return -1;
	close(fd);
	server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(server.fd, (struct sockaddr *)&to, len) != 0 ||
	    getsockname(server.fd, (struct sockaddr *)&to, &len) != 0 ||
	    pipe(server.stop) != 0)
		return -1;
	snprintf(server.address, sizeof(server.address), "127.0.0.1:%u", ntohs(to.sin_port));
	return pthread_create(&server.thread, NULL, serve, NULL);
}

static int tear_down(void **state)
{
	close(server.stop[1]);
	pthread_join(server.thread, NULL);
	close(server.stop[0]);
	close(server.fd);
	return unlink(hosts_file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_bad_servers),
		cmocka_unit_test(test_half_answers),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_ttl),
		cmocka_unit_test(test_negative),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_known_without_asking),
		cmocka_unit_test(test_no_names),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_no_leak_of_descriptors),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
