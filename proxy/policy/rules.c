/* rules: the operator's rules in the order of the file, and an index over their
 * hosts. It does not act on them: `challenge` reads the rule that was found.
 *
 * An exact host and a pattern "*.suffix" are keys of one hash table; a host of k
 * labels is looked up k + 1 times, whatever the number of rules. Rules that
 * name no host, or a pattern of another shape, stand in an ordered list. Each
 * list is in the order of the file, so the first match of each is its best,
 * and the best of all is the one with the lowest number. */
#include "policy/rules.h"

struct entry {				/* one host of one rule */
	const struct entry *next;	/* of the same bucket, rule ascending */
	struct str key;			/* "a.example", or ".example" for *.example */
	unsigned rule;
};

struct rules {
	struct arena *arena;
	const struct rule *otherwise;
	struct rule *at;
	unsigned n, room;
	const struct entry **bucket;
	unsigned mask;			/* buckets - 1 */
	unsigned *others;		/* rules that the table cannot find */
	unsigned others_n;
};

struct rules *rules_new(struct arena *a, const struct rule *otherwise)
{
	struct rules *r = arena_zero(a, sizeof(*r));
	struct rule *kept = arena_get(a, sizeof(*kept));

	if (!r || !kept)
		return NULL;
	*kept = *otherwise;
	r->arena = a;
	r->otherwise = kept;
	return r;
}

bool rules_add(struct rules *r, const struct rule *rule)
{
	if (r->n == r->room) {
		unsigned room = r->room ? r->room * 2 : 16;
		struct rule *at = arena_get(r->arena, room * sizeof(*at));

		if (!at)
			return false;
		if (r->n)
			memcpy(at, r->at, r->n * sizeof(*at));
		r->at = at;
		r->room = room;
	}
	r->at[r->n++] = *rule;
	return true;
}

/* "example.com." is the same host (RFC 1034 3.1). */
static struct str without_dot(struct str host)
{
	if (host.len > 1 && host.at[host.len - 1] == '.')
		host.len--;
	return host;
}

/* The key under which the table finds this pattern; false: it cannot. */
static bool key_of(struct str host, struct str *key)
{
	*key = without_dot(host);
	if (str_starts(*key, STR("*.")))
		*key = str_from(*key, 1);
	else if (str_starts(*key, STR(".")))
		return false;
	return key->len && !memchr(key->at, '*', key->len) &&
	       !memchr(key->at, '?', key->len);
}

static bool is_indexed(const struct rule *rule)
{
	struct str key;

	for (unsigned i = 0; i < rule->hosts_n; i++)
		if (!key_of(rule->hosts[i], &key))
			return false;
	return rule->hosts_n > 0;
}

static const struct entry **bucket_of(const struct rules *r, struct str key)
{
	return &r->bucket[str_hash_nocase(key, STR_HASH_SEED) & r->mask];
}

static bool index_rule(struct rules *r, unsigned n)
{
	const struct rule *rule = &r->at[n];

	for (unsigned i = 0; i < rule->hosts_n; i++) {
		struct entry *e = arena_get(r->arena, sizeof(*e));

		if (!e)
			return false;
		key_of(rule->hosts[i], &e->key);
		e->rule = n;
		e->next = *bucket_of(r, e->key);
		*bucket_of(r, e->key) = e;
	}
	return true;
}

bool rules_seal(struct rules *r)
{
	unsigned keys = 0, buckets = 16;

	for (unsigned i = 0; i < r->n; i++)
		keys += r->at[i].hosts_n;
	while (buckets < keys * 2)
		buckets *= 2;
	r->mask = buckets - 1;
	r->bucket = arena_zero(r->arena, buckets * sizeof(*r->bucket));
	r->others = arena_get(r->arena, (r->n + 1) * sizeof(*r->others));
	if (!r->bucket || !r->others)
		return false;
	for (unsigned i = 0; i < r->n; i++)
		if (!is_indexed(&r->at[i]))
			r->others[r->others_n++] = i;
	/* The last first: each bucket's list then begins with the earliest. */
	for (unsigned i = r->n; i-- > 0;)
		if (is_indexed(&r->at[i]) && !index_rule(r, i))
			return false;
	return true;
}

static bool host_matches(const struct rule *rule, struct str host)
{
	for (unsigned i = 0; i < rule->hosts_n; i++)
		if (str_glob(without_dot(rule->hosts[i]), host))
			return true;
	return rule->hosts_n == 0;
}

static bool method_matches(const struct rule *rule, struct str method)
{
	for (unsigned i = 0; i < rule->methods_n; i++)
		if (str_eq(rule->methods[i], method))
			return true;
	return rule->methods_n == 0;
}

/* Why the rule does not apply to a request for its host. */
static const char *misses_beyond_host(const struct rule *rule, struct str path,
				      struct str method, struct str user_agent)
{
	if (rule->path.len && !str_glob(rule->path, path))
		return "path";
	if (!method_matches(rule, method))
		return "method";
	if (rule->user_agent.len && !str_glob(rule->user_agent, user_agent))
		return "user-agent";
	return NULL;
}

const char *rule_misses(const struct rule *rule, struct str host, struct str path,
			struct str method, struct str user_agent)
{
	if (!host_matches(rule, without_dot(host)))
		return "host";
	return misses_beyond_host(rule, path, method, user_agent);
}

struct query {
	struct str host, path, method, user_agent;
	unsigned best;			/* the earliest rule so far */
};

static void try_key(const struct rules *r, struct query *q, struct str key)
{
	const struct entry *e = *bucket_of(r, key);

	for (; e && e->rule < q->best; e = e->next) {
		if (!str_eq_nocase(e->key, key))
			continue;
		if (!misses_beyond_host(&r->at[e->rule], q->path, q->method, q->user_agent))
			q->best = e->rule;
	}
}

static void try_others(const struct rules *r, struct query *q)
{
	for (unsigned i = 0; i < r->others_n && r->others[i] < q->best; i++)
		if (!rule_misses(&r->at[r->others[i]], q->host, q->path, q->method,
				 q->user_agent))
			q->best = r->others[i];
}

const struct rule *rules_find(const struct rules *r, struct str host, struct str path,
			      struct str method, struct str user_agent)
{
	struct query q = { without_dot(host), path, method, user_agent, r->n };

	if (r->n == 0)
		return r->otherwise;
	try_key(r, &q, q.host);
	for (size_t i = 0; i < q.host.len; i++)
		if (q.host.at[i] == '.')
			try_key(r, &q, str_from(q.host, i));
	try_others(r, &q);
	return q.best < r->n ? &r->at[q.best] : r->otherwise;
}

unsigned rules_count(const struct rules *r)
{
	return r->n;
}

const struct rule *rules_at(const struct rules *r, unsigned i)
{
	return &r->at[i];
}
