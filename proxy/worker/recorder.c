/* A ring of slots of fixed size. What is written into a slot is printable
 * already: octets that could forge a line or steer a terminal are spelled out on
 * the way in, and every part of a slot has its own bound, so that a long
 * request does not push the answer out. */
#include "worker/recorder.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include <openssl/hmac.h>

enum {
	NOTES_PER_S = 50,
	ATTEMPTS_KEPT = 4,		/* the first one and the last three */
	WORD_ROOM = 64,			/* client, method, rule */
	URL_ROOM = 1024,
	REQUEST_ROOM = 2048,
	ADDED_ROOM = 256,
	RESPONSE_ROOM = 896,
	TEXT_ROOM = 3 * WORD_ROOM + URL_ROOM + REQUEST_ROOM +
		    ATTEMPTS_KEPT * (ADDED_ROOM + RESPONSE_ROOM),
	VALUE_SHOWN = 200,		/* octets of a long value */
};
_Static_assert(TEXT_ROOM <= UINT16_MAX, "parts have 16 bits");

struct part {
	uint16_t at, len;
	bool cut;
};

struct kept {
	struct recorder_attempt facts;	/* without the pointers */
	unsigned number;
	uint64_t head_octets;
	struct part added, response;
};

struct slot {
	time_t at;
	uint32_t ms;
	uint16_t status;
	enum family family;
	enum unanswered unanswered;
	unsigned replays, attempts, kept_n;
	struct part client, method, url, rule, request;
	struct kept kept[ATTEMPTS_KEPT];
	char text[TEXT_ROOM];
};

struct recorder {
	unsigned slots, next, used;
	unsigned burst;			/* how many are wanted right now */
	uint64_t refilled_ms, passed_over;
	struct slot slot[];
};

/* The key is the process's, so values can be compared across workers. */
static unsigned char hash_key[32];
static bool hash_ready;

static void make_key(void)
{
	hash_ready = getrandom(hash_key, sizeof(hash_key), 0) == (ssize_t)sizeof(hash_key);
}

static void hash_text(char out[10], struct str s)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	unsigned char mac[EVP_MAX_MD_SIZE];

	pthread_once(&once, make_key);
	if (!hash_ready || !HMAC(EVP_sha256(), hash_key, sizeof(hash_key),
				 (const unsigned char *)(s.len ? s.at : ""), s.len, mac, NULL))
		snprintf(out, 10, "#????????");
	else
		snprintf(out, 10, "#%02x%02x%02x%02x", mac[0], mac[1], mac[2], mac[3]);
}

struct recorder *recorder_new(unsigned slots)
{
	struct recorder *r;

	slots = slots > 0 ? slots : 1;
	r = calloc(1, sizeof(*r) + slots * sizeof(r->slot[0]));
	if (r)
		r->slots = r->burst = slots;
	return r;
}

void recorder_free(struct recorder *r)
{
	free(r);
}

unsigned recorder_count(const struct recorder *r)
{
	return r->used;
}

/* Writing a part. */

struct pen {
	char *at;
	size_t left;
	bool cut;
};

static void pen_octets(struct pen *p, const char *at, size_t n)
{
	if (n > p->left) {
		p->cut = true;
		p->left = 0;		/* nothing more, or the cut would not be an end */
		return;
	}
	memcpy(p->at, at, n);
	p->at += n;
	p->left -= n;
}

static void pen_str(struct pen *p, struct str s)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < s.len && !p->cut; i++) {
		unsigned char c = (unsigned char)s.at[i];
		char spelled[4] = { '\\', 'x', hex[c >> 4], hex[c & 15] };

		if (0x20 <= c && c <= 0x7e)
			pen_octets(p, &s.at[i], 1);
		else
			pen_octets(p, spelled, 4);
	}
}

static void pen_z(struct pen *p, const char *z)
{
	pen_octets(p, z, strlen(z));
}

static void pen_hash(struct pen *p, struct str s)
{
	char text[10];

	hash_text(text, s);
	pen_z(p, text);
}

static void pen_url(struct pen *p, struct str url, bool with_query)
{
	struct str path, query;

	if (with_query || !str_cut(url, '?', &path, &query)) {
		pen_str(p, url);
		return;
	}
	pen_str(p, path);
	pen_z(p, "?");
	pen_hash(p, query);
}

static void pen_value(struct pen *p, struct str value)
{
	char rest[40];

	pen_str(p, str_first(value, VALUE_SHOWN));
	if (value.len <= VALUE_SHOWN)
		return;
	snprintf(rest, sizeof(rest), "...(%zu octets)", value.len);
	pen_z(p, rest);
}

static struct pen pen_on(struct slot *s, size_t *used, size_t room)
{
	return (struct pen){ .at = s->text + *used, .left = room };
}

static struct part pen_off(const struct slot *s, size_t *used, const struct pen *p)
{
	size_t end = (size_t)(p->at - s->text);
	struct part part = { (uint16_t)*used, (uint16_t)(end - *used), p->cut };

	*used = end;
	return part;
}

static struct part write_word(struct slot *s, size_t *used, struct str word)
{
	struct pen p = pen_on(s, used, WORD_ROOM);

	pen_str(&p, word);
	return pen_off(s, used, &p);
}

/* What must not be seen. */

/* Names that the header table does not know, and that tell a secret. */
static bool sounds_secret(struct str name)
{
	static const char *const sounds[] = {
		"auth", "token", "secret", "session", "password", "passwd", "credential",
		"cookie", "csrf", "xsrf", "canary", "signature", "apikey", "api-key", "-key",
	};

	for (size_t i = 0; i < sizeof(sounds) / sizeof(sounds[0]); i++) {
		struct str sound = str_of(sounds[i]);

		for (size_t at = 0; at + sound.len <= name.len; at++)
			if (str_starts_nocase(str_from(name, at), sound))
				return true;
	}
	return false;
}

/* A supply copies fields of a 449 whose names tell nothing; the copy does. */
static bool was_supplied(const struct recorder_facts *f, struct str value)
{
	if (value.len == 0)
		return false;
	for (unsigned i = 0; i < f->attempts_n; i++)
		for (unsigned k = 0; k < f->attempts[i].add_n; k++)
			if (str_eq(f->attempts[i].add[k].value, value))
				return true;
	return false;
}

/* ... and so does a rule that wants to copy it, even if it came to nothing. */
static bool is_source(const struct rule *r, struct str name)
{
	for (unsigned i = 0; i < r->supply_n; i++)
		if (str_eq_nocase(r->supply[i].name, name) ||
		    (r->supply[i].from == SUPPLY_HEADER && str_eq_nocase(r->supply[i].text, name)))
			return true;
	return false;
}

static bool holds_token(const struct header *h)
{
	return h->id == HEADER_WWW_AUTHENTICATE && (str_starts_nocase(h->value, STR("NTLM ")) ||
						    str_starts_nocase(h->value, STR("Negotiate ")));
}

static bool is_secret(const struct recorder_facts *f, const struct header *h)
{
	return holds_token(h) || (header_traits(h->id) & TRAIT_SECRET) ||
	       (h->id == HEADER_OTHER && sounds_secret(h->name)) ||
	       is_source(f->rule, h->name) || was_supplied(f, h->value);
}

static bool holds_url(const struct header *h)
{
	return h->id == HEADER_REFERER || str_eq_nocase(h->name, STR("Location")) ||
	       str_eq_nocase(h->name, STR("Content-Location")) ||
	       str_eq_nocase(h->name, STR("Destination"));
}

static void pen_field(struct pen *p, const struct recorder_facts *f, const struct header *h)
{
	pen_str(p, h->name);
	pen_z(p, ": ");
	if (is_secret(f, h))
		pen_hash(p, h->value);
	else if (holds_url(h))
		pen_url(p, h->value, f->with_query);
	else
		pen_value(p, h->value);
	pen_z(p, "\n");
}

/* All lines, also those that were not forwarded: what was said, not what was
 * passed on. */
static void pen_fields(struct pen *p, const struct recorder_facts *f, const struct headers *h)
{
	for (unsigned i = 0; i < h->count; i++)
		pen_field(p, f, &h->at[i]);
}

static uint64_t head_octets(const struct response *r)
{
	uint64_t n = strlen("HTTP/1.1 449 \r\n") + r->reason.len + strlen("\r\n");

	for (unsigned i = 0; i < r->fields.count; i++)
		n += r->fields.at[i].name.len + r->fields.at[i].value.len + strlen(": \r\n");
	return n;
}

static struct part write_added(struct slot *s, size_t *used, const struct recorder_attempt *a)
{
	struct pen p = pen_on(s, used, ADDED_ROOM);

	for (unsigned i = 0; i < a->add_n; i++) {
		pen_str(&p, a->add[i].name);
		pen_z(&p, ": ");
		pen_hash(&p, a->add[i].value);
		pen_z(&p, "\n");
	}
	return pen_off(s, used, &p);
}

static struct part write_response(struct slot *s, size_t *used, const struct recorder_facts *f,
				  const struct response *r)
{
	struct pen p = pen_on(s, used, RESPONSE_ROOM);
	char start[32];

	if (r) {
		snprintf(start, sizeof(start), "HTTP/1.%u %u ", r->minor, r->status);
		pen_z(&p, start);
		pen_value(&p, r->reason);
		pen_z(&p, "\n");
		pen_fields(&p, f, &r->fields);
	}
	return pen_off(s, used, &p);
}

static void keep_attempt(struct slot *s, size_t *used, const struct recorder_facts *f, unsigned i)
{
	const struct recorder_attempt *a = &f->attempts[i];
	struct kept *k = &s->kept[s->kept_n++];

	k->facts = *a;
	k->facts.add = NULL;
	k->facts.response = NULL;
	k->number = i + 1;
	k->head_octets = a->response ? head_octets(a->response) : 0;
	k->added = write_added(s, used, a);
	k->response = write_response(s, used, f, a->response);
}

static void write_request(struct slot *s, size_t *used, const struct recorder_facts *f)
{
	struct pen p = pen_on(s, used, URL_ROOM);

	pen_url(&p, f->url, f->with_query);
	s->url = pen_off(s, used, &p);
	p = pen_on(s, used, REQUEST_ROOM);
	pen_fields(&p, f, &f->request->fields);
	s->request = pen_off(s, used, &p);
}

bool recorder_wants(struct recorder *r, uint64_t now_ms)
{
	uint64_t more = (now_ms - r->refilled_ms) * NOTES_PER_S / 1000;

	if (more) {
		r->burst = more < r->slots - r->burst ? r->burst + (unsigned)more : r->slots;
		r->refilled_ms = now_ms;
	}
	if (!r->burst) {
		r->passed_over++;
		return false;
	}
	r->burst--;
	return true;
}

void recorder_note(struct recorder *r, const struct recorder_facts *f)
{
	struct slot *s = &r->slot[r->next];
	size_t used = 0;

	r->next = (r->next + 1) % r->slots;
	if (r->used < r->slots)
		r->used++;
	s->at = f->at;
	s->ms = f->ms;
	s->status = f->status;
	s->family = f->family;
	s->unanswered = f->unanswered;
	s->replays = f->replays;
	s->attempts = f->attempts_n;
	s->kept_n = 0;
	s->client = write_word(s, &used, f->client);
	s->method = write_word(s, &used, f->request->method);
	s->rule = write_word(s, &used, f->rule->name);
	write_request(s, &used, f);
	for (unsigned i = 0; i < f->attempts_n; i++)
		if (i == 0 || f->attempts_n - i < ATTEMPTS_KEPT)
			keep_attempt(s, &used, f, i);
}

/* Reading. */

static const struct slot *slot_at(const struct recorder *r, unsigned i)
{
	return &r->slot[(r->next + r->slots - r->used + i) % r->slots];
}

static struct str part_of(const struct slot *s, struct part p)
{
	return (struct str){ s->text + p.at, p.len };
}

bool recorder_brief(const struct recorder *r, unsigned back, struct recorder_brief *out)
{
	const struct slot *s;

	if (back >= r->used)
		return false;
	s = slot_at(r, r->used - 1 - back);
	*out = (struct recorder_brief){
		.at = s->at, .ms = s->ms, .status = s->status, .family = s->family,
		.unanswered = s->unanswered, .replays = s->replays, .attempts = s->attempts,
		.client = part_of(s, s->client), .method = part_of(s, s->method),
		.url = part_of(s, s->url), .rule = part_of(s, s->rule),
	};
	return true;
}

struct recorder *recorder_copy(const struct recorder *r)
{
	size_t size = sizeof(*r) + r->slots * sizeof(r->slot[0]);
	struct recorder *copy = malloc(size);

	if (copy)
		memcpy(copy, r, size);
	return copy;
}

static void time_text(char out[32], time_t at)
{
	struct tm tm;

	if (!gmtime_r(&at, &tm) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, 32, "-");
}

static void text_lines(FILE *out, const struct slot *s, struct part p, const char *prefix)
{
	struct str left = part_of(s, p), line;

	while (str_cut(left, '\n', &line, &left))
		fprintf(out, "%s%.*s\n", prefix, STR_FMT(line));
	if (p.cut)
		fprintf(out, "%s%.*s[cut]\n", prefix, STR_FMT(left));
}

static void text_attempt(FILE *out, const struct slot *s, const struct kept *k)
{
	fprintf(out, "  attempt %u: ", k->number);
	if (k->facts.status)
		fprintf(out, "%u after %u ms, head %llu, body %llu octets", k->facts.status,
			k->facts.ms, (unsigned long long)k->head_octets,
			(unsigned long long)k->facts.body_octets);
	else
		fprintf(out, "no answer");
	fprintf(out, "%s\n", k->facts.reused ? ", on a used connection" : "");
	text_lines(out, s, k->added, "    > ");
	text_lines(out, s, k->response, "    < ");
}

static void text_slot(FILE *out, const struct slot *s)
{
	struct str rule = part_of(s, s->rule);
	char when[32];

	time_text(when, s->at);
	fprintf(out, "%s %.*s %.*s %.*s%s -> %u in %u ms\n", when,
		STR_FMT(part_of(s, s->client)), STR_FMT(part_of(s, s->method)),
		STR_FMT(part_of(s, s->url)), s->url.cut ? "[cut]" : "", s->status, s->ms);
	fprintf(out, "  rule %.*s, family %s, replays %u, %s%s\n", STR_FMT(rule),
		family_word(s->family), s->replays,
		s->unanswered ? "unanswered: " : "answered",
		s->unanswered ? unanswered_word(s->unanswered) : "");
	text_lines(out, s, s->request, "  > ");
	for (unsigned i = 0; i < s->kept_n; i++) {
		if (i == 1 && s->kept[1].number > 2)
			fprintf(out, "  ... %u attempts more\n", s->attempts - s->kept_n);
		text_attempt(out, s, &s->kept[i]);
	}
}

void recorder_dump_text(const struct recorder *r, FILE *out)
{
	for (unsigned i = 0; i < r->used; i++)
		text_slot(out, slot_at(r, i));
	if (r->passed_over)
		fprintf(out, "(%llu more were not written down: too many at once)\n",
			(unsigned long long)r->passed_over);
}

/* The text is printable ASCII already. */
static void json_string(FILE *out, struct str s)
{
	putc('"', out);
	for (size_t i = 0; i < s.len; i++) {
		if (s.at[i] == '"' || s.at[i] == '\\')
			putc('\\', out);
		putc(s.at[i], out);
	}
	putc('"', out);
}

static void json_cut(FILE *out, const char *name, struct part p)
{
	if (p.cut)
		fprintf(out, ",\"%s_cut\":true", name);
}

static void json_word(FILE *out, const char *name, struct str word)
{
	fprintf(out, ",\"%s\":", name);
	json_string(out, word);
}

static void json_part(FILE *out, const char *name, const struct slot *s, struct part p)
{
	json_word(out, name, part_of(s, p));
	json_cut(out, name, p);
}

static void json_lines(FILE *out, const char *name, const struct slot *s, struct part p)
{
	struct str left = part_of(s, p), line;
	const char *comma = "";

	fprintf(out, ",\"%s\":[", name);
	while (str_cut(left, '\n', &line, &left)) {
		fputs(comma, out);
		json_string(out, line);
		comma = ",";
	}
	putc(']', out);
	json_cut(out, name, p);
}

static void json_attempt(FILE *out, const struct slot *s, const struct kept *k)
{
	fprintf(out, "{\"number\":%u,\"status\":%u,\"ms\":%u,\"reused\":%s,"
		"\"head_octets\":%llu,\"body_octets\":%llu",
		k->number, k->facts.status, k->facts.ms, k->facts.reused ? "true" : "false",
		(unsigned long long)k->head_octets, (unsigned long long)k->facts.body_octets);
	json_lines(out, "added", s, k->added);
	json_lines(out, "response", s, k->response);
	putc('}', out);
}

static void json_slot(FILE *out, const struct slot *s)
{
	char when[32];

	time_text(when, s->at);
	fprintf(out, "{\"time\":\"%s\",\"ms\":%u,\"status\":%u,\"replays\":%u,\"attempts_made\":%u",
		when, s->ms, s->status, s->replays, s->attempts);
	json_part(out, "client", s, s->client);
	json_part(out, "method", s, s->method);
	json_part(out, "url", s, s->url);
	json_part(out, "rule", s, s->rule);
	json_word(out, "family", str_of(family_word(s->family)));
	json_word(out, "unanswered", str_of(unanswered_word(s->unanswered)));
	json_lines(out, "request", s, s->request);
	fputs(",\"attempts\":[", out);
	for (unsigned i = 0; i < s->kept_n; i++) {
		fputs(i ? "," : "", out);
		json_attempt(out, s, &s->kept[i]);
	}
	fputs("]}\n", out);
}

void recorder_dump_json(const struct recorder *r, FILE *out)
{
	for (unsigned i = 0; i < r->used; i++)
		json_slot(out, slot_at(r, i));
}
