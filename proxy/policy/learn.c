/* Five memos and what their entries mean. What to do with the knowledge (to
 * expect, to attach, to pause) is for others to say. */
#include "policy/learn.h"

#include <stdlib.h>

#include "policy/memo.h"

enum { PROVEN = 2 };			/* acceptances before a value is used */

enum which { PLACES, DEAF, BREAKERS, VALUES, STICKY, MEMOS };

struct learn {
	struct learn_options options;
	struct memo *memo[MEMOS];
	struct memo_key key;		/* the one being asked for */
	size_t shown;
	char value[MEMO_VALUE_MOST];	/* what learn_unstick() gave away */
};

struct learn *learn_new(const struct learn_options *o)
{
	struct learn *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->options = *o;
	for (int i = 0; i < MEMOS; i++) {
		l->memo[i] = memo_new(o->entries_most, i == VALUES || i == STICKY);
		if (!l->memo[i]) {
			learn_free(l);
			return NULL;
		}
	}
	return l;
}

void learn_free(struct learn *l)
{
	if (!l)
		return;
	for (int i = 0; i < MEMOS; i++)
		memo_free(l->memo[i]);
	explicit_bzero(l, sizeof(*l));
	free(l);
}

unsigned learn_entries(const struct learn *l)
{
	unsigned n = 0;

	for (int i = 0; i < MEMOS; i++)
		n += memo_count(l->memo[i]);
	return n;
}

/* The common case, and worth no hash. */
static bool has_none(const struct learn *l, enum which which)
{
	return memo_count(l->memo[which]) == 0;
}

bool learn_sticks(const struct learn *l)
{
	return !has_none(l, STICKY);
}

/* Keys. Scheme and host in any case are one origin; of a path its first two
 * segments count. */

static struct str path_prefix(struct str path)
{
	unsigned slashes = 0;

	for (size_t i = 0; i < path.len; i++) {
		if (path.at[i] == '?' || (path.at[i] == '/' && ++slashes == 3))
			return str_first(path, i);
	}
	return path;
}

static void origin_key(struct learn *l, struct str origin)
{
	memo_key_begin(&l->key);
	memo_key_put_nocase(&l->key, origin);
}

static void place_key(struct learn *l, struct str origin, struct str path)
{
	origin_key(l, origin);
	memo_key_put(&l->key, path_prefix(path));
}

static void value_key(struct learn *l, struct str client, struct str origin, struct str method,
		      struct str path)
{
	place_key(l, origin, path);
	memo_key_put(&l->key, client);
	memo_key_put(&l->key, method);
}

static void sticky_key(struct learn *l, struct str key, struct str method, struct str url)
{
	memo_key_begin(&l->key);
	memo_key_put(&l->key, key);
	memo_key_put(&l->key, method);
	memo_key_put(&l->key, url);
}

/* The entry of l->key, new if need be; NULL when the key is too long. */
static struct memo_entry *renewed(struct learn *l, enum which which, uint64_t now_ms)
{
	struct memo *m = l->memo[which];
	struct memo_entry *e = memo_find(m, &l->key, now_ms);

	if (!e)
		return memo_add(m, &l->key, STR_NONE);
	memo_renew(m, e);
	return e;
}

static void forget(struct learn *l, enum which which)
{
	struct memo_entry *e = memo_find(l->memo[which], &l->key, 0);

	if (e)
		memo_drop(l->memo[which], e);
}

static void remember(struct learn *l, enum which which, uint64_t now_ms)
{
	struct memo_entry *e = renewed(l, which, now_ms);

	if (e)
		e->until_ms = now_ms + l->options.challenger_ttl_ms;
}

/* Who challenges, and who is deaf to Expect. */

void learn_challenged(struct learn *l, struct str origin, struct str path, uint64_t now_ms)
{
	place_key(l, origin, path);
	remember(l, PLACES, now_ms);
}

void learn_not_challenged(struct learn *l, struct str origin, struct str path, uint64_t now_ms)
{
	place_key(l, origin, path);
	forget(l, PLACES);
}

bool learn_is_challenger(struct learn *l, struct str origin, struct str path, uint64_t now_ms)
{
	place_key(l, origin, path);
	return memo_find(l->memo[PLACES], &l->key, now_ms);
}

void learn_no_expect(struct learn *l, struct str origin, uint64_t now_ms)
{
	origin_key(l, origin);
	remember(l, DEAF, now_ms);
}

bool learn_may_expect(struct learn *l, struct str origin, uint64_t now_ms)
{
	origin_key(l, origin);
	return !memo_find(l->memo[DEAF], &l->key, now_ms);
}

/* The breaker. Closed: fewer 449s in a row than trip it. Open: until the pause
 * ends. Half open after that: the count stays, so the next 449 opens it again,
 * and only a success forgets the origin. That is why entries do not expire. */

static bool is_paused(const struct learn *l, const struct memo_entry *e, uint64_t now_ms)
{
	return l->options.breaker_trips > 0 && e->count >= l->options.breaker_trips &&
	       now_ms < e->until_ms;
}

bool learn_replay_result(struct learn *l, struct str origin, bool again_449, uint64_t now_ms)
{
	struct memo_entry *e;

	if (!again_449 && has_none(l, BREAKERS))
		return false;
	origin_key(l, origin);
	if (!again_449) {
		forget(l, BREAKERS);
		return false;
	}
	e = renewed(l, BREAKERS, 0);
	if (!e || is_paused(l, e, now_ms))	/* paused: it was under way */
		return false;
	if (e->count < l->options.breaker_trips)
		e->count++;
	e->until_ms = now_ms + l->options.breaker_pause_ms;
	return is_paused(l, e, now_ms);
}

bool learn_breaker_open(struct learn *l, struct str origin, uint64_t now_ms)
{
	struct memo_entry *e;

	if (has_none(l, BREAKERS))
		return false;
	origin_key(l, origin);
	e = memo_find(l->memo[BREAKERS], &l->key, 0);
	return e && is_paused(l, e, now_ms);
}

/* Values. */

static void forget_shown(struct learn *l)
{
	explicit_bzero(l->value, l->shown);
	l->shown = 0;
}

/* Its time runs from the second acceptance on and is not prolonged: a server
 * that stopped asking must not be told for ever. */
void learn_value_accepted(struct learn *l, struct str client, struct str origin, struct str method,
			  struct str path, struct str value, uint32_t ttl_ms, uint64_t now_ms)
{
	struct memo *m = l->memo[VALUES];
	struct memo_entry *e;

	value_key(l, client, origin, method, path);
	e = memo_find(m, &l->key, now_ms);
	if (e && !str_eq(memo_value(m, e), value)) {
		memo_drop(m, e);
		e = NULL;
	}
	if (!e) {
		memo_sweep(m, now_ms);
		e = memo_add(m, &l->key, value);
	}
	if (e && e->count < PROVEN) {
		e->count++;
		e->until_ms = now_ms + ttl_ms;
	}
}

void learn_value_refused(struct learn *l, struct str client, struct str origin, struct str method,
			 struct str path)
{
	value_key(l, client, origin, method, path);
	forget(l, VALUES);
}

struct str learn_value(struct learn *l, struct str client, struct str origin, struct str method,
		       struct str path, uint64_t now_ms)
{
	struct memo_entry *e;

	value_key(l, client, origin, method, path);
	e = memo_find(l->memo[VALUES], &l->key, now_ms);
	return e && e->count >= PROVEN ? memo_value(l->memo[VALUES], e) : STR_NONE;
}

/* Sticky echo. */

void learn_stick(struct learn *l, struct str key, struct str method, struct str url,
		 struct str value, uint32_t ttl_ms, uint64_t now_ms)
{
	struct memo_entry *e;

	forget_shown(l);
	sticky_key(l, key, method, url);
	forget(l, STICKY);
	memo_sweep(l->memo[STICKY], now_ms);
	e = memo_add(l->memo[STICKY], &l->key, value);
	if (e)
		e->until_ms = now_ms + ttl_ms;
}

struct str learn_unstick(struct learn *l, struct str key, struct str method, struct str url,
			 uint64_t now_ms)
{
	struct memo_entry *e;
	struct str value;

	forget_shown(l);
	sticky_key(l, key, method, url);
	e = memo_find(l->memo[STICKY], &l->key, now_ms);
	if (!e)
		return STR_NONE;
	value = memo_value(l->memo[STICKY], e);
	if (value.len > 0)
		memcpy(l->value, value.at, value.len);
	l->shown = value.len;
	memo_drop(l->memo[STICKY], e);
	return (struct str){ l->value, l->shown };
}
