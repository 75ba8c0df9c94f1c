/* variation: the paths of the demo origin. A row says what a request to it must
 * bring, how the 449 asks for it, and in which odd way; demo performs it. */

#include "worker/variation.h"

#include <event2/buffer.h>

/* Everything that a careless proxy would change: quotes, commas, blanks, a
 * percent sign, an octet that is not ASCII. */
#define VALUE "realm=\"demo, origin\";  token=\"a b%2Cc\", caf\xe9 = 100%"
#define VALUE_SECOND "the second \"value\", still not the last"
#define JOINED_FIRST "first;v=\"1, 2\""
#define JOINED_SECOND "second"
#define SESSION "demo-session-7f3a"
#define TOKEN "demo-token-91c2"

enum {
	LONG_DEFAULT = 4000,		/* octets of the value at /long */
	LONG_MOST = 32768,
	SMALL = 160,			/* octets of a body that only is there */
};

/* What a request must bring. */

static bool echoes(const struct request *q, struct str value)
{
	const struct header *h = headers_find(&q->fields, HEADER_MS_ECHO_REPLY);

	return h && str_eq(h->value, value) &&
	       !headers_next(&q->fields, HEADER_MS_ECHO_REPLY, h);
}

static bool has_field(const struct request *q, struct str name, struct str value)
{
	const struct header *h = headers_find_name(&q->fields, name);

	return h && str_eq(h->value, value);
}

static bool wants_nothing(const struct request *q)
{
	return true;
}

static bool wants_more(const struct request *q)
{
	return false;
}

static bool wants_value(const struct request *q)
{
	return echoes(q, STR(VALUE));
}

static bool wants_second(const struct request *q)
{
	return echoes(q, STR(VALUE_SECOND));
}

static bool wants_joined(const struct request *q)
{
	return echoes(q, STR(JOINED_FIRST ", " JOINED_SECOND));
}

static bool wants_empty(const struct request *q)
{
	return echoes(q, STR(""));
}

/* /long?n=4000: the value is n times x. */
static uint64_t long_octets(const struct request *q)
{
	struct str before, after;
	uint64_t n;

	if (!str_cut(q->url.path, '=', &before, &after) || !str_to_u64(after, &n))
		return LONG_DEFAULT;
	return n < LONG_MOST ? n : LONG_MOST;
}

static bool wants_long(const struct request *q)
{
	const struct header *h = headers_find(&q->fields, HEADER_MS_ECHO_REPLY);

	return h && h->value.len == long_octets(q);
}

/* The one cookie that belongs here, and none of the others. */
static bool wants_cookies(const struct request *q)
{
	const struct header *h = headers_find(&q->fields, HEADER_COOKIE);
	struct str cookie = h ? h->value : STR_NONE;

	return wants_value(q) && str_glob(STR("*demo-session=1*"), cookie) &&
	       !str_glob(STR("*demo-not-*"), cookie);
}

static bool wants_supply(const struct request *q)
{
	return has_field(q, STR("X-Session"), STR(SESSION)) &&
	       has_field(q, STR("X-Token"), STR(TOKEN));
}

/* Two of three requests to one target find it busy. */
static bool wants_patience(const struct request *q)
{
	static uint8_t requests[256];	/* by hash of the target */
	uint8_t *seen = &requests[str_hash_nocase(q->target, STR_HASH_SEED) & 255];

	*seen = (uint8_t)((*seen + 1) % 3);
	return *seen == 0;
}

/* How they ask for it. */

static void ask_line(struct evbuffer *fields, struct str value)
{
	evbuffer_add_printf(fields, "Ms-Echo-Request: ");
	evbuffer_add(fields, value.at, value.len);
	evbuffer_add_printf(fields, "\r\n");
}

static void ask_value(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	ask_line(fields, STR(VALUE));
}

static void ask_second(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	ask_line(fields, wants_value(q) ? STR(VALUE_SECOND) : STR(VALUE));
}

static void ask_joined(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	ask_line(fields, STR(JOINED_FIRST));
	ask_line(fields, STR(JOINED_SECOND));
}

static void ask_empty(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	ask_line(fields, STR(""));
}

static void ask_bad(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	ask_line(fields, STR("a control octet\x01 inside"));
}

static void ask_long(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	static char xs[LONG_MOST];

	memset(xs, 'x', sizeof(xs));
	ask_line(fields, (struct str){ xs, long_octets(q) });
}

static void ask_nothing(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	evbuffer_add_printf(body, "Something is missing, but no header says what.\n");
}

static void ask_cookies(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	ask_line(fields, STR(VALUE));
	evbuffer_add_printf(fields,
			    "Set-Cookie: demo-session=1; Path=/cookies; HttpOnly\r\n"
			    "Set-Cookie: demo-not-on-http=2; Path=/; Secure\r\n"
			    "Set-Cookie: demo-not-here=3; Path=/elsewhere\r\n"
			    "Set-Cookie: demo-not-yours=4; Domain=other.example\r\n"
			    "Set-Cookie: demo-not-any-more=5; Path=/; Max-Age=0\r\n");
}

static void ask_supply(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	evbuffer_add_printf(fields, "X-Session-Id: " SESSION "\r\n");
	evbuffer_add_printf(body, "{\"error\": \"session parameters are missing\", "
			    "\"missing\": {\"token\": \"" TOKEN "\"}}\n");
}

static void ask_patience(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	evbuffer_add_printf(fields, "x-ms-substatus: 0\r\n");
	evbuffer_add_printf(body, "Busy: please try again.\n");
}

static void ask_device(const struct request *q, struct evbuffer *fields, struct evbuffer *body)
{
	evbuffer_add_printf(fields, "MS-Server-ActiveSync: 15.0\r\n"
			    "MS-ASProtocolVersion: 14.1\r\n");
	evbuffer_add_printf(body, "Retry after sending a PROVISION command.\n");
}

static const struct variation variations[] = {
	{ "echo", "449 with Ms-Echo-Request; 200 once Ms-Echo-Reply brings it back",
	  wants_value, ask_value, 0, 0 },
	{ "plain", "200 at once", wants_nothing, NULL, 0, 0 },
	{ "early", "449 before the body is read, then close",
	  wants_value, ask_value, EARLY | CLOSING, 0 },
	{ "early-keep", "449 before the body is read, which is read all the same",
	  wants_value, ask_value, EARLY, SMALL },
	{ "late", "449 after 300 ms", wants_value, ask_value, LATE, 0 },
	{ "empty", "an empty Ms-Echo-Request", wants_empty, ask_empty, 0, 0 },
	{ "long", "/long?n=4000: a value of n octets", wants_long, ask_long, 0, 0 },
	{ "body", "449 with a small body", wants_value, ask_value, 0, SMALL },
	{ "huge-body", "449 with a body of 1 MiB", wants_value, ask_value, 0, 1 << 20 },
	{ "chunked", "449 and final answer with chunked bodies",
	  wants_value, ask_value, CHUNKED, 3000 },
	{ "twice", "449 to the request and, with another value, to the replay",
	  wants_second, ask_second, 0, SMALL },
	{ "always", "449 for ever", wants_more, ask_value, 0, SMALL },
	{ "no-header", "449 that names nothing", wants_more, ask_nothing, 0, 0 },
	{ "close", "449 with Connection: close", wants_value, ask_value, CLOSING, SMALL },
	{ "http10", "449 as HTTP/1.0", wants_value, ask_value, OLD | CLOSING, SMALL },
	{ "cookies", "449 sets cookies; one of them has to come back",
	  wants_cookies, ask_cookies, 0, 0 },
	{ "joined", "two lines of Ms-Echo-Request", wants_joined, ask_joined, 0, 0 },
	{ "bad-header", "a control octet in Ms-Echo-Request", wants_more, ask_bad, 0, SMALL },
	{ "continue", "449 instead of 100 Continue; the replay gets its 100",
	  wants_value, ask_value, EARLY_IF_EXPECTED | CLOSING, 0 },
	{ "supply", "wants X-Session from the 449's X-Session-Id, X-Token from its JSON body",
	  wants_supply, ask_supply, JSON, 0 },
	{ "backoff", "449 without a header twice, then 200", wants_patience, ask_patience, 0, 0 },
	{ "activesync", "449 that only a device may answer", wants_more, ask_device, 0, 0 },
	{ "401", "401 to a replay without Authorization",
	  wants_value, ask_value, FINAL_LOGIN, 0 },
	{ "redirect", "302 to the replay", wants_value, ask_value, FINAL_REDIRECT, 0 },
	{ "slow", "449, then an answer that drips", wants_value, ask_value, FINAL_SLOW, 0 },
	{ "truncate", "449, then an answer that breaks off",
	  wants_value, ask_value, FINAL_SHORT, 0 },
	{ "head", "449 with Content-Length: 1000, of which a HEAD sees nothing",
	  wants_value, ask_value, 0, 1000 },
};

static const struct variation index_page = {
	.satisfied = wants_nothing, .quirks = FINAL_INDEX
};
static const struct variation missing_page = {
	.satisfied = wants_nothing, .quirks = FINAL_INDEX | FINAL_MISSING
};

/* By the first segment of the path. */
const struct variation *variation_of(struct str path)
{
	struct str name, rest;

	if (path.len == 0 || path.at[0] != '/')
		return &missing_page;
	name = str_from(path, 1);
	str_cut(name, '?', &name, &rest);
	str_cut(name, '/', &name, &rest);
	if (name.len == 0)
		return &index_page;
	if (str_eq(name, STR("Microsoft-Server-ActiveSync")))
		name = STR("activesync");
	for (size_t i = 0; i < sizeof(variations) / sizeof(*variations); i++)
		if (str_eq(str_of(variations[i].name), name))
			return &variations[i];
	return &missing_page;
}

void variation_list(struct evbuffer *out)
{
	evbuffer_add_printf(out, "retrywith demo-origin: an origin that challenges on purpose.\n"
			    "Ask for one of these paths, directly and through the proxy:\n\n");
	for (size_t i = 0; i < sizeof(variations) / sizeof(*variations); i++)
		evbuffer_add_printf(out, "  /%-11s %s\n", variations[i].name, variations[i].text);
	evbuffer_add_printf(out, "\nAny method, any body. The final answer tells what arrived.\n");
}

void variation_filler(struct evbuffer *out, size_t octets)
{
	static const char line[] = "The demo origin wants something back before it answers.\n";
	size_t most = sizeof(line) - 1;

	for (size_t n; octets > 0; octets -= n) {
		n = octets < most ? octets : most;
		evbuffer_add(out, line, n);
	}
}
