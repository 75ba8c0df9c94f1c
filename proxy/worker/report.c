/* report: what the demo origin received, as JSON for people and scripts. */

#include "worker/report.h"

#include <stdio.h>

#include <event2/buffer.h>

/* Octets above ASCII are written as if they were ISO-8859-1. */
static void write_quoted(struct evbuffer *out, struct str s)
{
	evbuffer_add(out, "\"", 1);
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.at[i];

		if (c < 0x20 || c > 0x7e)
			evbuffer_add_printf(out, "\\u%04x", c);
		else
			evbuffer_add_printf(out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
	}
	evbuffer_add(out, "\"", 1);
}

static void write_member(struct evbuffer *out, const char *name, struct str value)
{
	evbuffer_add_printf(out, "  \"%s\": ", name);
	if (value.at)
		write_quoted(out, value);
	else
		evbuffer_add_printf(out, "null");
	evbuffer_add_printf(out, ",\n");
}

static void write_trailers(struct evbuffer *out, const struct headers *trailers)
{
	evbuffer_add_printf(out, "  \"trailers\": [");
	for (unsigned i = 0; i < trailers->count; i++) {
		evbuffer_add_printf(out, i ? ", [" : "[");
		write_quoted(out, trailers->at[i].name);
		evbuffer_add_printf(out, ", ");
		write_quoted(out, trailers->at[i].value);
		evbuffer_add_printf(out, "]");
	}
	evbuffer_add_printf(out, "],\n");
}

static struct str digest_hex(EVP_MD_CTX *digest, struct arena *a)
{
	unsigned char octets[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	char hex[2 * EVP_MAX_MD_SIZE + 1] = "";

	EVP_DigestFinal_ex(digest, octets, &n);
	for (unsigned i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", octets[i]);
	return arena_keep(a, str_of(hex));
}

static const char *framing_word(enum framing framing)
{
	switch (framing) {
	case FRAMING_NONE:
		return "none";
	case FRAMING_LENGTH:
		return "length";
	case FRAMING_CHUNKED:
		return "chunked";
	case FRAMING_UNTIL_CLOSE:
		return "until close";
	}
	return "";
}

/* What arrived, as JSON. */
void report_write(const struct report *r, struct evbuffer *out)
{
	const struct request *q = r->request;
	struct str echoed = headers_join(&q->fields, HEADER_MS_ECHO_REPLY, r->arena);

	evbuffer_add_printf(out, "{\n");
	write_member(out, "method", q->method);
	write_member(out, "target", q->target);
	write_member(out, "framing", str_of(framing_word(q->framing)));
	evbuffer_add_printf(out, "  \"length\": %ju,\n", (uintmax_t)r->length);
	write_member(out, "sha256", digest_hex(r->digest, r->arena));
	write_trailers(out, &q->trailers);
	write_member(out, "via", headers_join(&q->fields, HEADER_VIA, r->arena));
	write_member(out, "max_forwards", headers_join(&q->fields, HEADER_MAX_FORWARDS, r->arena));
	evbuffer_add_printf(out, "  \"expect\": %s,\n", q->expects_continue ? "true" : "false");
	evbuffer_add_printf(out, "  \"echo_reply\": %s,\n", echoed.at ? "true" : "false");
	evbuffer_add_printf(out, "  \"echo_reply_length\": %zu,\n", echoed.len);
	evbuffer_add_printf(out, "  \"requests_on_connection\": %u\n}\n", r->requests);
}
