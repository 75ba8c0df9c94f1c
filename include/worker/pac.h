/* pac: the proxy setting of browsers as a script (FindProxyForURL): the hosts that
 * rules and `intercept` name go through us, all others directly. Where no rule
 * names a host, every http:// URL goes through us, for any may be challenged. */
#ifndef WORKER_PAC_H
#define WORKER_PAC_H

#include <stdio.h>
#include "worker/config.h"

/* proxy: "127.0.0.1:3128". */
void pac_write(const struct config *c, const char *proxy, FILE *out);

#endif
