/* manager: what systemd wants to hear (sd_notify), and its watchdog. Without
 * libsystemd, or when no manager listens, every call does nothing. */
#ifndef WORKER_MANAGER_H
#define WORKER_MANAGER_H

#include <stdint.h>

void manager_ready(const char *status);
void manager_reloading(void);			/* with MONOTONIC_USEC; then manager_ready() */
void manager_stopping(const char *status);
void manager_status(const char *status);
/* How often manager_feed() must be called, in ms; 0: there is no watchdog. */
uint32_t manager_watchdog_ms(void);
void manager_feed(void);

#endif
