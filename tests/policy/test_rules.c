/* rules: which rule applies, against a naive reading of the file from top to
 * bottom. */
#include "policy/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static const struct rule otherwise = { .name = { "default", 7 }, .answer = ANSWER_ECHO };

static struct str hosts_of_example[] = {
	{ "orders.corp.example", 19 }, { "*.documents.azure.com", 21 },
	{ "[a-z]*", 6 },
};

static void test_none(void **state)
{
	struct arena *a = arena_new(4096, 1 << 20);
	struct rules *r = rules_new(a, &otherwise);

	(void)state;
	assert_true(rules_seal(r));
	assert_int_equal(rules_count(r), 0);
	assert_string_equal(rules_find(r, STR("h"), STR("/"), STR("GET"), STR(""))->name.at,
			    "default");
	arena_free(a);
}

static void test_example(void **state)
{
	struct arena *a = arena_new(4096, 1 << 20);
	struct rules *r = rules_new(a, &otherwise);
	struct str methods[] = { STR("GET"), STR("PROPFIND") };
	const struct rule orders = { .name = STR("orders"), .hosts = hosts_of_example,
				     .hosts_n = 1, .path = STR("/api/*"), .methods = methods,
				     .methods_n = 2 };
	const struct rule cosmos = { .name = STR("cosmos"), .hosts = hosts_of_example + 1,
				     .hosts_n = 1 };
	const struct rule old = { .name = STR("old-ie"), .user_agent = STR("*MSIE*") };
	static const struct { const char *host, *path, *method, *agent, *want; } rows[] = {
		{ "orders.corp.example", "/api/x", "GET", "", "orders" },
		{ "ORDERS.corp.example.", "/api/x?y", "PROPFIND", "", "orders" },
		{ "orders.corp.example", "/apix", "GET", "", "default" },
		{ "orders.corp.example", "/api/x", "POST", "", "default" },
		{ "orders.corp.example", "/api/x", "get", "", "default" },
		{ "x.orders.corp.example", "/api/x", "GET", "", "default" },
		{ "a.b.documents.azure.com", "/", "GET", "MSIE", "cosmos" },
		{ "documents.azure.com", "/", "GET", "", "default" },
		{ "xdocuments.azure.com", "/", "GET", "", "default" },
		{ "anything", "/", "GET", "Mozilla (msie 6)", "old-ie" },
		{ "anything", "/", "GET", "curl", "default" },
	};

	(void)state;
	assert_true(rules_add(r, &orders) && rules_add(r, &cosmos) && rules_add(r, &old));
	assert_true(rules_seal(r));
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct rule *got =
			rules_find(r, str_of(rows[i].host), str_of(rows[i].path),
				   str_of(rows[i].method), str_of(rows[i].agent));

		if (!str_eq(got->name, str_of(rows[i].want)))
			fail_msg("row %zu: %.*s", i, STR_FMT(got->name));
	}
	assert_string_equal(rule_misses(&orders, STR("o"), STR("/"), STR("X"), STR("")), "host");
	assert_string_equal(rule_misses(&orders, hosts_of_example[0], STR("/"), STR("X"), STR("")),
			    "path");
	assert_string_equal(rule_misses(&orders, hosts_of_example[0], STR("/api/"), STR("X"),
					STR("")), "method");
	assert_string_equal(rule_misses(&old, STR("h"), STR("/"), STR("X"), STR("c")),
			    "user-agent");
	assert_null(rule_misses(&orders, hosts_of_example[0], STR("/api/"), STR("GET"), STR("")));
	arena_free(a);
}

/* --- at random --- */

static unsigned seed = 449;

static unsigned below(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static struct str some_name(struct arena *a)
{
	static const char *const label[] = { "a", "b", "c", "orders", "x-1" };
	static const char *const top[] = { "example", "corp.example", "azure.com" };
	struct str n = str_of(top[below(COUNT(top))]);

	for (unsigned i = below(4); i > 0; i--)
		n = arena_print(a, "%s.%.*s", label[below(COUNT(label))], STR_FMT(n));
	return below(9) ? n : arena_print(a, "%.*s.", STR_FMT(n));
}

static struct str some_pattern(struct arena *a)
{
	struct str n = some_name(a);

	switch (below(8)) {
	case 0:
	case 1:
	case 2:
		return arena_print(a, "*.%.*s", STR_FMT(n));
	case 3:
		return arena_print(a, "?%.*s", STR_FMT(str_from(n, 1)));
	case 4:
		return arena_print(a, "*%.*s", STR_FMT(n));
	case 5:
		return arena_print(a, ".%.*s", STR_FMT(n));
	default:
		return n;
	}
}

static struct str some_path(void)
{
	static const char *const path[] = { "/", "/api/x", "/api/y?z", "/b" };

	return str_of(path[below(COUNT(path))]);
}

static struct rule some_rule(struct arena *a, unsigned i)
{
	static const char *const glob[] = { "/api/*", "/b*", "*y*" };
	static const char *const agent[] = { "*MSIE*", "curl/*" };
	static const char *const method[] = { "GET", "POST", "PROPFIND" };
	struct rule r = { .name = arena_print(a, "%u", i) };

	r.hosts_n = below(20) ? 1 + below(3) : 0;
	r.hosts = arena_get(a, 4 * sizeof(*r.hosts));
	for (unsigned k = 0; k < r.hosts_n; k++)
		r.hosts[k] = some_pattern(a);
	if (r.hosts_n == 0 || below(3) == 0)
		r.path = str_of(glob[below(COUNT(glob))]);
	if (r.hosts_n == 0 || below(3) == 0)
		r.user_agent = str_of(agent[below(COUNT(agent))]);
	if (r.hosts_n == 0 || below(3) == 0) {
		r.methods = arena_get(a, sizeof(*r.methods));
		r.methods[0] = str_of(method[below(COUNT(method))]);
		r.methods_n = 1;
	}
	return r;
}

static struct str no_dot(struct str s)
{
	return str_ends(s, STR(".")) ? str_first(s, s.len - 1) : s;
}

/* The contract, told without an index. */
static bool naive_matches(const struct rule *r, struct str host, struct str path,
			  struct str method, struct str agent)
{
	bool hit = r->hosts_n == 0;

	for (unsigned i = 0; i < r->hosts_n; i++)
		hit = hit || str_glob(no_dot(r->hosts[i]), no_dot(host));
	if (!hit || (r->path.len && !str_glob(r->path, path)))
		return false;
	if (r->methods_n && !str_eq(r->methods[0], method))
		return false;
	return r->user_agent.len == 0 || str_glob(r->user_agent, agent);
}

static void compare(const struct rules *r, struct arena *a, unsigned *named)
{
	static const char *const method[] = { "GET", "POST", "PROPFIND", "get" };
	static const char *const agent[] = { "", "curl/8", "Mozilla/4.0 (MSIE 6.0)" };
	struct str host = some_name(a), path = some_path();
	struct str m = str_of(method[below(COUNT(method))]);
	struct str ua = str_of(agent[below(COUNT(agent))]);
	const struct rule *got = rules_find(r, host, path, m, ua);
	struct str want = STR("default");

	for (unsigned i = rules_count(r); i-- > 0;) {
		bool hit = naive_matches(rules_at(r, i), host, path, m, ua);

		assert_int_equal(hit, rule_misses(rules_at(r, i), host, path, m, ua) == NULL);
		if (hit)
			want = rules_at(r, i)->name;
	}
	if (!str_eq(got->name, want))
		fail_msg("%.*s %.*s: rule %.*s, want %.*s", STR_FMT(host), STR_FMT(path),
			 STR_FMT(got->name), STR_FMT(want));
	*named += !str_eq(want, STR("default"));
}

static void test_against_naive(void **state)
{
	static const unsigned sizes[] = { 1, 3, 10, 100, 1000 };
	unsigned named = 0;

	(void)state;
	for (size_t s = 0; s < COUNT(sizes); s++) {
		struct arena *a = arena_new(1 << 16, 1 << 24);
		struct rules *r = rules_new(a, &otherwise);

		for (unsigned i = 0; i < sizes[s]; i++) {
			struct rule rule = some_rule(a, i);

			assert_true(rules_add(r, &rule));
		}
		assert_true(rules_seal(r));
		assert_int_equal(rules_count(r), sizes[s]);
		for (unsigned i = 0; i < 2000; i++)
			compare(r, a, &named);
		assert_false(arena_full(a));
		arena_free(a);
	}
	assert_in_range(named, 2000, 9999);
}

/* Ten thousand rules with a host of their own: all are found, the last too. */
static void test_many_hosts(void **state)
{
	enum { MANY = 10000 };
	struct arena *a = arena_new(1 << 20, 1 << 26);
	struct rules *r = rules_new(a, &otherwise);

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		struct rule rule = { .name = arena_print(a, "%u", i), .hosts_n = 1 };

		rule.hosts = arena_get(a, sizeof(*rule.hosts));
		rule.hosts[0] = arena_print(a, "%sh%u.example", i % 2 ? "*." : "", i);
		assert_true(rules_add(r, &rule));
	}
	assert_true(rules_seal(r));
	for (unsigned i = 0; i < MANY; i++) {
		struct str host = arena_print(a, "%sh%u.EXAMPLE", i % 2 ? "x.y." : "", i);

		assert_ptr_equal(rules_find(r, host, STR("/"), STR("GET"), STR("")),
				 rules_at(r, i));
	}
	arena_free(a);
}

static void test_out_of_memory(void **state)
{
	struct arena *a = arena_new(4096, 4096);
	struct rules *r = rules_new(a, &otherwise);
	const struct rule rule = { .hosts = hosts_of_example, .hosts_n = 2 };
	unsigned n = 0;

	(void)state;
	assert_non_null(r);
	while (n < 100000 && rules_add(r, &rule))
		n++;
	assert_in_range(n, 1, 1000);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_against_naive),
		cmocka_unit_test(test_many_hosts),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
