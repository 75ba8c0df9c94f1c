/* admin_page: what stands on the pages of the admin listener. Known to `admin`. */
#ifndef WORKER_ADMIN_PAGE_H
#define WORKER_ADMIN_PAGE_H

#include "worker/admin.h"
#include "worker/census.h"
#include "worker/history.h"

extern const unsigned char admin_page[];	/* conf/admin/index.html */
extern const size_t admin_page_size;

/* What pages are written from. */
struct admin_facts {
	struct admin_options o;		/* but for the configuration: see admin_answer */
	_Atomic bool draining;
	double started;
	struct history history;
	struct census *census;		/* to be filled anew */
};

struct admin_answer {
	struct admin_facts *facts;
	struct config *config;
	double reloaded;		/* when that was read */
	bool reload_ok;			/* and was nothing bad read since? */
	const char *accept;		/* the field, or NULL */
	struct sockaddr_storage here;	/* where the client reached us; AF_UNSPEC: not known */
	FILE *out;
	unsigned status;
	const char *type, *disposition, *vary;
};

/* Writes the page of this path, or that there is none. */
void admin_page_write(struct admin_answer *r, const char *path);
/* A page that says no. */
void admin_page_refuse(struct admin_answer *r, unsigned status, const char *text);

#endif
