/* value: how the value of an option is written, checked and stored. One struct
 * kind per way; the option table says which option is of which kind. */
#ifndef WORKER_VALUE_H
#define WORKER_VALUE_H

#include <sys/socket.h>
#include "worker/form.h"
#include "worker/option.h"

struct taker {
	struct form *form;		/* complaints go here */
	struct arena *arena;		/* the configuration's */
	const char *name;		/* of the option at hand */
};

struct kind {
	const char *metavar;		/* --name METAVAR; NULL: the words */
	const char *wants;		/* "X is not ...": said of bad values */
	bool quoted;			/* in the file */
	bool is_switch;			/* --name and --no-name will do */
	bool may_be_empty;		/* "": nothing */
	size_t item_size;		/* not 0: a list of these */
	/* One value, or one item of the list. False: not one (or complained). */
	bool (*take)(struct taker *t, const struct option *o, const struct value *v, void *to);
	/* Puts the list into its field. */
	void (*put)(struct taker *t, void *items, unsigned n, void *to);
};

extern const struct kind kind_switch, kind_count, kind_size, kind_duration, kind_word,
	kind_text, kind_path, kind_log, kind_log_or_off, kind_token, kind_file, kind_secret,
	kind_listen, kind_listens, kind_networks,
	kind_ports, kind_patterns, kind_no_proxy, kind_servers, kind_origin, kind_parent,
	kind_rule_hosts, kind_rule_methods, kind_rule_path, kind_answers, kind_pin;

/* Reads the setting into the field at `to`. */
bool value_take(struct taker *t, const struct option *o, const struct setting *s, void *to);
/* No control octets? */
bool value_is_plain(struct str s);
/* Numeric ADDR:PORT, [ADDR]:PORT or unix:PATH. */
bool value_address(struct str text, struct sockaddr_storage *out, socklen_t *len);
/* The content of the file that a value names, without the newline at its end:
 * $CREDENTIALS_DIRECTORY (there also secrets_NAME), then beside the configuration
 * file (there also secrets/NAME), or absolute. */
bool value_secret(struct taker *t, const struct value *v, struct str *out);
/* The path of that file. */
const char *value_path(struct taker *t, const struct value *v);
/* "user:password" of a parent's URL; password NULL: that of the URL. False: no user. */
bool value_parent_login(struct taker *t, const char *url, const struct str *password,
			struct str *authorization);

#endif
