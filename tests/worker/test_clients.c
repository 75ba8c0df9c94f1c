/* clients: limits in all and per address, over all threads. */
#include "worker/clients.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/un.h>

#include <cmocka.h>

enum { THREADS = 4, TURNS = 20000, LIMIT = 2 };

static const struct sockaddr *v4(const char *text)
{
	static _Thread_local struct sockaddr_in a;

	a = (struct sockaddr_in){ .sin_family = AF_INET };
	assert_int_equal(inet_pton(AF_INET, text, &a.sin_addr), 1);
	return (const struct sockaddr *)&a;
}

static const struct sockaddr *v6(const char *text)
{
	static _Thread_local struct sockaddr_in6 a;

	a = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
	assert_int_equal(inet_pton(AF_INET6, text, &a.sin6_addr), 1);
	return (const struct sockaddr *)&a;
}

static void test_in_all(void **state)
{
	assert_true(clients_enter(v4("10.0.0.1"), 2, 0));
	assert_true(clients_enter(v6("fd00::1"), 2, 0));
	assert_false(clients_enter(v4("10.0.0.3"), 2, 0));
	assert_int_equal(clients_in_all(), 2);
	clients_leave(v6("fd00::1"));
	assert_true(clients_enter(v4("10.0.0.3"), 2, 0));
	clients_leave(v4("10.0.0.3"));
	clients_leave(v4("10.0.0.1"));
	assert_int_equal(clients_in_all(), 0);
}

/* Who is refused for its address is not counted in all either. */
static void test_per_address(void **state)
{
	assert_true(clients_enter(v4("10.0.0.1"), 0, 1));
	assert_false(clients_enter(v4("10.0.0.1"), 0, 1));
	assert_true(clients_enter(v4("10.0.0.2"), 0, 1));
	assert_true(clients_enter(v6("fd00::1"), 0, 1));
	assert_false(clients_enter(v6("fd00::1"), 0, 1));
	assert_true(clients_enter(v6("fd00::2"), 0, 1));
	assert_int_equal(clients_in_all(), 4);
	clients_leave(v4("10.0.0.1"));
	assert_true(clients_enter(v4("10.0.0.1"), 0, 1));
	clients_leave(v4("10.0.0.1"));
	clients_leave(v4("10.0.0.2"));
	clients_leave(v6("fd00::1"));
	clients_leave(v6("fd00::2"));
	assert_int_equal(clients_in_all(), 0);
}

static const struct sockaddr *neighbour(unsigned i)
{
	char text[16];

	snprintf(text, sizeof text, "192.168.7.%u", i);
	return v4(text);
}

/* In a network of 254 hosts each has a slot of its own, or nearly. */
static void test_neighbours(void **state)
{
	bool entered[255] = { false };
	unsigned n = 0;

	for (unsigned i = 1; i < 255; i++)
		n += entered[i] = clients_enter(neighbour(i), 0, 1);
	assert_in_range(n, 240, 254);
	assert_int_equal(clients_in_all(), n);
	for (unsigned i = 1; i < 255; i++)
		if (entered[i])
			clients_leave(neighbour(i));
	assert_int_equal(clients_in_all(), 0);
}

static void test_a_unix_socket_has_no_address(void **state)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const struct sockaddr *a = (const struct sockaddr *)&un;

	assert_true(clients_enter(a, 2, 1));
	assert_true(clients_enter(a, 2, 1));
	assert_false(clients_enter(a, 2, 1));
	clients_leave(a);
	clients_leave(a);
	assert_int_equal(clients_in_all(), 0);
}

static _Atomic unsigned inside, most_inside, refused;

static void *come_and_go(void *arg)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a090807) };

	for (unsigned i = 0; i < TURNS; i++) {
		if (!clients_enter((const struct sockaddr *)&a, 0, LIMIT)) {
			refused++;
			continue;
		}
		if (++inside > LIMIT)
			most_inside = LIMIT + 1;
		inside--;
		clients_leave((const struct sockaddr *)&a);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(most_inside, 0);
	assert_int_equal(clients_in_all(), 0);
	assert_true(refused < THREADS * TURNS);
}

static void test_fairness(void **state)
{
	assert_false(clients_unfair(1000, 1));		/* no others */
	for (unsigned i = 0; i < 400; i++)
		assert_true(clients_enter(v4("10.1.1.1"), 0, 0));
	assert_false(clients_unfair(100, 4));
	assert_false(clients_unfair(120, 4));		/* an eighth and eight: chance */
	assert_true(clients_unfair(121, 4));
	for (unsigned i = 0; i < 400; i++)
		clients_leave(v4("10.1.1.1"));
	assert_false(clients_unfair(8, 4));		/* too few to tell */
	assert_int_equal(clients_in_all(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_all),
		cmocka_unit_test(test_per_address),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_a_unix_socket_has_no_address),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_fairness),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
