/* origins: sums stay true, whatever is folded. */
#include "worker/origins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct origins o, p;

static int empty(void **state)
{
	memset(&o, 0, sizeof o);
	memset(&p, 0, sizeof p);
	return 0;
}

static const struct origin_row *row_of(const struct origins *all, const char *name)
{
	for (unsigned i = 0; i < all->n; i++)
		if (strcmp(all->row[i].name, name) == 0)
			return &all->row[i];
	return NULL;
}

static void note(struct origins *to, const char *name, uint64_t seen)
{
	struct origin_cost c = { .challenged = 1, .replays = 2, .final = 1, .again = 1,
				 .unanswered = 1, .added_ms = 7, .octets = 100, .seen = seen };

	origins_note(to, str_of(name), &c);
}

static uint64_t all_challenged(const struct origins *all)
{
	uint64_t sum = all->other.challenged;

	for (unsigned i = 0; i < all->n; i++)
		sum += all->row[i].cost.challenged;
	return sum;
}

static void test_sums(void **state)
{
	const struct origin_cost lost = { .challenged = 1, .replays = 1, .lost = 1, .seen = 3 };
	const struct origin_cost *c;

	note(&o, "http://a:80", 5);
	note(&o, "http://a:80", 9);
	note(&o, "https://a:80", 2);
	origins_note(&o, str_of("http://a:80"), &lost);
	assert_int_equal(o.n, 2);
	c = &row_of(&o, "http://a:80")->cost;
	assert_int_equal(c->challenged, 3);
	assert_int_equal(c->replays, 5);
	assert_int_equal(c->final, 2);
	assert_int_equal(c->again, 2);
	assert_int_equal(c->lost, 1);
	assert_int_equal(c->unanswered, 2);
	assert_int_equal(c->added_ms, 14);
	assert_int_equal(c->octets, 200);
	assert_int_equal(c->seen, 9);		/* the last, not the latest note */
}

static void test_bounded(void **state)
{
	char name[64];

	for (unsigned i = 0; i < 3 * ORIGINS_MOST; i++) {
		note(&o, "http://kept:80", 1000 + i);
		snprintf(name, sizeof name, "http://h%u:80", i);
		note(&o, name, 1000 + i);
	}
	assert_int_equal(o.n, ORIGINS_MOST);
	assert_int_equal(o.folded, 2 * ORIGINS_MOST + 1);
	assert_non_null(row_of(&o, "http://kept:80"));
	assert_null(row_of(&o, "http://h0:80"));
	assert_int_equal(all_challenged(&o), 6 * ORIGINS_MOST);
	assert_int_equal(o.other.octets, 100 * o.other.challenged);
}

static void test_a_folded_one_begins_anew(void **state)
{
	char name[64];

	note(&o, "http://old:80", 1);
	for (unsigned i = 0; i < ORIGINS_MOST; i++) {
		snprintf(name, sizeof name, "http://h%u:80", i);
		note(&o, name, 2 + i);
	}
	assert_null(row_of(&o, "http://old:80"));
	note(&o, "http://old:80", 1000);
	assert_int_equal(row_of(&o, "http://old:80")->cost.challenged, 1);
	assert_int_equal(all_challenged(&o), ORIGINS_MOST + 2);
}

static void test_two_workers(void **state)
{
	char name[64];

	for (unsigned i = 0; i < ORIGINS_MOST; i++) {
		snprintf(name, sizeof name, "http://a%u:80", i);
		note(&o, name, i);
		snprintf(name, sizeof name, "http://%c%u:80", i % 2 ? 'a' : 'b', i);
		note(&p, name, 100 + i);
	}
	note(&p, "", 1);
	origins_add(&o, &p);
	assert_int_equal(o.n, ORIGINS_MOST);
	assert_int_equal(all_challenged(&o), 2 * ORIGINS_MOST + 1);
	assert_int_equal(row_of(&o, "http://a63:80")->cost.challenged, 2);
}

static void test_order(void **state)
{
	note(&o, "http://b:80", 1);
	note(&o, "http://c:80", 1);
	note(&o, "http://c:80", 1);
	note(&o, "http://a:80", 1);
	origins_sort(&o);
	assert_string_equal(o.row[0].name, "http://c:80");
	assert_string_equal(o.row[1].name, "http://a:80");
	assert_string_equal(o.row[2].name, "http://b:80");
}

static void test_long_name(void **state)
{
	char name[1024];

	memset(name, 'x', sizeof name);
	name[sizeof name - 1] = '\0';
	note(&o, name, 1);
	note(&o, name, 2);
	assert_int_equal(o.n, 1);
	assert_int_equal(strlen(o.row[0].name), ORIGIN_ROOM - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_sums, empty),
		cmocka_unit_test_setup(test_bounded, empty),
		cmocka_unit_test_setup(test_a_folded_one_begins_anew, empty),
		cmocka_unit_test_setup(test_two_workers, empty),
		cmocka_unit_test_setup(test_order, empty),
		cmocka_unit_test_setup(test_long_name, empty),
	};

	return cmocka_run_group_tests_name("origins", tests, NULL, NULL);
}
