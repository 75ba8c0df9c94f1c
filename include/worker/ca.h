/* ca: `retrywith ca init` makes the local authority for intercept, `ca show` tells
 * its fingerprint and how clients come to trust it; and the signing process of a
 * configuration (net/signer.h). */
#ifndef WORKER_CA_H
#define WORKER_CA_H

#include "worker/config.h"

#define CA_USAGE "ca init [--ca-cert FILE --ca-key FILE] [--permit DOMAIN ...] [--rsa] | ca show"

/* argv: that, in words. The exit status. */
int ca_main(struct config *c, int argc, char **argv);
/* Can c's authority be used, if it intercepts? Reads the key: for -t only. */
bool ca_usable(const struct config *c, char *why, size_t why_size);
/* Gives c its signing process, if it intercepts: that of old (or NULL), when it
 * holds the same key, else a new one. False, and the reason. */
bool ca_sign_for(struct config *c, const struct config *old, char *why, size_t why_size);

#endif
