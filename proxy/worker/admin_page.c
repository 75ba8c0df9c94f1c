/* admin_page: see the header. */
#include "worker/admin_page.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <openssl/pem.h>

#include "worker/metrics.h"
#include "worker/pac.h"
#include "worker/stats.h"

enum { PATIENCE_MS = 1000 };		/* with a worker that does not answer */

static double wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void admin_page_refuse(struct admin_answer *r, unsigned status, const char *text)
{
	r->status = status;
	r->type = "text/plain; charset=utf-8";
	fprintf(r->out, "%s\n", text);
}

static bool take_census(struct admin_answer *r)
{
	const struct admin_facts *a = r->facts;
	struct census *c = a->census;
	const struct spool *s = a->o.spool;

	if (!census_take(c, a->o.workers, a->o.workers_n, PATIENCE_MS)) {
		admin_page_refuse(r, 503, "out of memory");
		return false;
	}
	usage_take(&c->usage);
	c->spool_used = atomic_load(&s->used);
	c->spool_most = s->total;
	c->spool_files = atomic_load(&s->files);
	c->spool_failed = atomic_load(&s->failed);
	c->now = wall();
	c->started = a->started;
	c->draining = atomic_load(&a->draining);
	c->reloaded = r->reloaded;
	c->reload_ok = r->reload_ok;
	return true;
}

static void page_metrics(struct admin_answer *r)
{
	enum metrics_format f = metrics_wanted(r->accept);

	r->type = metrics_type[f];
	r->vary = "Accept";
	if (take_census(r))
		metrics_write(r->facts->census, f, r->out);
}

static void page_stats(struct admin_answer *r)
{
	r->type = "application/json";
	if (take_census(r) && !stats_write(r->facts->census, &r->facts->history, r->out))
		admin_page_refuse(r, 503, "out of memory");
}

static void page_recorder(struct admin_answer *r)
{
	const char *accept = r->accept;
	bool text = accept && strstr(accept, "text/");

	r->type = text ? "text/plain; charset=utf-8" : "application/x-ndjson";
	r->vary = "Accept";
	if (!census_recorders(r->facts->o.workers, r->facts->o.workers_n, PATIENCE_MS, !text,
			      r->out))
		admin_page_refuse(r, 503, "out of memory");
}

/* Alive: this thread answers, and the loop of every worker turns. */
static void page_healthz(struct admin_answer *r)
{
	unsigned n = r->facts->o.workers_n;
	unsigned answering = census_answering(r->facts->o.workers, n, PATIENCE_MS);

	r->status = answering == n ? 200 : 503;
	if (answering == n)
		fprintf(r->out, "ok\n");
	else
		fprintf(r->out, "%u of %u workers do not answer\n", n - answering, n);
}

static void page_readyz(struct admin_answer *r)
{
	if (atomic_load(&r->facts->draining))
		admin_page_refuse(r, 503, "draining");
	else
		page_healthz(r);
}

/* The proxy's address for others; false: it has none. */
static bool proxy_address(const struct admin_answer *r, char *text, size_t size)
{
	const struct sockaddr_storage *proxy = r->facts->o.proxy;
	const struct sockaddr_in *in4 = (const void *)proxy;
	const struct sockaddr_in6 *in6 = (const void *)proxy;
	char ip[INET6_ADDRSTRLEN];
	bool any;

	if (!proxy)
		return false;
	any = proxy->ss_family == AF_INET ? in4->sin_addr.s_addr == INADDR_ANY :
					    IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	if (any && r->here.ss_family == proxy->ss_family) {
		in4 = (const void *)&r->here;
		in6 = (const void *)&r->here;
	} else if (any) {
		snprintf(text, size, proxy->ss_family == AF_INET ? "127.0.0.1:%u" : "[::1]:%u",
			 ntohs(((const struct sockaddr_in *)(const void *)proxy)->sin_port));
		return true;
	}
	if (proxy->ss_family == AF_INET)
		inet_ntop(AF_INET, &in4->sin_addr, ip, sizeof ip);
	else
		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
	snprintf(text, size, proxy->ss_family == AF_INET ? "%s:%u" : "[%s]:%u", ip,
		 ntohs(((const struct sockaddr_in *)(const void *)proxy)->sin_port));
	return true;
}

static void page_pac(struct admin_answer *r)
{
	char proxy[INET6_ADDRSTRLEN + 16];

	r->type = "application/x-ns-proxy-autoconfig";
	if (proxy_address(r, proxy, sizeof proxy))
		pac_write(r->config, proxy, r->out);
	else
		admin_page_refuse(r, 404, "the proxy listens on no address");
}

/* Read and written anew: whatever else is in the file stays there. */
static void page_ca(struct admin_answer *r)
{
	const char *path = r->config->ca_cert.len ? r->config->ca_cert.at : NULL;
	FILE *f = path ? fopen(path, "re") : NULL;
	X509 *cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;

	r->type = "application/x-x509-ca-cert";
	r->disposition = "attachment; filename=\"retrywith-ca.crt\"";
	if (cert)
		PEM_write_X509(r->out, cert);
	else
		admin_page_refuse(r, 404, path ? "the certificate cannot be read" : "there is no ca-cert");
	X509_free(cert);
	if (f)
		fclose(f);
}

static void page_index(struct admin_answer *r)
{
	r->type = "text/html; charset=utf-8";
	fwrite(admin_page, 1, admin_page_size, r->out);
}

static const struct page {
	const char *path;
	void (*write)(struct admin_answer *r);
} pages[] = {
	{ "/", page_index },
	{ "/metrics", page_metrics },
	{ "/stats.json", page_stats },
	{ "/recorder", page_recorder },
	{ "/healthz", page_healthz },
	{ "/readyz", page_readyz },
	{ "/proxy.pac", page_pac },
	{ "/ca.crt", page_ca },
};

void admin_page_write(struct admin_answer *r, const char *path)
{
	r->status = 200;
	r->type = "text/plain; charset=utf-8";
	for (unsigned i = 0; i < sizeof pages / sizeof *pages; i++)
		if (strcmp(path, pages[i].path) == 0) {
			pages[i].write(r);
			return;
		}
	admin_page_refuse(r, 404, "there is no such page");
}
