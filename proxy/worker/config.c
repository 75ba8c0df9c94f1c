/* config: from a form to a snapshot. Reads every setting into its field by the
 * option table, then the rules (config_rule.c), then checks what no option can
 * check alone. Printing is in config_print.c. */
#include "worker/config.h"

#include <sys/random.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "worker/loaded.h"
#include "worker/login.h"

enum { ARENA_FIRST = 16384, ARENA_MOST = 256 << 20 };

bool config_take(struct loading *l, enum scope scope, const struct setting *all,
			  bool given_only, void *to)
{
	unsigned n;
	const struct option *o = option_table(scope, &n);

	for (unsigned i = 0; i < n; i++) {
		struct str nowhere = STR_NONE;
		bool placed = o[i].at != OPTION_NOWHERE;

		if (!all[i].at || (given_only && !all[i].given))
			continue;
		if (!value_take(&l->taker, &o[i], &all[i],
				placed ? (char *)to + o[i].at : (void *)&nowhere))
			return false;
	}
	return true;
}

/* --- what no option can check alone --- */

static const struct value *given(const struct loading *l, const char *name)
{
	const struct setting *s = form_setting(l->form, name);

	return s->n && s->at[0].text[0] ? &s->at[0] : NULL;
}

struct needs {
	const char *name, *wants, *why;
};

static const struct needs needs[] = {
	{ "listen-tls", "listen-cert", "" },
	{ "listen-tls", "listen-key", "" },
	{ "listen-cert", "listen-key", "" },
	{ "listen-key", "listen-cert", "" },
	{ "intercept", "ca-cert", " (make one with `retrywith ca init`)" },
	{ "intercept", "ca-key", " (make one with `retrywith ca init`)" },
	{ "ca-cert", "ca-key", "" },
	{ "ca-passphrase-file", "ca-key", "" },
	{ "parent-password-file", "parent", "" },
	{ "no-proxy", "parent", "" },
};

static bool check_needs(struct loading *l)
{
	for (size_t i = 0; i < sizeof(needs) / sizeof(*needs); i++)
		if (given(l, needs[i].name) && !given(l, needs[i].wants))
			return form_complain(l->form, given(l, needs[i].name), needs[i].name,
					     "this needs %s%s", needs[i].wants, needs[i].why);
	if (!l->config->forward && l->config->origin.host.len == 0)
		return form_complain(l->form, given(l, "forward"), "forward",
				     "without it there is nothing to serve: this needs origin");
	return true;
}

static bool check_sizes(struct loading *l)
{
	struct config *c = l->config;
	const char *limit = given(l, "body-limit")->text, *total = given(l, "spool-total")->text;

	if (c->body_memory > c->body_limit)
		c->body_memory = c->body_limit;
	if (c->body_limit <= c->spool_total)
		return true;
	if (form_setting(l->form, "body-limit")->given)
		return form_complain(l->form, given(l, "body-limit"), "body-limit",
				     "%s is more than spool-total, %s: no such body could ever "
				     "be kept", limit, total);
	return form_complain(l->form, given(l, "spool-total"), "spool-total",
			     "%s is less than body-limit, %s: no such body could ever be kept",
			     total, limit);
}

static bool is_loopback(const struct sockaddr_storage *a)
{
	static const struct access local_only;

	return access_client(&local_only, (const void *)a) == WHY_DONE;
}

/* Nobody shall run an open proxy by leaving a line out. */
static bool check_open(struct loading *l, const char *name)
{
	const struct setting *s = form_setting(l->form, name);
	struct sockaddr_storage a;
	socklen_t len;

	if (l->config->access.allow.n)
		return true;
	for (unsigned i = 0; i < s->n; i++)
		if (value_address(str_of(s->at[i].text), &a, &len) && !is_loopback(&a))
			return form_complain(l->form, &s->at[i], name,
					     "other hosts can reach %s, so say in allow which "
					     "networks may use the proxy, e.g. allow = "
					     "{\"10.0.0.0/8\", \"127.0.0.0/8\"}", s->at[i].text);
	return true;
}

static bool check_all(struct loading *l)
{
	return check_needs(l) && check_sizes(l) && check_open(l, "listen") &&
	       check_open(l, "listen-tls") && check_open(l, "admin");
}

/* --- what is derived --- */

static bool random_via(struct loading *l)
{
	uint32_t random;

	if (l->config->via.len)
		return true;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return form_complain(l->form, NULL, "via", "no random numbers");
	l->config->via = arena_print(l->arena, "retrywith-%08x", random);
	return true;
}

/* systemd may name several directories; the first is ours as well. */
static bool default_spool_dir(struct loading *l)
{
	struct str dir = str_of(getenv("RUNTIME_DIRECTORY"));

	if (l->config->spool_dir.len)
		return true;
	str_cut(dir, ':', &dir, &(struct str){ NULL, 0 });
	if (dir.len == 0)
		dir = str_of(getenv("TMPDIR"));
	if (dir.len == 0)
		dir = STR("/var/tmp");
	l->config->spool_dir = str_of(arena_keepz(l->arena, dir));
	return true;
}

static bool parent_password(struct loading *l)
{
	const struct value *file = given(l, "parent-password-file");
	struct str password;

	if (!file)
		return true;
	l->taker.name = "parent-password-file";
	if (!value_secret(&l->taker, file, &password))
		return false;
	return value_parent_login(&l->taker, given(l, "parent")->text, &password,
				  &l->config->parent.authorization) ||
	       form_complain(l->form, given(l, "parent"), "parent",
			     "parent-password-file needs a user here: http://USER@HOST:PORT");
}

struct own {
	struct sockaddr_storage *at;
	unsigned n, room;
};

static void own_add(struct own *own, const struct sockaddr_storage *a)
{
	if (own->n < own->room)
		own->at[own->n++] = *a;
}

static void set_port(struct sockaddr_storage *a, uint16_t port)
{
	if (a->ss_family == AF_INET)
		((struct sockaddr_in *)a)->sin_port = port;
	else
		((struct sockaddr_in6 *)a)->sin6_port = port;
}

/* A listener on all addresses is found on each of this host's. */
static void own_add_interfaces(struct own *own, const struct ifaddrs *all, uint16_t port)
{
	for (; all; all = all->ifa_next) {
		struct sockaddr_storage a = { 0 };
		int family = all->ifa_addr ? all->ifa_addr->sa_family : AF_UNSPEC;

		if (family != AF_INET && family != AF_INET6)
			continue;
		memcpy(&a, all->ifa_addr, family == AF_INET ? sizeof(struct sockaddr_in)
							    : sizeof(struct sockaddr_in6));
		set_port(&a, port);
		own_add(own, &a);
	}
}

static bool is_any(const struct sockaddr_storage *a, uint16_t *port)
{
	const struct sockaddr_in *in4 = (const void *)a;
	const struct sockaddr_in6 *in6 = (const void *)a;

	*port = a->ss_family == AF_INET ? in4->sin_port : in6->sin6_port;
	return a->ss_family == AF_INET ? in4->sin_addr.s_addr == INADDR_ANY
				       : IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

static void own_add_list(struct own *own, const struct config_list *list,
			 const struct ifaddrs *all)
{
	for (unsigned i = 0; i < list->n; i++) {
		struct sockaddr_storage a;
		socklen_t len;
		uint16_t port;

		if (!value_address(list->at[i], &a, &len) || a.ss_family == AF_UNIX)
			continue;
		own_add(own, &a);
		if (is_any(&a, &port))
			own_add_interfaces(own, all, port);
	}
}

static bool own_addresses(struct loading *l)
{
	struct config *c = l->config;
	struct config_list admin = { &c->admin, c->admin.len > 0 };
	struct ifaddrs *all = NULL;
	struct own own = { NULL, 0, 0 };
	unsigned interfaces = 0;

	if (getifaddrs(&all) != 0)
		all = NULL;
	for (const struct ifaddrs *i = all; i; i = i->ifa_next)
		interfaces++;
	own.room = (c->listen.n + c->listen_tls.n + 1) * (interfaces + 1);
	own.at = arena_zero(l->arena, own.room * sizeof(*own.at));
	if (own.at) {
		own_add_list(&own, &c->listen, all);
		own_add_list(&own, &c->listen_tls, all);
		own_add_list(&own, &admin, all);
	}
	if (all)
		freeifaddrs(all);
	c->access.own = own.at;
	c->access.own_n = own.n;
	return own.at || form_complain(l->form, NULL, NULL, "out of memory");
}

static void free_users(void *users)
{
	htpasswd_free(users);
}

static bool read_users(struct loading *l)
{
	struct config *c = l->config;
	char why[320];

	if (!c->htpasswd.len)
		return true;
	c->users = htpasswd_load(c->htpasswd.at, why, sizeof(why));
	if (!c->users)
		return form_complain(l->form, given(l, "htpasswd"), "htpasswd", "%s", why);
	return arena_at_end(l->arena, free_users, c->users);
}

static bool derive(struct loading *l)
{
	return random_via(l) && read_users(l) && default_spool_dir(l) &&
	       parent_password(l) && own_addresses(l);
}

/* --- the snapshot --- */

static bool keep_overrides(struct loaded *to, struct arena *a, const struct config_override *o,
			   unsigned n)
{
	to->override = arena_zero(a, (n + 1) * sizeof(*o));
	if (!to->override)
		return false;
	for (unsigned i = 0; i < n; i++) {
		to->override[i].name = arena_keepz(a, str_of(o[i].name));
		to->override[i].value = arena_keepz(a, str_of(o[i].value));
	}
	to->override_n = n;
	return true;
}

static bool load(struct loading *l, const char *path, const struct config_override *o, unsigned n)
{
	if (!form_read(l->form, l->arena, path) || !form_override(l->form, l->arena, o, n))
		return false;
	if (path)
		l->config->file = str_of(l->form->path);
	return config_take(l, SCOPE_FILE, l->form->set, false, l->config) &&
	       check_all(l) && config_take_rules(l) && derive(l);
}

struct config *config_load(const char *path, const struct config_override *o, unsigned n,
			   char **err)
{
	struct arena *a = arena_new(ARENA_FIRST, ARENA_MOST);
	struct loaded *loaded = a ? arena_zero(a, sizeof(*loaded)) : NULL;
	struct loading l;

	*err = NULL;
	if (!loaded) {
		arena_free(a);
		*err = strdup("out of memory");
		return NULL;
	}
	l = (struct loading){ { &loaded->form, a, NULL }, &loaded->config, &loaded->form, a };
	loaded->config.arena = a;
	atomic_init(&loaded->config.refs, 1);
	if (keep_overrides(loaded, a, o, n) && load(&l, path, o, n) && !arena_full(a))
		return &loaded->config;
	*err = loaded->form.complaint ? loaded->form.complaint : strdup("out of memory");
	arena_free(a);
	return NULL;
}

struct config *config_again(const struct config *c, char **err)
{
	const struct loaded *l = (const struct loaded *)c;

	return config_load(l->form.path, l->override, l->override_n, err);
}

static bool is_same_setting(const struct setting *a, const struct setting *b)
{
	for (unsigned i = 0; a->n == b->n && i < a->n; i++)
		if (strcmp(a->at[i].text, b->at[i].text) != 0)
			return false;
	return a->n == b->n;
}

unsigned config_waits(const struct config *a, const struct config *b, char *names, size_t size)
{
	const struct setting *of_a = ((const struct loaded *)a)->form.set;
	const struct setting *of_b = ((const struct loaded *)b)->form.set;
	unsigned options, n = 0;
	const struct option *o = option_table(SCOPE_FILE, &options);
	size_t used = 0;

	names[0] = '\0';
	for (unsigned i = 0; i < options; i++) {
		if (!o[i].at_start || is_same_setting(&of_a[i], &of_b[i]))
			continue;
		if (used < size)
			used += (size_t)snprintf(names + used, size - used, "%s%s",
						 n ? ", " : "", o[i].name);
		n++;
	}
	return n;
}

struct config *config_hold(struct config *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void config_release(struct config *c)
{
	if (c && atomic_fetch_sub(&c->refs, 1) == 1)
		arena_free(c->arena);
}

bool config_knows(const char *name, bool *takes_value)
{
	const struct option *o = option_find(SCOPE_FILE, name);

	if (o)
		*takes_value = !o->kind->is_switch;
	return o != NULL;
}

const char *config_suggest(const char *name)
{
	const char *near = option_suggest(SCOPE_FILE, name);

	return near && option_find(SCOPE_FILE, near) ? near : NULL;
}
