/* signer: the process that holds the authority's key. It is this program run
 * anew (exec), so nothing of the key was ever in the memory of the process that
 * talks to the network: an over-read there, or a core of it, cannot tell it. Who
 * takes a worker over can still have leaves signed as long as the proxy runs,
 * and no longer. One seqpacket socket for each worker: a request is a host, the
 * reply its certificates. It ends when the last socket closes. */
#ifndef NET_SIGNER_H
#define NET_SIGNER_H

#include <stdbool.h>
#include <stdint.h>
#include "ground/str.h"

struct signer;
struct evp_pkey_st;
struct stack_st_X509;

enum { SIGNER_KEYS = 2, SIGNER_HOST_MOST = 253, SIGNER_REPLY_MOST = 8192,
       SIGNER_WORKERS_MOST = 64 };

struct signer_request {
	uint64_t id;
	uint16_t len;
	char host[SIGNER_HOST_MOST];	/* a name, or an address without brackets */
};

struct signer_reply {
	uint64_t id;
	uint32_t len[SIGNER_KEYS];	/* of the DER, one after the other; 0: failed */
	unsigned char der[SIGNER_REPLY_MOST];
};

struct signer_options {
	const char *cert_file, *key_file;
	struct str passphrase;		/* of key_file; empty: none */
	unsigned workers;
};

/* Starts it and waits until it has read its key. The keys of the leaves (one P-256,
 * one RSA-2048, for all hosts) are made here. NULL, and the reason. */
struct signer *signer_start(const struct signer_options *o, char *why, size_t why_size);
/* The socket of a worker: the signer's own, non-blocking. */
int signer_fd(const struct signer *s, unsigned worker);
struct evp_pkey_st *signer_key(const struct signer *s, unsigned i);
/* What clients need besides the leaf when the authority is no root; or NULL. */
struct stack_st_X509 *signer_chain(const struct signer *s);
/* Did the process end? (Then nothing is signed any more.) By one thread only. */
bool signer_has_ended(struct signer *s);
/* Counted, by any thread: each hold wants a stop, and the last one ends it. */
struct signer *signer_hold(struct signer *s);
void signer_stop(struct signer *s);		/* NULL is fine */

/* What the new process is to do, when argv says "ca signer": its exit status. */
int signer_main(void);

#endif
