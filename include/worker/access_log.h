/* access_log: one line a client request. Lines are collected per worker and
 * written in batches, never waiting: what the file does not take at once is
 * dropped whole, and counted. Values of challenges never appear, only their
 * length; control octets are escaped. */
#ifndef WORKER_ACCESS_LOG_H
#define WORKER_ACCESS_LOG_H

#include "worker/config.h"
#include "worker/counters.h"

struct access_log;
struct transaction;

/* NULL with errno, or when path is "off" (errno 0). "-" is standard output. */
struct access_log *access_log_new(const char *path, struct counters *c);
void access_log_free(struct access_log *l);	/* writes what waits */
void access_log_note(struct access_log *l, const struct transaction *t);
/* Between two turns of the loop: writes when much waits, or when the last time
 * was some milliseconds ago. */
void access_log_turn(struct access_log *l);
void access_log_flush(struct access_log *l);	/* now; NULL is fine */
bool access_log_waits(const struct access_log *l);	/* something is not written yet */
bool access_log_reopen(struct access_log *l);

#endif
