/* mint: leaf certificates as one worker has them: asked of the signing process
 * without waiting, kept by host, bounded; what was used last stays longest. One
 * key pair of each kind serves all leaves of a process: it never leaves it, and
 * whoever had it could pose as one of our hosts only for clients of ours.
 * Belongs to one worker. */
#ifndef NET_MINT_H
#define NET_MINT_H

#include "net/tls.h"

struct event_base;
struct mint;
struct minting;
struct signer;

/* identity NULL: there will be none. Called from the loop, once, unless
 * minting_cancel() came first. Hold it (tls_identity_hold) to keep it. */
typedef void mint_fn(void *owner, struct tls_identity *identity);

struct mint_counts { uint64_t asked, known, failed; uint32_t kept; };

/* The signer must outlive the mint. most: leaves kept. NULL: out of memory. */
struct mint *mint_new(struct event_base *base, struct signer *s, unsigned worker, uint32_t most);
/* The leaf of a host (a name in any case, or an address without brackets), if it
 * is there and good for another day. */
struct tls_identity *mint_know(struct mint *m, struct str host);
/* NULL when it cannot even be asked. */
struct minting *mint_ask(struct mint *m, struct str host, mint_fn *fn, void *owner);
void minting_cancel(struct minting *g);
/* Counted; when the last lets go, every minting must have ended or been cancelled. */
struct mint *mint_hold(struct mint *m);
void mint_free(struct mint *m);			/* NULL is fine */
void mint_count(const struct mint *m, struct mint_counts *out);

#endif
