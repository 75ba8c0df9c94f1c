/* config: one table of options gives the file's grammar, the long options,
 * --help, conf/retrywith.conf, retrywith.conf(5) and the defaults. A loaded
 * configuration is an immutable snapshot shared by all workers. */
#ifndef WORKER_CONFIG_H
#define WORKER_CONFIG_H

#include <stdatomic.h>
#include <stdio.h>
#include "http/message.h"
#include "policy/access.h"
#include "policy/rules.h"

struct signer;

struct config_list {
	struct str *at;
	unsigned n;
};

enum on_unanswered { UNANSWERED_PASS, UNANSWERED_502 };
enum log_format { LOG_COMBINED, LOG_JSON };

struct parent {				/* the parent proxy, taken apart */
	struct url url;			/* host empty: none */
	struct str authorization;	/* "Basic ...", or empty */
};

struct config {
	_Atomic unsigned refs;
	struct arena *arena;		/* text is NUL-terminated in here */
	struct str file;		/* path of the file read; empty: none */

	struct config_list listen;	/* ADDR:PORT or unix:PATH */
	struct config_list listen_tls;
	struct str listen_cert, listen_key;
	struct url origin;		/* host empty: none */
	bool forward;			/* absolute-form is served */
	bool transparent;
	unsigned workers;		/* 0: one per core */
	struct str user;		/* to become, when started as root */
	bool sandbox;

	uint64_t body_memory, memory_total, body_limit, spool_total;
	struct str spool_dir;
	uint64_t head_limit, fields_limit;	/* octets; lines */
	uint64_t max_clients, max_clients_per_address;	/* 0: as descriptors allow; no limit */
	uint64_t min_rate;		/* octets a second of a request; 0: any */

	enum rule_mode mode;
	enum on_unanswered on_unanswered;
	unsigned max_replays;
	bool replay_idempotent_only;
	uint64_t drain_limit;
	uint32_t retry_after_max;	/* ms */
	unsigned breaker_trips;
	uint32_t breaker_pause;		/* ms */
	uint64_t expect_threshold;
	struct rules *rules;
	struct signer *signer;		/* for intercept; made by whoever runs, or NULL */

	struct access access;
	struct parent parent;
	struct config_list no_proxy;
	struct config_list intercept;
	struct str ca_cert, ca_key, ca_passphrase, upstream_ca, upstream_crl, htpasswd;
	struct htpasswd *users;		/* of htpasswd, or NULL: anybody */
	int tls_min, client_tls_min;	/* TLS1_2_VERSION ... */

	struct str via;			/* pseudonym; default retrywith-<8 random hex digits> */
	bool proxy_status;
	struct str admin;		/* ADDR:PORT or unix:PATH; empty: none */
	struct str access_log;		/* path, "-", "off" */
	struct str error_log;		/* path, "-" */
	enum log_format log_format;
	bool log_query;			/* with the query of the URL */
	int log_level;			/* enum log_level */

	/* ms */
	uint32_t head_timeout, body_timeout, idle_timeout, connect_timeout, response_timeout,
		 read_timeout, write_timeout, tunnel_timeout, drain_timeout, pool_timeout;
	struct str dns_servers, hosts_file;	/* empty: the system's */
};

/* What the command line says, in order; applied over the file. */
struct config_override { const char *name, *value; };

/* NULL: *err (malloc'ed) says FILE:LINE: what is wrong, did you mean X. path NULL:
 * no file, all defaults. Secrets are read from files here. */
struct config *config_load(const char *path, const struct config_override *o, unsigned n,
			   char **err);
/* The same file and the same overrides, read again. */
struct config *config_again(const struct config *c, char **err);
/* The options that b says otherwise than a, and that a reload does not change, with
 * commas between; returns how many. */
unsigned config_waits(const struct config *a, const struct config *b, char *names, size_t size);
struct config *config_hold(struct config *c);
void config_release(struct config *c);
/* The effective configuration as a file that config_load() takes; secrets are
 * not shown. */
void config_print(const struct config *c, FILE *out);
/* Every option, commented, at its default: conf/retrywith.conf. */
void config_print_sample(FILE *out);
/* For --help, and for retrywith.conf(5) as roff. */
void config_print_help(FILE *out);
void config_print_man(FILE *out);
/* Does the command line know --name? Does it take a value? */
bool config_knows(const char *name, bool *takes_value);
const char *config_suggest(const char *name);	/* nearest option, or NULL */

#endif
