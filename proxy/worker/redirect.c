/* redirect: see the header. */
#include "worker/redirect.h"

#include <arpa/inet.h>
#include <linux/netfilter_ipv4.h>
#include <stdlib.h>

#include "worker/transaction.h"

enum { IP6_ORIGINAL_DST = 80 };		/* IP6T_SO_ORIGINAL_DST */

struct redirected {
	uint16_t port;
	char host[INET6_ADDRSTRLEN];
};

static bool original(int fd, struct sockaddr_storage *to)
{
	socklen_t len = sizeof *to;

	return getsockopt(fd, IPPROTO_IP, SO_ORIGINAL_DST, to, &len) == 0 ||
	       (len = sizeof *to,
		getsockopt(fd, IPPROTO_IPV6, IP6_ORIGINAL_DST, to, &len) == 0);
}

/* A connection that was made to us directly has our own address there. */
static bool is_ours(int fd, const struct sockaddr_storage *to)
{
	struct sockaddr_storage own = { 0 };
	socklen_t len = sizeof own;

	if (getsockname(fd, (struct sockaddr *)&own, &len) != 0 || own.ss_family != to->ss_family)
		return false;
	if (own.ss_family == AF_INET)
		return !memcmp(&((struct sockaddr_in *)&own)->sin_addr,
			       &((const struct sockaddr_in *)to)->sin_addr, 4) &&
		       ((struct sockaddr_in *)&own)->sin_port ==
		       ((const struct sockaddr_in *)to)->sin_port;
	return !memcmp(&((struct sockaddr_in6 *)&own)->sin6_addr,
		       &((const struct sockaddr_in6 *)to)->sin6_addr, 16) &&
	       ((struct sockaddr_in6 *)&own)->sin6_port ==
	       ((const struct sockaddr_in6 *)to)->sin6_port;
}

void redirect_learn(struct session *s)
{
	struct sockaddr_storage to = { 0 };
	const void *address = &((struct sockaddr_in *)&to)->sin_addr;
	struct redirected *r;
	int fd = conn_fd(s->client);

	if (!original(fd, &to) || is_ours(fd, &to))
		return;
	r = calloc(1, sizeof *r);
	if (!r)
		return;
	if (to.ss_family == AF_INET6)
		address = &((struct sockaddr_in6 *)&to)->sin6_addr;
	inet_ntop(to.ss_family, address, r->host, sizeof r->host);
	r->port = ntohs(((struct sockaddr_in *)&to)->sin_port);	/* same place in both */
	s->redirected = r;
}

void redirect_forget(struct session *s)
{
	free(s->redirected);
	s->redirected = NULL;
}

enum why redirect_route(struct transaction *t)
{
	struct redirected *r = t->session->redirected;
	struct url named;

	if (!url_parse_authority(t->request.host, SCHEME_HTTP, &named))
		return WHY_BAD_HOST;
	t->key = (struct pool_key){ .host = str_of(r->host), .port = r->port };
	t->host = t->request.host.len ? t->request.host : t->key.host;
	t->rule_host = named.host.len ? named.host : t->key.host;
	t->target = t->request.target;
	return WHY_DONE;
}
