/* pool: against doors on loopback that count who comes. Names come from a hosts
 * file, time from the test. (P09) */
#include "net/pool.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "loop.h"
#include "certs.h"

static char dir[32], hosts_file[64], name_server[32];
static int silent_server;		/* a name server that never answers */
static struct resolver *resolver;
static struct pool *pool;
static struct pool_options options;
static struct tls_ctx *client_ctx, *server_ctx, *other_ctx;

static const char hosts[] =
	"127.0.0.1 one.test One.test\n"
	"127.0.0.2 two.test\n127.0.0.3 two.test\n"
	"127.0.0.2 five.test\n127.0.0.3 five.test\n127.0.0.4 five.test\n"
	"127.0.0.5 five.test\n127.0.0.6 five.test\n"
	"127.0.0.1 good.test\n127.0.0.1 other.test\n";

/* -- whoever wants a connection ----------------------------------------------------- */

struct asker {
	struct want *want;		/* NULL: answered, or cancelled */
	unsigned told;			/* times */
	struct conn *c;
	enum why why;
	char detail[200];
	unsigned vetted;
	uint8_t refuses[4];		/* 127.0.0.x */
	enum why refusal;
	void (*within)(struct asker *a);
};

static void on_conn(void *owner, struct conn *c, enum conn_event ev)
{
}

static void answered(void *owner, struct conn *c, enum why why, const char *detail)
{
	struct asker *a = owner;

	a->told++;
	a->want = NULL;
	a->c = c;
	a->why = why;
	snprintf(a->detail, sizeof(a->detail), "%s", detail);
	assert_int_equal(c != NULL, why == WHY_DONE);
	if (c)
		conn_adopt(c, on_conn, a);
	if (a->within)
		a->within(a);
}

static enum why vet(void *owner, const struct sockaddr *to)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)to;
	struct asker *a = owner;

	a->vetted++;
	if (to->sa_family != AF_INET)
		return WHY_DONE;
	for (size_t i = 0; i < sizeof(a->refuses); i++)
		if (a->refuses[i] && (ntohl(in->sin_addr.s_addr) & 255) == a->refuses[i])
			return a->refusal;
	return WHY_DONE;
}

static struct pool_key key(const char *host, uint16_t port, struct tls_ctx *tls)
{
	return (struct pool_key){ .host = str_of(host), .port = port, .tls = tls };
}

/* The key must live as long as the want: by reference. */
static void get(struct asker *a, const struct pool_key *k)
{
	a->told = 0;
	a->want = pool_get(pool, k, vet, answered, a);
	assert_non_null(a->want);
	assert_int_equal(a->told, 0);		/* from the loop, never from within */
}

static struct conn *take(const struct pool_key *k)
{
	struct asker a = { .refusal = WHY_DENIED_TARGET };

	return pool_take(pool, k, vet, &a);
}

static unsigned idle(void)
{
	struct pool_counts n;

	pool_count(pool, &n);
	assert_true((n.idle == 0) == (n.keys == 0));
	return n.idle;
}

static int begin(void **state)
{
	struct resolver_options r = { .timeout_ms = 3000, .servers = name_server,
				      .hosts_file = hosts_file, .cache_most = 10,
				      .cache_ttl_most_s = 60 };

	loop_open();
	net.deadlines.length_ms[DEADLINE_POOL] = 60000;
	net.deadlines.length_ms[DEADLINE_CONNECT] = 10000;
	options = (struct pool_options){ .idle_most_per_key = 4, .idle_most = 8,
					 .attempt_delay_ms = 250, .connect_timeout_ms = 10000 };
	resolver = resolver_new(base, &r);
	assert_non_null(resolver);
	pool = pool_new(&net, resolver, &options);
	return pool == NULL;
}

static int end(void **state)
{
	pool_free(pool);
	resolver_free(resolver);
	loop_close();
	return 0;
}

static void with_options(uint32_t per_key, uint32_t in_all)
{
	pool_free(pool);
	options.idle_most_per_key = per_key;
	options.idle_most = in_all;
	pool = pool_new(&net, resolver, &options);
}

/* -- doors -------------------------------------------------------------------------- */

enum { GUESTS = 300 };

static struct door door;
static int guest[GUESTS];
static unsigned guests;

/* How many came to this door since the last time. */
static unsigned count_guests(struct door *d)
{
	unsigned n = 0;
	int fd;

	while ((fd = accept4(d->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		assert_true(guests < GUESTS);
		guest[guests++] = fd;
		n++;
	}
	return n;
}

static void send_guests_home(void)
{
	while (guests)
		close(guest[--guests]);
}

static void open_door(void)
{
	assert_true(door_open(&door, 1, 0, 200));
}

static void close_door(void)
{
	send_guests_home();
	door_close(&door);
}

/* Doors at several addresses with one port. */
static uint16_t open_doors(struct door *d, const uint8_t *at, unsigned n, int backlog)
{
	for (int tries = 0; tries < 50; tries++) {
		unsigned i = 0;
		uint16_t port = 0;

		while (i < n && door_open(&d[i], at[i], port, backlog))
			port = door_port(&d[i++]);
		if (i == n)
			return port;
		while (i)
			door_close(&d[--i]);
	}
	fail_msg("no port is free at all of them");
	return 0;
}

/* Nobody gets in any more, and nobody is refused: its queue is full. */
static int fill[16];
static unsigned filled;

static void block(struct door *d)
{
	int fd;

	assert_int_equal(listen(d->fd, 0), 0);
	for (int i = 0; i < 3; i++) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(fd, (struct sockaddr *)&d->at, sizeof(d->at));
		assert_true(filled < 16);
		fill[filled++] = fd;
	}
	nap();
}

static void unblock(void)
{
	while (filled)
		close(fill[--filled]);
}

static struct conn *fetch(const struct pool_key *k)
{
	struct asker a = { 0 };

	get(&a, k);
	TURN_UNTIL(a.told);
	assert_non_null(a.c);
	return a.c;
}

/* -- idle ones ---------------------------------------------------------------------- */

static void test_newest_first(void **state)
{
	struct pool_key k;
	struct conn *c[3];
	struct pool_counts n;

	open_door();
	k = key("one.test", door_port(&door), NULL);
	assert_null(take(&k));
	for (int i = 0; i < 3; i++)
		c[i] = fetch(&k);
	for (int i = 0; i < 3; i++)
		pool_put(pool, &k, c[i]);
	for (int i = 2; i >= 0; i--)
		assert_ptr_equal(take(&k), c[i]);
	assert_null(take(&k));
	pool_count(pool, &n);
	assert_int_equal(n.dialled, 3);
	assert_int_equal(n.reused, 3);
	assert_int_equal(n.failed, 0);
	assert_int_equal(n.idle, 0);
	assert_int_equal(n.keys, 0);
	for (int i = 0; i < 3; i++)
		conn_close(c[i]);
	close_door();
}

static void test_keys(void **state)
{
	static const struct {
		const char *host, *name;
		int port;			/* beside the right one */
		int tls;
		bool same;
	} row[] = {
		{ "one.test", "", 0, 0, true }, { "ONE.Test", "", 0, 0, true },
		{ "one.test", "x.test", 0, 0, true },	/* no TLS, no name */
		{ "one.tes", "", 0, 0, false }, { "one.test.", "", 0, 0, false },
		{ "two.test", "", 0, 0, false }, { "one.test", "", 1, 0, false },
		{ "one.test", "", 0, 1, false }, { "one.test", "", 0, 2, false },
		{ "", "", 0, 0, false },
		/* as seen from a key with TLS context 1 and the name n.test */
		{ "one.test", "n.test", 0, 1, true }, { "One.test", "N.test", 0, 1, true },
		{ "one.test", "m.test", 0, 1, false }, { "one.test", "", 0, 1, false },
		{ "one.test", "n.test", 0, 2, false }, { "one.test", "n.test", 0, 0, false },
	};
	struct tls_ctx *const ctx[] = { NULL, client_ctx, other_ctx };
	struct pool_key plain, made;
	struct conn *c;

	open_door();
	plain = made = key("one.test", door_port(&door), NULL);
	c = fetch(&plain);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct pool_key k = key(row[i].host, (uint16_t)(door_port(&door) + row[i].port),
					ctx[row[i].tls]);
		struct conn *got;

		k.tls_name = str_of(row[i].name);
		if (i == 10) {			/* the conn as such is none of the pool's business */
			made.tls = client_ctx;
			made.tls_name = STR("n.test");
		}
		pool_put(pool, &made, c);
		got = take(&k);
		if ((got == c) != row[i].same)
			fail_msg("row %zu", i);
		if (!got)
			assert_ptr_equal(take(&made), c);
	}
	conn_close(c);
	close_door();
}

/* An empty name to verify is the host: the same key, spelled otherwise. */
static void test_key_whose_name_is_the_host(void **state)
{
	struct pool_key a, b;
	struct conn *c;

	open_door();
	a = key("one.test", door_port(&door), NULL);
	c = fetch(&a);
	a.tls = client_ctx;
	b = a;
	b.tls_name = STR("ONE.test");
	pool_put(pool, &a, c);
	assert_ptr_equal(take(&b), c);
	conn_close(c);
	close_door();
}

static void test_names_too_long_are_not_kept(void **state)
{
	static const struct { size_t host, name; bool kept; } row[] = {
		{ 256, 0, true }, { 257, 0, false }, { 9, 256, true }, { 9, 257, false },
		{ 256, 256, true }, { 300, 9, false }, { 9, 60000, false },
	};
	static char much[60000];

	open_door();
	memset(much, 'a', sizeof(much));
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct pool_key k = key("one.test", door_port(&door), NULL);
		struct conn *c = fetch(&k);

		k.host = (struct str){ much, row[i].host };
		k.tls_name = (struct str){ much, row[i].name };
		k.tls = client_ctx;
		pool_put(pool, &k, c);
		assert_int_equal(conn_is_dead(c), !row[i].kept);
		assert_int_equal(idle(), row[i].kept);
		if (row[i].kept)
			assert_ptr_equal(take(&k), c);
		conn_close(c);
		turn();
	}
	close_door();
}

/* Whatever an idle one says, or if it ends: it is let go. */
static void test_idle_ones_that_speak(void **state)
{
	open_door();
	for (int how = 0; how < 3; how++) {
		struct pool_key k = key("one.test", door_port(&door), NULL);
		struct conn *c = fetch(&k);
		struct linger now = { 1, 0 };

		conn_pause(c);			/* as its last owner may have left it */
		pool_put(pool, &k, c);
		assert_int_equal(count_guests(&door), 1);
		turn_quiet();
		assert_int_equal(idle(), 1);
		if (how == 0)
			assert_int_equal(write(guest[0], "HTTP/1.1 408", 12), 12);
		if (how == 1)
			shutdown(guest[0], SHUT_WR);
		if (how == 2)
			setsockopt(guest[0], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		if (how == 2)
			close(guest[--guests]);
		TURN_UNTIL(idle() == 0);
		assert_null(take(&k));
		assert_int_equal(net.closed, how + 1);
		send_guests_home();
	}
	close_door();
}

static void test_idle_for_too_long(void **state)
{
	struct pool_key k;
	struct conn *c[2];

	open_door();
	k = key("one.test", door_port(&door), NULL);
	c[0] = fetch(&k);
	c[1] = fetch(&k);
	pool_put(pool, &k, c[0]);
	pass(30000);
	pool_put(pool, &k, c[1]);
	pass(29999);
	assert_int_equal(idle(), 2);
	pass(1);
	assert_int_equal(idle(), 1);		/* the older one is gone */
	assert_ptr_equal(take(&k), c[1]);
	pass(60000);				/* taken: its time does not run out */
	assert_false(conn_is_dead(c[1]));
	pool_put(pool, &k, c[1]);
	pass(59999);
	assert_int_equal(idle(), 1);		/* and starts anew */
	pass(1);
	assert_int_equal(idle(), 0);
	close_door();
}

static void test_limits(void **state)
{
	struct pool_key k[3];
	struct conn *c[9];

	open_door();
	with_options(2, 5);
	for (int i = 0; i < 9; i++) {
		k[i % 3] = key(((const char *[]){ "one.test", "good.test", "other.test" })[i % 3],
			       door_port(&door), NULL);
		c[i] = fetch(&k[i % 3]);
	}
	pool_put(pool, &k[0], c[0]);
	pool_put(pool, &k[0], c[3]);
	pool_put(pool, &k[0], c[6]);		/* the third of a key: the oldest goes */
	assert_true(conn_is_dead(c[0]));
	assert_int_equal(idle(), 2);
	pool_put(pool, &k[1], c[1]);
	pool_put(pool, &k[1], c[4]);
	pool_put(pool, &k[2], c[2]);
	assert_int_equal(idle(), 5);
	pool_put(pool, &k[2], c[5]);		/* the sixth in all: the oldest of all goes */
	assert_true(conn_is_dead(c[3]));
	assert_int_equal(idle(), 5);
	assert_ptr_equal(take(&k[0]), c[6]);
	assert_null(take(&k[0]));
	pool_put(pool, &k[2], c[8]);		/* both limits at once: one goes */
	assert_true(conn_is_dead(c[2]));
	assert_int_equal(idle(), 4);
	pool_flush(pool);
	assert_int_equal(idle(), 0);
	assert_int_equal(net.closed, 7);
	conn_close(c[6]);
	conn_close(c[7]);
	close_door();
}

static void test_nothing_is_kept(void **state)
{
	static const struct { uint32_t per_key, in_all; } row[] = { { 0, 9 }, { 9, 0 }, { 0, 0 } };

	open_door();
	for (size_t i = 0; i < 3; i++) {
		struct pool_key k = key("one.test", door_port(&door), NULL);
		struct conn *c;

		with_options(row[i].per_key, row[i].in_all);
		c = fetch(&k);
		pool_put(pool, &k, c);
		assert_true(conn_is_dead(c));
		assert_int_equal(idle(), 0);
	}
	close_door();
}

static void test_a_dead_one_is_not_kept(void **state)
{
	struct pool_key k;
	struct conn *c;

	open_door();
	k = key("one.test", door_port(&door), NULL);
	c = fetch(&k);
	conn_close(c);
	pool_put(pool, &k, c);
	assert_int_equal(idle(), 0);
	close_door();
}

static void test_many_keys(void **state)
{
	enum { MANY = 200 };
	static char name[MANY][16];
	static struct conn *c[MANY];
	struct pool_key k;
	struct pool_counts n;

	open_door();
	with_options(4, 1000);
	for (int round = 0; round < 2; round++) {	/* the second with used-up memory */
		for (int i = 0; i < MANY; i++) {
			k = key("one.test", door_port(&door), NULL);
			if (!round)
				c[i] = fetch(&k);
			snprintf(name[i], sizeof(name[i]), "host-%d", i);
			k.host = str_of(name[i]);
			pool_put(pool, &k, c[i]);
		}
		pool_count(pool, &n);
		assert_int_equal(n.keys, MANY);
		assert_int_equal(n.idle, MANY);
		for (int i = 0; i < MANY; i++) {
			k = key(name[(i * 7) % MANY], door_port(&door), NULL);
			assert_ptr_equal(take(&k), c[(i * 7) % MANY]);
			assert_null(take(&k));
		}
		assert_int_equal(idle(), 0);
	}
	for (int i = 0; i < MANY; i++)
		conn_close(c[i]);
	close_door();
}

/* -- vetting ------------------------------------------------------------------------ */

static void test_idle_ones_are_vetted_again(void **state)
{
	struct asker a = { .refuses = { 3 }, .refusal = WHY_DENIED_TARGET };
	struct door d[2];
	uint16_t port = open_doors(d, (uint8_t[]){ 2, 3 }, 2, 5);
	struct pool_key k = key("two.test", port, NULL), at2 = key("127.0.0.2", port, NULL),
			at3 = key("127.0.0.3", port, NULL);
	struct conn *two = fetch(&at2), *three = fetch(&at3);

	pool_put(pool, &k, two);
	pool_put(pool, &k, three);
	assert_ptr_equal(pool_take(pool, &k, vet, &a), two);	/* the newer one is passed over */
	assert_int_equal(a.vetted, 2);
	assert_null(pool_take(pool, &k, vet, &a));
	assert_int_equal(idle(), 1);
	conn_close(two);
	door_close(&d[0]);
	door_close(&d[1]);
}

static void test_refused_addresses_are_never_dialled(void **state)
{
	static const struct {
		uint8_t refuses[4];
		unsigned guests[2];
		enum why why;
	} row[] = {
		{ { 2, 3 }, { 0, 0 }, WHY_DENIED_TARGET },
		{ { 2 }, { 0, 1 }, WHY_DONE },
		{ { 3 }, { 1, 0 }, WHY_DONE },
	};
	struct door d[2];
	uint16_t port = open_doors(d, (uint8_t[]){ 2, 3 }, 2, 5);
	struct pool_key k = key("two.test", port, NULL);

	for (size_t i = 0; i < 3; i++) {
		struct asker a = { .refusal = WHY_DENIED_TARGET };

		memcpy(a.refuses, row[i].refuses, sizeof(a.refuses));
		get(&a, &k);
		TURN_UNTIL(a.told);
		assert_int_equal(a.why, row[i].why);
		pass(1000);
		turn_quiet();
		for (int j = 0; j < 2; j++)
			assert_int_equal(count_guests(&d[j]), row[i].guests[j]);
		conn_close(a.c);
		send_guests_home();
	}
	door_close(&d[0]);
	door_close(&d[1]);
}

/* A literal is an address like any other; what was refused is not the reason when
 * something else was tried. */
static void test_reasons(void **state)
{
	struct door d[2];
	uint16_t port = open_doors(d, (uint8_t[]){ 2, 3 }, 2, 5);
	const struct {
		const char *host;
		uint8_t refuses;
		enum why why;
	} row[] = {
		{ "127.0.0.2", 2, WHY_DENIED_TARGET }, { "127.0.0.2", 0, WHY_REFUSED },
		{ "two.test", 0, WHY_REFUSED }, { "two.test", 2, WHY_REFUSED },
		{ "two.test", 3, WHY_REFUSED }, { "999", 0, WHY_NAME_NOT_FOUND },
		{ "a b", 0, WHY_NAME_NOT_FOUND }, { "", 0, WHY_NAME_NOT_FOUND },
	};
	struct pool_counts n;

	door_close(&d[0]);
	door_close(&d[1]);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct pool_key k = key(row[i].host, port, NULL);
		struct asker a = { .refuses = { row[i].refuses }, .refusal = WHY_DENIED_TARGET };

		get(&a, &k);
		TURN_UNTIL(a.told);
		turn_quiet();
		assert_int_equal(a.told, 1);
		assert_null(a.c);
		assert_string_equal(why_name(a.why), why_name(row[i].why));
	}
	pool_count(pool, &n);
	assert_int_equal(n.failed, sizeof(row) / sizeof(row[0]));
	assert_int_equal(n.dialled, 0);
}

/* What fails before the kernel has even tried. */
static void test_no_descriptors(void **state)
{
	struct rlimit was, none;
	struct pool_key k;
	struct asker a = { 0 };

	open_door();
	k = key("127.0.0.1", door_port(&door), NULL);
	getrlimit(RLIMIT_NOFILE, &was);
	none = (struct rlimit){ 0, was.rlim_max };
	get(&a, &k);
	setrlimit(RLIMIT_NOFILE, &none);
	for (int i = 0; i < 5; i++)
		turn();
	setrlimit(RLIMIT_NOFILE, &was);
	assert_int_equal(a.told, 1);
	assert_int_equal(a.why, WHY_OVERLOADED);
	close_door();
}

static void test_ipv6(void **state)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pool_key k;
	struct conn *c;

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0) {
		close(fd);
		print_message("no IPv6 here\n");
		return;
	}
	assert_int_equal(listen(fd, 5), 0);
	getsockname(fd, (struct sockaddr *)&at, &len);
	k = key("::1", ntohs(at.sin6_port), NULL);
	c = fetch(&k);
	assert_int_equal(conn_peer(c)->sa_family, AF_INET6);
	conn_close(c);
	close(fd);
}

/* -- happy eyeballs ----------------------------------------------------------------- */

static void test_refused_goes_on_at_once(void **state)
{
	struct door d[2];
	uint16_t port = open_doors(d, (uint8_t[]){ 2, 3 }, 2, 5);
	struct pool_key k = key("two.test", port, NULL);
	struct asker a = { 0 };

	door_close(&d[0]);
	get(&a, &k);
	TURN_UNTIL(a.told);			/* no time has passed */
	assert_non_null(a.c);
	assert_int_equal(count_guests(&d[1]), 1);
	conn_close(a.c);
	send_guests_home();
	door_close(&d[1]);
}

static void test_black_hole(void **state)
{
	struct door d[2];
	uint16_t port = open_doors(d, (uint8_t[]){ 2, 3 }, 2, 5);
	struct pool_key k = key("two.test", port, NULL);
	struct asker a = { 0 };

	block(&d[0]);
	get(&a, &k);
	turn_quiet();
	pass(249);
	turn_quiet();
	assert_int_equal(count_guests(&d[1]), 0);	/* not yet */
	assert_int_equal(a.told, 0);
	pass(1);
	TURN_UNTIL(a.told);
	assert_non_null(a.c);
	assert_int_equal(((const struct sockaddr_in *)conn_peer(a.c))->sin_addr.s_addr,
			 htonl(0x7f000003));
	assert_int_equal(net.opened, 2);
	assert_int_equal(net.closed, 1);	/* the other attempt was given up */
	conn_close(a.c);
	count_guests(&d[1]);
	send_guests_home();
	unblock();
	door_close(&d[0]);
	door_close(&d[1]);
}

/* The first one was slow, not dead: it wins against one that is dead. */
static void test_late_winner(void **state)
{
	struct door d[2];
	uint16_t port = open_doors(d, (uint8_t[]){ 2, 3 }, 2, 5);
	struct pool_key k = key("two.test", port, NULL);
	struct asker a = { 0 };

	block(&d[0]);
	door_close(&d[1]);
	get(&a, &k);
	turn_quiet();
	pass(250);
	turn_quiet();				/* the second was refused ... */
	assert_int_equal(a.told, 0);		/* ... and the first one is still under way */
	unblock();
	assert_int_equal(listen(d[0].fd, 20), 0);
	count_guests(&d[0]);
	TURN_UNTIL(a.told);
	assert_non_null(a.c);
	conn_close(a.c);
	count_guests(&d[0]);
	send_guests_home();
	door_close(&d[0]);
}

static void test_nothing_but_black_holes(void **state)
{
	static const uint8_t at[] = { 2, 3, 4, 5, 6 };
	struct door d[5];
	uint16_t port = open_doors(d, at, 5, 5);
	struct pool_key k = key("five.test", port, NULL);
	struct asker a = { 0 };

	for (int i = 0; i < 5; i++)
		block(&d[i]);
	get(&a, &k);
	turn_quiet();
	for (int i = 0; i < 39; i++)
		pass(250);
	assert_int_equal(a.told, 0);
	assert_int_equal(net.opened, 5);
	assert_int_equal(net.closed, 1);	/* four at a time */
	pass(250);
	assert_int_equal(a.told, 1);
	assert_int_equal(a.why, WHY_CONNECT_TIMEOUT);
	turn_quiet();
	assert_int_equal(a.told, 1);
	unblock();
	for (int i = 0; i < 5; i++)
		door_close(&d[i]);
}

/* More dead ones than are dialled at a time: the first of them gives way. */
static void test_behind_four_black_holes(void **state)
{
	static const uint8_t at[] = { 2, 3, 4, 5, 6 };
	struct door d[5];
	uint16_t port = open_doors(d, at, 5, 5);
	struct pool_key k = key("five.test", port, NULL);
	struct asker a = { 0 };

	for (int i = 0; i < 4; i++)
		block(&d[i]);
	get(&a, &k);
	turn_quiet();
	for (int i = 0; i < 3; i++)
		pass(250);
	assert_int_equal(net.opened, 4);
	assert_int_equal(a.told, 0);
	pass(250);
	TURN_UNTIL(a.told);
	assert_non_null(a.c);
	assert_int_equal(((const struct sockaddr_in *)conn_peer(a.c))->sin_addr.s_addr,
			 htonl(0x7f000006));
	assert_int_equal(net.opened, 5);
	assert_int_equal(net.closed, 4);
	conn_close(a.c);
	count_guests(&d[4]);
	send_guests_home();
	unblock();
	for (int i = 0; i < 5; i++)
		door_close(&d[i]);
}

/* -- names -------------------------------------------------------------------------- */

static void test_silent_name_server(void **state)
{
	struct pool_key k = key("unknown.test", 80, NULL);
	struct asker a = { 0 };

	net.deadlines.length_ms[DEADLINE_CONNECT] = 1000;	/* before the resolver's own */
	get(&a, &k);
	turn_quiet();
	pass(999);
	assert_int_equal(a.told, 0);
	pass(1);
	assert_int_equal(a.told, 1);
	assert_int_equal(a.why, WHY_NAME_TIMEOUT);
	net.deadlines.length_ms[DEADLINE_CONNECT] = 10000;
	get(&a, &k);				/* and now the resolver gives up first */
	turn_quiet();
	pass(3000);
	TURN_UNTIL(a.told);
	assert_int_equal(a.why, WHY_NAME_TIMEOUT);
}

/* -- TLS ---------------------------------------------------------------------------- */

static void on_server(void *owner, struct conn *c, enum conn_event ev)
{
}

/* Whoever comes to the door gets a handshake. */
static struct conn *serve(void)
{
	struct conn *c;

	TURN_UNTIL(count_guests(&door));
	c = conn_accept(&net, guest[--guests], on_server, NULL);
	assert_true(conn_secure(c, server_ctx, STR_NONE));
	return c;
}

static void test_secured(void **state)
{
	static const struct { const char *host, *name; enum why why; } row[] = {
		{ "good.test", "", WHY_DONE }, { "one.test", "good.test", WHY_DONE },
		{ "127.0.0.1", "good.test", WHY_DONE }, { "other.test", "", WHY_TLS_CERTIFICATE },
		{ "good.test", "other.test", WHY_TLS_CERTIFICATE },
	};

	open_door();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct pool_key k = key(row[i].host, door_port(&door), client_ctx);
		struct asker a = { 0 };
		struct conn *peer;

		k.tls_name = str_of(row[i].name);
		get(&a, &k);
		peer = serve();
		TURN_UNTIL(a.told);
		assert_string_equal(why_name(a.why), why_name(row[i].why));
		if (a.c) {
			assert_false(conn_is_plain(a.c));
			conn_close(a.c);
		} else {
			assert_non_null(strstr(a.detail, "mismatch"));
		}
		conn_close(peer);
	}
	close_door();
}

/* The second address is not asked when the first one shows a wrong certificate. */
static void test_a_failed_handshake_is_final(void **state)
{
	struct door d[2];
	uint16_t port = open_doors(d, (uint8_t[]){ 2, 3 }, 2, 5);
	struct pool_key k = key("two.test", port, client_ctx);
	struct asker a = { 0 };
	struct conn *peer;

	door = d[0];
	get(&a, &k);
	peer = serve();
	TURN_UNTIL(a.told);
	assert_int_equal(a.why, WHY_TLS_CERTIFICATE);
	pass(1000);
	turn_quiet();
	assert_int_equal(count_guests(&d[1]), 0);
	conn_close(peer);
	door_close(&d[0]);
	door_close(&d[1]);
}

static void test_handshake_that_stalls(void **state)
{
	struct pool_key k;
	struct asker a = { 0 };

	open_door();
	k = key("good.test", door_port(&door), client_ctx);
	get(&a, &k);
	TURN_UNTIL(count_guests(&door));
	turn_quiet();
	pass(9999);
	assert_int_equal(a.told, 0);
	pass(1);
	assert_int_equal(a.told, 1);
	assert_int_equal(a.why, WHY_CONNECT_TIMEOUT);
	close_door();
}

/* Octets that came with the handshake belong to no request. */
static void test_idle_tls_that_spoke(void **state)
{
	struct pool_key k;
	struct asker a = { 0 };
	struct conn *peer;
	size_t put;

	open_door();
	k = key("good.test", door_port(&door), client_ctx);
	get(&a, &k);
	peer = serve();
	TURN_UNTIL(a.told);
	pool_put(pool, &k, a.c);
	turn_quiet();				/* session tickets are no words */
	assert_int_equal(idle(), 1);
	assert_int_equal(conn_write(peer, &(struct iovec){ "x", 1 }, 1, &put), IO_DONE);
	TURN_UNTIL(idle() == 0);
	conn_close(peer);
	close_door();
}

/* -- by way of another proxy ----------------------------------------------------------- */

static struct {
	struct conn *c;			/* what pass() was given */
	via_fn *fn;
	void *arg;
	unsigned stopped;
	bool fails;			/* pass() itself */
} way;

static void *pass_by(const struct pool_via *v, struct conn *c, const struct pool_key *k,
		     via_fn *fn, void *arg)
{
	assert_string_equal(k->host.at, "inner.test");
	way.c = c;
	way.fn = fn;
	way.arg = arg;
	conn_adopt(c, on_conn, NULL);
	return way.fails ? NULL : &way;
}

static void stop_passing(void *passing)
{
	assert_ptr_equal(passing, &way);
	way.stopped++;
}

static struct pool_via via(uint32_t id)
{
	return (struct pool_via){ .id = id, .host = STR("127.0.0.1"), .port = door_port(&door),
				  .pass = pass_by, .stop = stop_passing };
}

static void test_via(void **state)
{
	struct asker a = { .refuses = { 1, 2, 3 }, .refusal = WHY_DENIED_TARGET };
	struct pool_via one, two;
	struct pool_key k = key("inner.test", 443, NULL), direct = k, other = k;

	open_door();
	one = via(1);
	two = via(2);
	k.via = &one;
	other.via = &two;
	memset(&way, 0, sizeof(way));
	get(&a, &k);
	TURN_UNTIL(way.c);			/* the parent is dialled unvetted: it was named */
	assert_int_equal(a.vetted, 0);
	assert_int_equal(a.told, 0);
	way.fn(way.arg, WHY_DONE, "");
	TURN_UNTIL(a.told);
	assert_ptr_equal(a.c, way.c);
	pool_put(pool, &k, a.c);
	assert_null(take(&direct));		/* what leads through it is nobody else's */
	assert_null(take(&other));
	assert_ptr_equal(take(&k), a.c);
	conn_close(a.c);
	close_door();
}

static void test_via_that_refuses(void **state)
{
	struct asker a = { 0 };
	struct pool_via one;
	struct pool_key k = key("inner.test", 443, NULL);

	open_door();
	one = via(1);
	k.via = &one;
	memset(&way, 0, sizeof(way));
	get(&a, &k);
	TURN_UNTIL(way.c);
	way.fn(way.arg, WHY_PARENT_REFUSED, "no");
	TURN_UNTIL(a.told);
	assert_int_equal(a.why, WHY_PARENT_REFUSED);
	assert_string_equal(a.detail, "no");
	memset(&way, 0, sizeof(way));
	way.fails = true;			/* out of memory */
	get(&a, &k);
	TURN_UNTIL(a.told);
	assert_null(a.c);
	memset(&way, 0, sizeof(way));
	get(&a, &k);				/* and a change of mind on the way */
	TURN_UNTIL(way.c);
	pool_cancel(a.want);
	assert_int_equal(way.stopped, 1);
	turn_quiet();
	assert_int_equal(a.told, 0);
	assert_int_equal(net.opened, net.closed);
	way.c = NULL;
	way.stopped = 0;
	get(&a, &k);				/* or too late */
	TURN_UNTIL(way.c);
	pass(10000);
	assert_int_equal(a.why, WHY_CONNECT_TIMEOUT);
	assert_int_equal(way.stopped, 1);
	close_door();
}

/* -- changes of mind ---------------------------------------------------------------- */

static void check_forgotten(struct asker *a)
{
	pool_cancel(a->want);
	turn_quiet();
	pass(20000);
	turn_quiet();
	assert_int_equal(a->told, 0);
	assert_int_equal(net.opened, net.closed);
	assert_int_equal(net.deadlines.set, 0);
}

static void test_cancel(void **state)
{
	struct asker a = { 0 };
	struct pool_key k;

	open_door();
	k = key("127.0.0.1", door_port(&door), NULL);	/* an address: before the loop */
	get(&a, &k);
	check_forgotten(&a);
	assert_int_equal(count_guests(&door), 0);
	k = key("one.test", door_port(&door), NULL);	/* a name of the hosts file */
	get(&a, &k);
	check_forgotten(&a);
	k = key("unknown.test", 80, NULL);	/* a query under way */
	get(&a, &k);
	turn_quiet();
	check_forgotten(&a);
	k = key("999", 80, NULL);		/* a failure not yet told */
	get(&a, &k);
	check_forgotten(&a);
	k = key("good.test", door_port(&door), client_ctx);	/* a handshake */
	get(&a, &k);
	TURN_UNTIL(count_guests(&door));
	turn_quiet();
	check_forgotten(&a);
	close_door();
}

static void test_cancel_a_race(void **state)
{
	struct door d[2];
	uint16_t port = open_doors(d, (uint8_t[]){ 2, 3 }, 2, 5);
	struct pool_key k = key("two.test", port, NULL);
	struct asker a = { 0 };

	block(&d[0]);
	block(&d[1]);
	get(&a, &k);
	turn_quiet();
	check_forgotten(&a);
	get(&a, &k);
	turn_quiet();
	pass(250);
	turn_quiet();
	assert_int_equal(net.opened - net.closed, 2);
	check_forgotten(&a);
	unblock();
	door_close(&d[0]);
	door_close(&d[1]);
}

static struct asker *victim;

static void cancel_other(struct asker *a)
{
	pool_cancel(victim->want);
	victim->want = NULL;
}

static void test_cancel_within_anothers_answer(void **state)
{
	struct asker a = { .within = cancel_other }, b = { 0 };
	struct pool_key good, bad;

	open_door();
	victim = &b;
	good = key("one.test", door_port(&door), NULL);
	bad = key("999", 80, NULL);
	get(&a, &bad);				/* both are due in the same turn */
	get(&b, &bad);
	TURN_UNTIL(a.told);
	get(&a, &good);
	get(&b, &good);
	TURN_UNTIL(a.told);
	turn_quiet();
	pass(20000);
	assert_int_equal(b.told, 0);
	conn_close(a.c);
	close_door();
}

static const struct pool_key *again_key;

static void ask_again(struct asker *a)
{
	a->within = NULL;
	conn_close(a->c);
	get(a, again_key);
}

static void test_ask_within_an_answer(void **state)
{
	struct asker a = { 0 };
	struct pool_key k[2];

	open_door();
	k[0] = key("one.test", door_port(&door), NULL);
	k[1] = key("999", 80, NULL);
	for (int i = 0; i < 4; i++) {
		a.within = ask_again;
		again_key = &k[i & 1];
		get(&a, &k[i >> 1]);
		TURN_UNTIL(!a.within && a.told);
		assert_int_equal(a.why, i & 1 ? WHY_NAME_NOT_FOUND : WHY_DONE);
		conn_close(a.c);
	}
	close_door();
}

/* -- the house ---------------------------------------------------------------------- */

static int open_all(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	FILE *f;

	snprintf(dir, sizeof(dir), "/tmp/test-pool-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(hosts_file, sizeof(hosts_file), "%s/hosts", dir);
	f = fopen(hosts_file, "w");
	assert_non_null(f);
	fputs(hosts, f);
	fclose(f);
	silent_server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(silent_server, (struct sockaddr *)&at, len), 0);
	getsockname(silent_server, (struct sockaddr *)&at, &len);
	snprintf(name_server, sizeof(name_server), "127.0.0.1:%u", ntohs(at.sin_port));
	certs_open("DNS:good.test");
	client_ctx = certs_context(TLS_CLIENT);
	other_ctx = certs_context(TLS_CLIENT);
	server_ctx = certs_context(TLS_SERVER);
	return 0;
}

static int close_all(void **state)
{
	tls_ctx_free(client_ctx);
	tls_ctx_free(other_ctx);
	tls_ctx_free(server_ctx);
	certs_close();
	close(silent_server);
	unlink(hosts_file);
	rmdir(dir);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_newest_first), TEST(test_keys), TEST(test_key_whose_name_is_the_host),
		TEST(test_names_too_long_are_not_kept), TEST(test_idle_ones_that_speak),
		TEST(test_idle_for_too_long), TEST(test_limits), TEST(test_nothing_is_kept),
		TEST(test_a_dead_one_is_not_kept), TEST(test_many_keys),
		TEST(test_idle_ones_are_vetted_again),
		TEST(test_refused_addresses_are_never_dialled), TEST(test_reasons),
		TEST(test_no_descriptors), TEST(test_ipv6),
		TEST(test_refused_goes_on_at_once), TEST(test_black_hole),
		TEST(test_late_winner), TEST(test_nothing_but_black_holes),
		TEST(test_behind_four_black_holes),
		TEST(test_silent_name_server), TEST(test_secured),
		TEST(test_a_failed_handshake_is_final), TEST(test_handshake_that_stalls),
		TEST(test_idle_tls_that_spoke), TEST(test_via), TEST(test_via_that_refuses),
		TEST(test_cancel), TEST(test_cancel_a_race),
		TEST(test_cancel_within_anothers_answer), TEST(test_ask_within_an_answer),
	};

	return cmocka_run_group_tests_name("pool", tests, open_all, close_all);
}
