/* metrics: a census as Prometheus reads it. Names and labels come from the closed
 * lists of the other rooms; nothing that a peer says becomes a label. */
#ifndef WORKER_METRICS_H
#define WORKER_METRICS_H

#include "worker/census.h"

enum metrics_format {
	METRICS_TEXT,			/* Prometheus text 0.0.4 */
	METRICS_OPEN,			/* OpenMetrics 1.0.0 */
};

extern const char *const metrics_type[];	/* the Content-Type of each format */
/* What an Accept value asks for; NULL: none came. */
enum metrics_format metrics_wanted(const char *accept);
void metrics_write(const struct census *c, enum metrics_format f, FILE *out);

#endif
