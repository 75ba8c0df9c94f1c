/* contexts: the TLS contexts of a snapshot (worker.h), each made when it is first
 * needed: the system's certificates take their time to load. */
#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>

#include "ground/log.h"

/* Values of options are strings with a NUL behind them. */
static const char *file_of(struct str path)
{
	return path.len ? path.at : NULL;
}

static struct tls_options towards_upstream(const struct config *c, const struct rule *r)
{
	struct tls_options o = {
		.role = TLS_CLIENT, .min_version = c->tls_min, .alpn = "http/1.1",
		.ca_file = file_of(c->upstream_ca), .crl_file = file_of(c->upstream_crl),
	};

	if (!r)
		return o;
	o.cert_file = file_of(r->client_cert);
	o.key_file = file_of(r->client_key);
	o.pinned_sha256 = file_of(r->pinned_sha256);
	return o;
}

/* Old clients say that they are old. */
static const char towards_clients[] = "http/1.1,http/1.0";

static struct tls_options for_listeners(const struct config *c)
{
	return (struct tls_options){
		.role = TLS_SERVER, .min_version = c->client_tls_min, .alpn = towards_clients,
		.cert_file = file_of(c->listen_cert), .key_file = file_of(c->listen_key),
	};
}

static struct tls_options for_inside(const struct config *c)
{
	return (struct tls_options){ .role = TLS_SERVER, .shown = true, .alpn = towards_clients,
				     .min_version = c->client_tls_min };
}

static struct tls_ctx *make(struct tls_ctx **place, const struct tls_options *o, const char *what)
{
	char why[256] = "";

	*place = tls_ctx_new(o, why, sizeof why);
	if (!*place)
		log_error(NULL, "TLS %s: %s", what, why);
	return *place;
}

/* A rule with a certificate or a pin has a context of its own. */
bool rule_has_tls(const struct rule *r)
{
	return r && (r->client_cert.len || r->pinned_sha256.len);
}

static struct tls_ctx **place_of(struct snapshot *s, const struct rule *r)
{
	const struct rules *all = s->config->rules;
	unsigned n = rules_count(all);

	if (!s->rule_tls)
		s->rule_tls = calloc(n, sizeof *s->rule_tls);
	for (unsigned i = 0; s->rule_tls && i < n; i++)
		if (rules_at(all, i) == r)
			return &s->rule_tls[i];
	return NULL;
}

struct tls_ctx *snapshot_upstream_tls(struct snapshot *s, const struct rule *r)
{
	struct tls_ctx **place = rule_has_tls(r) ? place_of(s, r) : &s->upstream_tls;
	struct tls_options o;

	if (!place || *place)
		return place ? *place : NULL;
	o = towards_upstream(s->config, rule_has_tls(r) ? r : NULL);
	return make(place, &o, "towards upstream servers");
}

struct tls_ctx *snapshot_listen_tls(struct snapshot *s)
{
	struct tls_options o;

	if (s->listen_tls)
		return s->listen_tls;
	o = for_listeners(s->config);
	return make(&s->listen_tls, &o, "of listen-tls");
}

struct tls_ctx *snapshot_inside_tls(struct snapshot *s)
{
	struct tls_options o;

	if (s->inside_tls)
		return s->inside_tls;
	o = for_inside(s->config);
	return make(&s->inside_tls, &o, "of intercepted connections");
}

void contexts_free(struct snapshot *s)
{
	unsigned n = s->rule_tls ? rules_count(s->config->rules) : 0;

	for (unsigned i = 0; i < n; i++)
		tls_ctx_free(s->rule_tls[i]);
	free(s->rule_tls);
	tls_ctx_free(s->upstream_tls);
	tls_ctx_free(s->listen_tls);
	tls_ctx_free(s->inside_tls);
}

/* -- before anything runs ------------------------------------------------------------- */

static bool is_usable(const struct tls_options *o, char *why, size_t size)
{
	struct tls_ctx *c = tls_ctx_new(o, why, size);

	tls_ctx_free(c);
	return c != NULL;
}

bool contexts_usable(const struct config *c, char *why, size_t size)
{
	struct tls_options o = for_listeners(c);

	if (c->listen_tls.n && !is_usable(&o, why, size))
		return false;
	if (c->upstream_ca.len || c->upstream_crl.len) {
		o = towards_upstream(c, NULL);
		if (!is_usable(&o, why, size))
			return false;
	}
	for (unsigned i = 0; i < rules_count(c->rules); i++) {
		const struct rule *r = rules_at(c->rules, i);

		o = towards_upstream(c, r);
		if (rule_has_tls(r) && !is_usable(&o, why, size))
			return false;
	}
	return true;
}
