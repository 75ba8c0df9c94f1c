/* env: see the header. Lower case only: HTTP_PROXY can be forged by a request
 * header in CGI programs, so clients do not read it. */
#include "worker/env.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sysexits.h>

#include "worker/value.h"

struct shell {
	const char *name, *line;	/* printf: variable, value */
};

static const struct shell shells[] = {
	{ "sh", "export %s='%s'\n" },
	{ "fish", "set -gx %s '%s'\n" },
	{ "powershell", "$env:%s = '%s'\n" },
};

static const struct shell *shell_find(const char *name)
{
	for (unsigned i = 0; i < sizeof shells / sizeof *shells; i++)
		if (strcmp(shells[i].name, name) == 0)
			return &shells[i];
	return NULL;
}

/* As a client on this machine reaches it: "any" address is loopback then. */
static bool url_of(struct str listen, char *url, size_t size)
{
	struct sockaddr_storage sa = { 0 };
	struct sockaddr_in *in4 = (void *)&sa;
	struct sockaddr_in6 *in6 = (void *)&sa;
	socklen_t len = sizeof sa;
	char ip[INET6_ADDRSTRLEN];

	if (!value_address(listen, &sa, &len) || sa.ss_family == AF_UNIX || !in4->sin_port)
		return false;
	if (sa.ss_family == AF_INET) {
		if (in4->sin_addr.s_addr == INADDR_ANY)
			in4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		inet_ntop(AF_INET, &in4->sin_addr, ip, sizeof ip);
		snprintf(url, size, "http://%s:%u", ip, ntohs(in4->sin_port));
		return true;
	}
	if (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
		in6->sin6_addr = in6addr_loopback;
	inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
	snprintf(url, size, "http://[%s]:%u", ip, ntohs(in6->sin6_port));
	return true;
}

static int usage(const char *what)
{
	fprintf(stderr, "retrywith env: what is %s?\nusage: retrywith " ENV_USAGE "\n", what);
	return EX_USAGE;
}

/* 0, or the exit status. */
static int take_arguments(int argc, char **argv, const struct shell **shell)
{
	*shell = &shells[0];
	for (int i = 1; i < argc; i++) {
		const char *name = NULL;

		if (strncmp(argv[i], "--shell=", 8) == 0)
			name = argv[i] + 8;
		else if (strcmp(argv[i], "--shell") == 0 && i + 1 < argc)
			name = argv[++i];
		*shell = name ? shell_find(name) : NULL;
		if (!*shell)
			return usage(argv[i]);
	}
	return 0;
}

int env_main(struct config *c, int argc, char **argv)
{
	const struct shell *shell;
	char url[INET6_ADDRSTRLEN + 32];
	int status = take_arguments(argc, argv, &shell);
	unsigned i = 0;

	if (status)
		return status;
	while (i < c->listen.n && !url_of(c->listen.at[i], url, sizeof url))
		i++;
	if (i == c->listen.n) {
		fprintf(stderr, "retrywith env: `listen` has no address with a port\n");
		return EX_CONFIG;
	}
	printf(shell->line, "http_proxy", url);
	if (c->intercept.n)		/* else https:// is a tunnel, and we see nothing */
		printf(shell->line, "https_proxy", url);
	if (!getenv("no_proxy"))	/* what stands there stays */
		printf(shell->line, "no_proxy", "localhost,127.0.0.1,::1");
	return 0;
}
