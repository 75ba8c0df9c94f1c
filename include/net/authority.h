/* authority: the local certificate authority: making one, reading it, signing
 * leaves with it. Whoever has opened one holds its private key: that is the
 * signing process (signer.h) and nobody else. */
#ifndef NET_AUTHORITY_H
#define NET_AUTHORITY_H

#include <stdbool.h>
#include "ground/str.h"

struct authority;
struct x509_st;
struct evp_pkey_st;

enum {
	AUTHORITY_DAYS = 5 * 365,
	LEAF_DAYS = 7,
	LEAF_EARLY_S = 3600,		/* notBefore lies this far back: clocks differ */
};

struct authority_options {
	const char *cert_file, *key_file;	/* neither may exist */
	bool rsa;			/* RSA-3072 instead of P-256, for clients without EC */
	const struct str *permit;	/* domains, addresses or networks it may sign for */
	unsigned permit_n;		/* 0: any */
};

/* Makes a new one: key file with mode 0600, path length 0. False, and the reason. */
bool authority_make(const struct authority_options *o, char *why, size_t why_size);
/* passphrase empty: the key is not encrypted. NULL, and the reason. */
struct authority *authority_open(const char *cert_file, const char *key_file,
				 struct str passphrase, char *why, size_t why_size);
void authority_close(struct authority *a);	/* NULL is fine */
/* A certificate for one host (a name, or an address without brackets) and this
 * public key. The caller frees it. NULL: cannot be made. */
struct x509_st *authority_sign(const struct authority *a, struct str host,
			       struct evp_pkey_st *key);

#endif
