/* report: what the demo origin received, as JSON for people and scripts. */
#ifndef WORKER_REPORT_H
#define WORKER_REPORT_H

#include <openssl/evp.h>

#include "http/message.h"

struct evbuffer;

struct report {
	const struct request *request;
	EVP_MD_CTX *digest;		/* of the body; is finished here */
	uint64_t length;		/* of the body */
	unsigned requests;		/* on this connection, this one included */
	struct arena *arena;
};

void report_write(const struct report *r, struct evbuffer *out);

#endif
