/* value: text to fields: numbers, words, text and files; addresses, hosts and URLs
 * are in value_net.c. Each kind is one function that reads one value, and for lists
 * one that puts the array into its place. What is wrong is said once, in
 * value_take(), from the kind's own words, unless the reader knew better. */
#include "worker/value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "worker/config.h"

enum { SECRET_MOST = 65536 };

bool value_is_plain(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.at[i] < 0x20 || s.at[i] == 0x7f)
			return false;
	return true;
}

static void store(void *to, size_t size, uint64_t n)
{
	switch (size) {
	case 1:
		*(uint8_t *)to = (uint8_t)n;
		break;
	case 4:
		*(uint32_t *)to = (uint32_t)n;
		break;
	default:
		*(uint64_t *)to = n;
		break;
	}
}

/* --- numbers --- */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit units_none[] = { { "", 1 }, { NULL, 0 } };
static const struct unit units_size[] = {
	{ "", 1 }, { "K", 1 << 10 }, { "M", 1 << 20 }, { "G", 1 << 30 }, { NULL, 0 }
};
static const struct unit units_time[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { NULL, 0 }
};

/* The unit that `tail` begins with, the longest first: "min" begins with "m". */
static const struct unit *unit_like(const struct unit *units, struct str tail)
{
	const struct unit *best = NULL;

	for (; units->name; units++)
		if (units->name[0] && str_starts_nocase(tail, str_of(units->name)) &&
		    (!best || strlen(units->name) > strlen(best->name)))
			best = units;
	return best;
}

/* "256MB", "30 s", "30": what was meant? */
static bool no_number(struct taker *t, const struct option *o, const struct value *v,
		      const struct unit *units, struct str digits, struct str tail)
{
	const struct unit *u = unit_like(units, str_trim(tail));
	const char *meant = u ? u->name : units == units_time ? "s" : NULL;

	if (digits.len == 0 || meant == NULL || (!u && tail.len))
		return false;
	return form_complain(t->form, v, t->name, "\"%s\" is not %s, did you mean %.*s%s",
			     v->text, o->kind->wants, STR_FMT(digits), meant);
}

static const char *in_units(const struct unit *units, uint64_t n, char room[32])
{
	const struct unit *best = units;

	for (; units->name; units++)
		if (n && n % units->factor == 0)
			best = units;
	snprintf(room, 32, "%llu%s", (unsigned long long)(n / best->factor), best->name);
	return room;
}

static bool take_number(struct taker *t, const struct option *o, const struct value *v,
			const struct unit *units, void *to)
{
	struct str text = str_of(v->text), digits = text, tail;
	char low[32], high[32];
	const struct unit *u = units;
	uint64_t n;

	digits.len = strspn(v->text, "0123456789");
	tail = str_from(text, digits.len);
	while (u->name && !str_eq_nocase(tail, str_of(u->name)))
		u++;
	if (!str_to_u64(digits, &n))
		return false;
	if (!u->name && !(n == 0 && tail.len == 0))
		return no_number(t, o, v, units, digits, tail);
	if (__builtin_mul_overflow(n, u->name ? u->factor : 1, &n) || n < o->least || n > o->most)
		return form_complain(t->form, v, t->name, "%s is out of range, want %s to %s",
				     v->text, in_units(units, o->least, low),
				     in_units(units, o->most, high));
	store(to, o->size, n);
	return true;
}

static bool take_count(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	return take_number(t, o, v, units_none, to);
}

static bool take_size(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	if (o->words && strcmp(v->text, o->words[0].text) == 0) {
		store(to, o->size, UINT64_MAX);
		return true;
	}
	return take_number(t, o, v, units_size, to);
}

static bool take_duration(struct taker *t, const struct option *o, const struct value *v,
			  void *to)
{
	return take_number(t, o, v, units_time, to);
}

/* --- words --- */

static const struct word word_switch[] = {
	{ "yes", true }, { "no", false }, { "true", true }, { "false", false },
	{ "on", true }, { "off", false }, { NULL, 0 }
};

static bool take_from(struct taker *t, const struct word *words, const struct value *v,
		      int *means)
{
	const char *near = word_suggest(words, v->text);
	char all[128] = "";

	for (const struct word *w = words; w->text; w++) {
		if (str_eq_nocase(str_of(v->text), str_of(w->text))) {
			*means = w->means;
			return true;
		}
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
			 w == words ? "" : ", ", w->text);
	}
	return form_complain(t->form, v, t->name, "\"%s\" is none of: %s%s%s", v->text, all,
			     near ? ", did you mean " : "", near ? near : "");
}

static bool take_word(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	int means;

	if (!take_from(t, o->words, v, &means))
		return false;
	store(to, o->size, (uint64_t)means);
	return true;
}

static bool take_switch(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	int means;

	if (!take_from(t, word_switch, v, &means))
		return false;
	*(bool *)to = means;
	return true;
}

static bool take_answer(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	return take_from(t, o->words, v, to);
}

static void put_answers(struct taker *t, void *items, unsigned n, void *to)
{
	unsigned *bits = to;

	*bits = 0;
	for (unsigned i = 0; i < n; i++)
		*bits |= (unsigned)((int *)items)[i];
}

/* --- text --- */

static bool take_text(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	*(struct str *)to = str_of(v->text);
	return value_is_plain(str_of(v->text));
}

/* Words for nowhere and for standard output, which would become files of that name;
 * NULL: it is none. */
static const char *log_meant(const char *text)
{
	static const struct { const char *said, *meant; } rows[] = {
		{ "off", "off" }, { "none", "off" }, { "no", "off" }, { "false", "off" },
		{ "stdout", "-" }, { "stderr", "-" }, { "syslog", "-" }, { "journal", "-" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (str_eq_nocase(str_of(text), str_of(rows[i].said)))
			return rows[i].meant;
	return NULL;
}

static bool take_log_or_off(struct taker *t, const struct option *o, const struct value *v,
			    void *to)
{
	const char *meant = log_meant(v->text);

	if (meant && strcmp(v->text, "off") != 0)
		return form_complain(t->form, v, t->name, "\"%s\" is not %s, did you mean %s",
				     v->text, o->kind->wants, meant);
	return take_text(t, o, v, to);
}

static bool take_log(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	const char *meant = log_meant(v->text);

	if (meant && strcmp(meant, "off") == 0)
		return form_complain(t->form, v, t->name, "it cannot be off; say - or a file, and "
				     "log-level = error for less");
	return take_log_or_off(t, o, v, to);
}

static bool take_token(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	*(struct str *)to = str_of(v->text);
	return header_is_token(str_of(v->text));
}

static void put_methods(struct taker *t, void *items, unsigned n, void *to)
{
	struct rule *rule = to;

	rule->methods = items;
	rule->methods_n = n;
}

static bool take_path_pattern(struct taker *t, const struct option *o, const struct value *v,
			      void *to)
{
	*(struct str *)to = str_of(v->text);
	return (v->text[0] == '/' || v->text[0] == '*') && value_is_plain(str_of(v->text));
}

/* Kept lower case without colons, 64 digits. */
static bool take_pin(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	char pin[64];
	size_t n = 0;

	for (const char *p = v->text; *p; p++) {
		char c = str_lower(*p);

		if (c == ':')
			continue;
		if (n == sizeof(pin) || !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
		pin[n++] = c;
	}
	*(struct str *)to = (struct str){ arena_keepz(t->arena, (struct str){ pin, n }), n };
	return n == sizeof(pin);
}

/* --- files --- */

static const char *in_directory(struct taker *t, struct str directory, const char *prefix,
				const char *name)
{
	return arena_print(t->arena, "%.*s/%s%s%c", STR_FMT(directory), prefix, name, '\0').at;
}

static struct str directory_of(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? (struct str){ path, (size_t)(slash - path) } : STR(".");
}

/* A directory that systemd handed over as `secrets` comes as secrets_NAME. */
static const char *const among_credentials[] = { "", "secrets_", NULL };
/* Where that directory was, for a person who tests the file by hand. */
static const char *const beside_the_file[] = { "", "secrets/", NULL };

/* The file of one of these prefixes that is there; NULL: none. */
static const char *search(struct taker *t, struct str directory, const char *const *prefix,
			  const char *name)
{
	for (; *prefix; prefix++) {
		const char *path = in_directory(t, directory, *prefix, name);

		if (path && access(path, F_OK) == 0)
			return path;
	}
	return NULL;
}

const char *value_path(struct taker *t, const struct value *v)
{
	const char *credentials = getenv("CREDENTIALS_DIRECTORY");
	const char *name = strncmp(v->text, "file:", 5) == 0 ? v->text + 5 : v->text;
	const char *path = NULL;
	struct str beside;

	if (name[0] == '/')
		return name;
	if (credentials)
		path = search(t, str_of(credentials), among_credentials, name);
	if (path || v->line == 0 || t->form->path == NULL)
		return path ? path : name;
	beside = directory_of(t->form->path);
	path = search(t, beside, beside_the_file, name);
	return path ? path : in_directory(t, beside, "", name);
}

static bool take_file(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	*(struct str *)to = str_of(value_path(t, v));
	return value_is_plain(str_of(v->text));
}

/* Octets read, or -1 and errno; what does not fit is an error too. */
static ssize_t read_whole(const char *path, char *room, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t got = 1;

	if (fd < 0)
		return -1;
	while (got > 0 && n < size) {
		got = read(fd, room + n, size - n);
		n += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	if (n == size)
		errno = EFBIG;
	return got < 0 || n == size ? -1 : (ssize_t)n;
}

bool value_secret(struct taker *t, const struct value *v, struct str *out)
{
	const char *path = value_path(t, v);
	char *room = malloc(SECRET_MOST);
	ssize_t n = room && path ? read_whole(path, room, SECRET_MOST) : -1;
	int error = errno;

	while (n > 0 && (room[n - 1] == '\n' || room[n - 1] == '\r'))
		n--;
	if (n >= 0)
		*out = arena_keep(t->arena, (struct str){ room, (size_t)n });
	if (room)
		explicit_bzero(room, SECRET_MOST);
	free(room);
	if (n < 0)
		return form_complain(t->form, v, t->name, "cannot read %s: %s",
				     path ? path : v->text, strerror(error));
	return true;
}

static bool take_secret(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	return value_is_plain(str_of(v->text)) && value_secret(t, v, to);
}

/* --- the kinds --- */

#define LIST_OF(type) .item_size = sizeof(type)

const struct kind kind_switch = {
	.metavar = "yes|no", .wants = "yes or no", .is_switch = true, .take = take_switch };
const struct kind kind_count = {
	.metavar = "NUMBER", .wants = "a number such as 4", .take = take_count };
const struct kind kind_size = {
	.metavar = "SIZE", .wants = "a size such as 64K or 256M", .take = take_size };
const struct kind kind_duration = {
	.metavar = "TIME", .wants = "a time such as 500ms, 30s, 5m or 1h", .take = take_duration };
const struct kind kind_word = { .take = take_word };
const struct kind kind_text = {
	.metavar = "TEXT", .wants = "text (want no control characters)", .quoted = true,
	.may_be_empty = true, .take = take_text };
const struct kind kind_path = {
	.metavar = "PATH", .wants = "a path (want no control characters)", .quoted = true,
	.may_be_empty = true, .take = take_text };
const struct kind kind_log = {
	.metavar = "PATH", .wants = "a log (want a path or -)", .quoted = true,
	.may_be_empty = true, .take = take_log };
const struct kind kind_log_or_off = {
	.metavar = "PATH", .wants = "a log (want a path, - or off)", .quoted = true,
	.may_be_empty = true, .take = take_log_or_off };
const struct kind kind_token = {
	.metavar = "NAME", .wants = "a name (want letters, digits, - and _)", .quoted = true,
	.may_be_empty = true, .take = take_token };
const struct kind kind_file = {
	.metavar = "FILE", .wants = "a path (want no control characters)", .quoted = true,
	.may_be_empty = true, .take = take_file };
const struct kind kind_secret = {
	.metavar = "FILE", .wants = "a path (want no control characters)", .quoted = true,
	.may_be_empty = true, .take = take_secret };
const struct kind kind_rule_methods = {
	.metavar = "METHOD", .wants = "a method (want a token such as GET or PROPFIND)",
	.quoted = true, LIST_OF(struct str), .take = take_token, .put = put_methods };
const struct kind kind_rule_path = {
	.metavar = "PATTERN", .wants = "a path (want a pattern that begins with / or *)",
	.quoted = true, .may_be_empty = true, .take = take_path_pattern };
const struct kind kind_answers = {
	.wants = "a kind of answer", .quoted = true, LIST_OF(int), .take = take_answer,
	.put = put_answers };
const struct kind kind_pin = {
	.metavar = "SHA256", .wants = "a fingerprint (want 64 hexadecimal digits)",
	.quoted = true, .may_be_empty = true, .take = take_pin };

static bool take_one(struct taker *t, const struct option *o, const struct value *v, void *to)
{
	if (o->kind->may_be_empty && v->text[0] == '\0')
		return true;
	if (o->kind->take(t, o, v, to))
		return true;
	return form_complain(t->form, v, t->name, "\"%s\" is not %s", v->text, o->kind->wants);
}

bool value_take(struct taker *t, const struct option *o, const struct setting *s, void *to)
{
	const struct kind *k = o->kind;
	char *items;

	t->name = o->name;
	if (!k->item_size)
		return take_one(t, o, &s->at[0], to);
	items = arena_zero(t->arena, (s->n + 1) * k->item_size);
	if (!items)
		return form_complain(t->form, NULL, o->name, "out of memory");
	for (unsigned i = 0; i < s->n; i++)
		if (!take_one(t, o, &s->at[i], items + i * k->item_size))
			return false;
	k->put(t, items, s->n, to);
	return true;
}
