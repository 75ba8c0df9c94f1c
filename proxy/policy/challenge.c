/* The law of 449.md as a list of questions, asked in its order: the first that
 * says no is the reason, and the plan is made only when none does. Nothing is
 * decided here about bytes on the wire or about connections; the edge does as
 * the plan says, and finds the reason NOT_SENT by itself. */
#include "policy/challenge.h"

#include "policy/capture.h"
#include "policy/cookie.h"

enum { RETRY_WITH = 449 };

struct words {
	const char *word, *text, *next;
};

#define FAMILY_WORDS(name, word, text) [FAMILY_##name] = { word, text, "" },
static const struct words families[FAMILY_COUNT] = { FAMILY_TABLE(FAMILY_WORDS) };
#define UNANSWERED_WORDS(name, word, text, next) [UNANSWERED_##name] = { word, text, next },
static const struct words reasons[UNANSWERED_COUNT] = { UNANSWERED_TABLE(UNANSWERED_WORDS) };

const char *family_word(enum family f)
{
	return families[f].word;
}

const char *family_text(enum family f)
{
	return families[f].text;
}

const char *unanswered_word(enum unanswered u)
{
	return reasons[u].word;
}

const char *unanswered_text(enum unanswered u)
{
	return reasons[u].text;
}

const char *unanswered_next(enum unanswered u)
{
	return reasons[u].next;
}

/* Sent with every attempt already (challenge_always), so no answer to a 449. */
static bool supply_is_constant(const struct supply *s)
{
	return s->always && s->from == SUPPLY_FIXED;
}

static bool rule_supplies(const struct rule *r)
{
	if (!(r->answer & ANSWER_SUPPLY))
		return false;
	for (unsigned i = 0; i < r->supply_n; i++) {
		if (!supply_is_constant(&r->supply[i]))
			return true;
	}
	return false;
}

static bool rule_reads_body(const struct rule *r)
{
	if (!(r->answer & ANSWER_SUPPLY))
		return false;
	for (unsigned i = 0; i < r->supply_n; i++) {
		enum supply_source from = r->supply[i].from;

		if (from == SUPPLY_POINTER || from == SUPPLY_REGEX)
			return true;
	}
	return false;
}

static bool is_activesync(const struct challenge_facts *f)
{
	return headers_find(&f->response->fields, HEADER_MS_ASPROTOCOLVERSION) ||
	       headers_find(&f->request->fields, HEADER_X_MS_POLICYKEY) ||
	       str_starts_nocase(f->request->url.path, STR("/Microsoft-Server-ActiveSync"));
}

static enum family family_of(const struct challenge_facts *f)
{
	const struct rule *r = f->rule;
	bool asks = headers_find(&f->response->fields, HEADER_MS_ECHO_REQUEST);

	if (f->response->status != RETRY_WITH)
		return FAMILY_NONE;
	if (is_activesync(f))
		return FAMILY_ACTIVESYNC;
	if (asks && (r->answer & ANSWER_ECHO))
		return FAMILY_ECHO;
	if (rule_supplies(r))
		return FAMILY_SUPPLY;
	if (asks)
		return FAMILY_ECHO;
	return r->answer & ANSWER_BACKOFF ? FAMILY_BACKOFF : FAMILY_OTHER;
}

/* Digits that do not fit are a very large number, not a missing one. */
static bool number(struct str s, uint64_t *out)
{
	if (str_to_u64(s, out))
		return true;
	for (size_t i = 0; i < s.len; i++) {
		if (s.at[i] < '0' || s.at[i] > '9')
			return false;
	}
	if (s.len)
		*out = UINT64_MAX;
	return s.len != 0;
}

/* The three forms of RFC 9110 5.6.7. strptime() speaks the process's locale,
 * which is C: nobody here calls setlocale(). */
static bool date_parse(struct str s, time_t *out)
{
	static const char *const forms[] = {
		"%a, %d %b %Y %H:%M:%S GMT",
		"%A, %d-%b-%y %H:%M:%S GMT",
		"%a %b %e %H:%M:%S %Y",
	};
	char text[64];

	if (s.len >= sizeof(text))
		return false;
	memcpy(text, s.len ? s.at : "", s.len);
	text[s.len] = '\0';
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct tm tm = { 0 };
		const char *end = strptime(text, forms[i], &tm);

		if (end && end == text + s.len) {
			*out = timegm(&tm);
			return true;
		}
	}
	return false;
}

static uint64_t seconds_ms(uint64_t seconds)
{
	return seconds > UINT32_MAX ? UINT64_MAX : seconds * 1000;
}

/* The longest that any Retry-After line asks for; what is neither a number nor
 * a date asks for nothing. */
static uint64_t retry_after_ms(const struct challenge_facts *f)
{
	const struct header *h = NULL;
	uint64_t longest = 0;

	while ((h = headers_next(&f->response->fields, HEADER_RETRY_AFTER, h))) {
		uint64_t wait = 0;
		time_t until;

		if (number(h->value, &wait))
			wait = seconds_ms(wait);
		else if (date_parse(h->value, &until) && until > f->now)
			wait = seconds_ms((uint64_t)(until - f->now));
		longest = wait > longest ? wait : longest;
	}
	return longest;
}

/* x-ms-retry-after-ms: Cosmos says it precisely, and Retry-After rounded up. */
static bool asked_ms(const struct challenge_facts *f, uint64_t *wait)
{
	const struct header *h = headers_find(&f->response->fields, HEADER_X_MS_RETRY_AFTER_MS);

	return h && number(h->value, wait);
}

/* min(first x factor^n, step_most), capped before it is multiplied, + jitter. */
static uint64_t backoff_ms(const struct challenge_facts *f)
{
	uint64_t most = f->rule->backoff.step_most_ms;
	uint64_t step = f->rule->backoff.first_ms;
	uint64_t factor = f->rule->backoff.factor;
	uint32_t jitter = f->rule->backoff.jitter_ms;

	for (unsigned n = 0; n < f->replays && factor > 1 && 0 < step && step < most; n++)
		step *= factor;		/* both below 2^32 */
	if (step > most)
		step = most;
	return step + (jitter ? f->random % jitter : 0);
}

static uint64_t wait_ms(const struct challenge_facts *f, enum family family)
{
	uint64_t after = retry_after_ms(f), wait;

	if (family != FAMILY_BACKOFF)
		return after;
	if (asked_ms(f, &wait))
		return wait;
	wait = backoff_ms(f);
	return after > wait ? after : wait;
}

/* Does the request carry a token that logs its connection in? */
static bool sends_token(const struct request *q)
{
	const struct header *h = headers_find(&q->fields, HEADER_AUTHORIZATION);
	struct str scheme, rest;

	if (!h)
		return false;
	if (!str_cut(h->value, ' ', &scheme, &rest))
		scheme = h->value;
	return str_eq_nocase(scheme, STR("NTLM")) || str_eq_nocase(scheme, STR("Negotiate"));
}

static bool is_bound(const struct challenge_facts *f)
{
	return f->connection_bound || sends_token(f->request);
}

/* The questions of 449.md 2. True: that is why it stays unanswered. */

static bool never_replayed(const struct challenge_facts *f, enum family family)
{
	return f->request->kind == METHOD_CONNECT || f->request->kind == METHOD_TRACE;
}

static unsigned replays_most(const struct rule *r, enum family family)
{
	return family == FAMILY_BACKOFF ? r->backoff.most : r->max_replays;
}

static bool turned_off(const struct challenge_facts *f, enum family family)
{
	static const unsigned needs[FAMILY_COUNT] = {
		[FAMILY_ECHO] = ANSWER_ECHO,
		[FAMILY_SUPPLY] = ANSWER_SUPPLY,
		[FAMILY_BACKOFF] = ANSWER_BACKOFF,
		[FAMILY_ACTIVESYNC] = ~0u,
		[FAMILY_OTHER] = ~0u,
	};

	return f->rule->mode == MODE_OFF || !(f->rule->answer & needs[family]) ||
	       replays_most(f->rule, family) == 0;
}

static bool not_idempotent(const struct challenge_facts *f, enum family family)
{
	return f->rule->replay_idempotent_only && !method_is_idempotent(f->request->kind);
}

static bool client_answers(const struct challenge_facts *f, enum family family)
{
	return headers_find(&f->request->fields, HEADER_MS_ECHO_REPLY);
}

static bool client_declines(const struct challenge_facts *f, enum family family)
{
	const struct header *h = NULL;

	while ((h = headers_next(&f->request->fields, HEADER_X_MS_NORETRY_449, h))) {
		if (!str_eq_nocase(h->value, STR("false")))
			return true;
	}
	return false;
}

/* Another retrywith, nearer to the server, has made the replay: the Proxy-Status that
 * it adds says so. */
static bool was_answered(const struct headers *fields)
{
	static const char said[] = "received-status=449; details=\"unanswered=again\"";
	const struct header *h = NULL;

	while ((h = headers_next(fields, HEADER_PROXY_STATUS, h)))
		if (h->value.len >= sizeof said - 1 &&
		    memmem(h->value.at, h->value.len, said, sizeof said - 1))
			return true;
	return false;
}

static bool again(const struct challenge_facts *f, enum family family)
{
	return f->replays >= replays_most(f->rule, family) || was_answered(&f->response->fields);
}

static bool for_the_device(const struct challenge_facts *f, enum family family)
{
	return family == FAMILY_ACTIVESYNC;
}

static bool asks_nothing(const struct challenge_facts *f, enum family family)
{
	return family == FAMILY_OTHER;
}

/* The gate refuses most of these; an echo is too easy a way to inject a line
 * to rely on a room upstairs. */
static bool bad_header(const struct challenge_facts *f, enum family family)
{
	const struct header *h = NULL;

	if (family != FAMILY_ECHO)
		return false;
	while ((h = headers_next(&f->response->fields, HEADER_MS_ECHO_REQUEST, h))) {
		if (!header_is_value(str_trim(h->value)))
			return true;
	}
	return false;
}

/* Of all lines as they will be joined. */
static bool long_header(const struct challenge_facts *f, enum family family)
{
	const struct header *h = NULL;
	size_t length = 0;

	if (family != FAMILY_ECHO)
		return false;
	while ((h = headers_next(&f->response->fields, HEADER_MS_ECHO_REQUEST, h)))
		length += h->value.len + strlen(", ");
	return length > ECHO_VALUE_MOST + strlen(", ");
}

static bool bad_substatus(const struct challenge_facts *f, enum family family)
{
	const struct header *h = NULL;
	uint64_t code;

	if (family != FAMILY_BACKOFF)
		return false;
	while ((h = headers_next(&f->response->fields, HEADER_X_MS_SUBSTATUS, h))) {
		if (!str_to_u64(h->value, &code) || code != 0)
			return true;
	}
	return false;
}

static bool spool_failed(const struct challenge_facts *f, enum family family)
{
	return !f->can_rewind && f->spool_failed;
}

static bool body_too_large(const struct challenge_facts *f, enum family family)
{
	return !f->can_rewind;
}

static bool retry_after(const struct challenge_facts *f, enum family family)
{
	uint64_t wait;

	if (family == FAMILY_BACKOFF && asked_ms(f, &wait))
		return false;		/* total_ms bounds that one */
	return retry_after_ms(f) > f->rule->retry_after_max_ms;
}

static bool too_late(const struct challenge_facts *f, enum family family)
{
	uint32_t total = f->rule->backoff.total_ms;

	return family == FAMILY_BACKOFF &&
	       (f->waited_ms > total || wait_ms(f, family) > total - f->waited_ms);
}

static bool login_ends(const struct challenge_facts *f, enum family family)
{
	const struct header *h = headers_find(&f->response->fields, HEADER_PERSISTENT_AUTH);

	return is_bound(f) && (!f->response->keep ||
			       (h && str_eq_nocase(h->value, STR("false"))));
}

static bool breaker_open(const struct challenge_facts *f, enum family family)
{
	return f->breaker_open;
}

static bool only_observed(const struct challenge_facts *f, enum family family)
{
	return f->rule->mode == MODE_OBSERVE;
}

static const struct question {
	bool (*says_no)(const struct challenge_facts *f, enum family family);
	enum unanswered why;
} questions[] = {
	{ never_replayed,  UNANSWERED_METHOD },
	{ turned_off,      UNANSWERED_OFF },
	{ not_idempotent,  UNANSWERED_NOT_IDEMPOTENT },
	{ client_answers,  UNANSWERED_CLIENT_ANSWERS },
	{ client_declines, UNANSWERED_CLIENT_DECLINES },
	{ again,           UNANSWERED_AGAIN },
	{ for_the_device,  UNANSWERED_ACTIVESYNC },
	{ asks_nothing,    UNANSWERED_NO_HEADER },
	{ bad_header,      UNANSWERED_BAD_HEADER },
	{ long_header,     UNANSWERED_LONG_HEADER },
	{ bad_substatus,   UNANSWERED_SUBSTATUS },
	{ spool_failed,    UNANSWERED_SPOOL_FAILED },
	{ body_too_large,  UNANSWERED_BODY_TOO_LARGE },
	{ retry_after,     UNANSWERED_RETRY_AFTER },
	{ too_late,        UNANSWERED_TOO_LATE },
	{ login_ends,      UNANSWERED_AUTH_BOUND },
	{ breaker_open,    UNANSWERED_BREAKER },
	{ only_observed,   UNANSWERED_OBSERVE },	/* last: it would have been answered */
};

void challenge_judge(const struct challenge_facts *f, struct challenge_plan *plan)
{
	enum family family = family_of(f);

	*plan = (struct challenge_plan){ .family = family };
	if (family == FAMILY_NONE)
		return;
	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		if (questions[i].says_no(f, family)) {
			plan->unanswered = questions[i].why;
			return;
		}
	}
	plan->delay_ms = (uint32_t)wait_ms(f, family);
	plan->wants_body = family != FAMILY_BACKOFF && rule_reads_body(f->rule);
	plan->same_connection = is_bound(f);
	plan->without_authorization = sends_token(f->request);
}

static bool add_field(struct challenge_answer *out, struct str name, struct str value)
{
	if (value.len > ECHO_VALUE_MOST || !header_is_value(value))
		return false;
	out->add[out->n++] = (struct header){
		.name = name, .value = value, .id = header_lookup(name),
	};
	return true;
}

/* Joining an empty last line leaves a blank at the end. */
static bool answer_echo(const struct challenge_facts *f, struct arena *a,
			struct challenge_answer *out)
{
	struct str value = headers_join(&f->response->fields, HEADER_MS_ECHO_REQUEST, a);

	value = str_trim(value);
	out->echoed = value.len > 0 ? value : STR("");
	return add_field(out, str_of(header_name(HEADER_MS_ECHO_REPLY)), out->echoed);
}

static struct str field_value(const struct response *p, struct str name, struct arena *a)
{
	enum header_id id = header_lookup(name);
	const struct header *h = headers_find_name(&p->fields, name);

	if (h && id != HEADER_OTHER)
		return headers_join(&p->fields, id, a);
	return h ? h->value : STR_NONE;
}

static struct str supply_value(const struct supply *s, const struct response *p,
			       struct str body, struct arena *a)
{
	switch (s->from) {
	case SUPPLY_FIXED:
		return s->text;
	case SUPPLY_HEADER:
		return field_value(p, s->text, a);
	case SUPPLY_COOKIE:
		return cookie_set_value(p, s->text);
	case SUPPLY_POINTER:
		return capture_pointer(body, s->text, a);
	case SUPPLY_REGEX:
		return s->compiled ? capture_regex(body, s->compiled) : STR_NONE;
	}
	return STR_NONE;
}

/* Beside an echo a supply is a bonus: a server that wants both at one URL and
 * the echo alone at another still gets its answer. */
static bool answer_supplies(const struct challenge_facts *f, enum family family, struct str body,
			    struct arena *a, struct challenge_answer *out)
{
	for (unsigned i = 0; i < f->rule->supply_n; i++) {
		const struct supply *s = &f->rule->supply[i];
		struct str value;

		if (supply_is_constant(s))
			continue;
		value = supply_value(s, f->response, body, a);
		if (!value.at && family == FAMILY_ECHO)
			continue;
		if (!value.at || !add_field(out, s->name, str_trim(value)))
			return false;
	}
	return true;
}

enum unanswered challenge_answer(const struct challenge_facts *f, const struct challenge_plan *p,
				 struct str body, bool https, struct arena *a,
				 struct challenge_answer *out)
{
	bool echoes = p->family == FAMILY_ECHO;
	bool supplies = (echoes || p->family == FAMILY_SUPPLY) && rule_supplies(f->rule);

	*out = (struct challenge_answer){ 0 };
	out->add = arena_get(a, (1 + f->rule->supply_n) * sizeof(*out->add));
	if (!out->add)
		return UNANSWERED_NO_VALUE;
	if (echoes && !answer_echo(f, a, out))
		return UNANSWERED_NO_VALUE;
	if (supplies && !answer_supplies(f, p->family, body, a, out))
		return UNANSWERED_NO_VALUE;
	out->merged_cookie = cookie_merge(f->request, f->response, https, f->now, a,
					  &out->cookie);
	return arena_full(a) ? UNANSWERED_NO_VALUE : UNANSWERED_NONE;
}

bool challenge_always(const struct rule *r, struct arena *a, struct header **add, unsigned *n)
{
	struct challenge_answer made = { 0 };

	*add = NULL;
	*n = 0;
	for (unsigned i = 0; i < r->supply_n; i++) {
		if (!supply_is_constant(&r->supply[i]))
			continue;
		if (!made.add)
			made.add = arena_get(a, r->supply_n * sizeof(*made.add));
		if (!made.add)
			return false;
		add_field(&made, r->supply[i].name, r->supply[i].text);
	}
	*add = made.add;
	*n = made.n;
	return true;
}
