/* chunk: see the header. Lines are read octet by octet: they are short, may be
 * cut anywhere, and so get the same verdict wherever they are cut. Data is not
 * looked at. Not here: what a trailer field is (gate), what it may do (header). */
#include "http/chunk.h"

#include "http/header.h"

enum { SIZE_DIGITS = 16 };

/* --- the size line ------------------------------------------------------- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void skip_blanks(struct str *s)
{
	while (s->len && (s->at[0] == ' ' || s->at[0] == '\t'))
		*s = str_from(*s, 1);
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* quoted-string off the front (RFC 9110 5.6.4). */
static bool take_quoted(struct str *s)
{
	size_t n = header_value_len(*s);

	for (size_t i = 1; i < n; i++) {
		if (s->at[i] == '"') {
			*s = str_from(*s, i + 1);
			return true;
		}
		i += s->at[i] == '\\';
	}
	return false;
}

static bool take_token(struct str *s)
{
	size_t n = header_token_len(*s);

	*s = str_from(*s, n);
	return n != 0;
}

/* ";" BWS name [ BWS "=" BWS value ] off the front (RFC 9112 7.1.1). */
static bool take_extension(struct str *s)
{
	struct str before;

	if (s->at[0] != ';')
		return false;
	*s = str_from(*s, 1);
	skip_blanks(s);
	if (!take_token(s))
		return false;
	before = *s;
	skip_blanks(s);
	if (s->len == 0 || s->at[0] != '=') {
		*s = before;
		return true;
	}
	*s = str_from(*s, 1);
	skip_blanks(s);
	return s->len && s->at[0] == '"' ? take_quoted(s) : take_token(s);
}

bool chunk_parse_size(struct str line, uint64_t *size)
{
	size_t n = 0;
	int digit;

	for (*size = 0; n < line.len && (digit = hex_value(line.at[n])) >= 0; n++) {
		if (*size > INT64_MAX >> 4)
			return false;
		*size = *size << 4 | (uint64_t)digit;
	}
	line = str_from(line, n);
	if (n == 0)
		return false;
	while (line.len) {
		skip_blanks(&line);	/* a blank is legal only ahead of a ";" */
		if (line.len == 0 || !take_extension(&line))
			return false;
	}
	return true;
}

/* --- the body ------------------------------------------------------------ */

void chunk_begin(struct chunks *c, struct arena *a, const struct chunk_limits *l)
{
	memset(c, 0, offsetof(struct chunks, room));
	c->arena = a;
	c->limits = *l;
	c->in_digits = true;
	c->at = c->room;
	c->cap = CHUNK_ROOM;
}

static bool grow(struct chunks *c)
{
	char *at = arena_get(c->arena, 2 * (size_t)c->cap);

	if (!at)
		return false;
	memcpy(at, c->at, c->len);
	c->at = at;
	c->cap *= 2;
	return true;
}

/* One octet of a line. Behind a CR there is a LF, and nowhere else. */
static enum chunk_event keep_octet(struct chunks *c, char octet)
{
	bool after_cr = c->len > c->line && c->at[c->len - 1] == '\r';

	if ((octet == '\n') != after_cr)
		return CHUNK_BAD;
	if (c->len == c->cap && !grow(c))
		return CHUNK_NO_MEMORY;
	c->at[c->len++] = octet;
	return CHUNK_MORE;
}

static struct str last_line(const struct chunks *c)
{
	return (struct str){ c->at + c->line, c->len - c->line - 2 };
}

/* What is not among the first digits counts as extension: it is dropped, and
 * must not cost more than the limit in all, however it is spread. */
static enum chunk_event size_octet(struct chunks *c, char octet)
{
	enum chunk_event event = keep_octet(c, octet);

	if (event != CHUNK_MORE)
		return event;
	if (octet == '\n') {
		if (!chunk_parse_size(last_line(c), &c->left))
			return CHUNK_BAD;
		c->len = 0;
		c->in_digits = true;
		c->phase = c->left ? CHUNK_IN_DATA : CHUNK_IN_TRAILER;
		return CHUNK_SIZE;
	}
	c->in_digits = c->in_digits && hex_value(octet) >= 0 && c->len <= SIZE_DIGITS;
	if (!c->in_digits && octet != '\r' && ++c->extensions > c->limits.extensions)
		return CHUNK_BIG_EXTENSIONS;
	return CHUNK_MORE;
}

static enum chunk_event cr_octet(struct chunks *c, char octet)
{
	c->phase = CHUNK_AT_LF;
	return octet == '\r' ? CHUNK_MORE : CHUNK_BAD;
}

static enum chunk_event lf_octet(struct chunks *c, char octet)
{
	c->phase = CHUNK_IN_SIZE;
	return octet == '\n' ? CHUNK_DATA_END : CHUNK_BAD;
}

static enum chunk_event trailer_octet(struct chunks *c, char octet)
{
	enum chunk_event event = keep_octet(c, octet);

	if (event != CHUNK_MORE)
		return event;
	if (octet == '\n') {
		if (last_line(c).len == 0)
			return CHUNK_END;
		c->line = c->len;
		c->lines++;
	}
	return c->len > c->limits.trailer || c->lines > c->limits.lines ?
	       CHUNK_BIG_TRAILER : CHUNK_MORE;
}

static enum chunk_event take_data(struct chunks *c, struct str in, size_t *used,
				  struct str *data)
{
	*data = in.len > c->left ? str_first(in, c->left) : in;
	*used += data->len;
	c->left -= data->len;
	if (c->left == 0)
		c->phase = CHUNK_AT_CR;
	return CHUNK_DATA;
}

enum chunk_event chunk_feed(struct chunks *c, struct str in, size_t *used, struct str *data)
{
	static enum chunk_event (*const on_octet[])(struct chunks *c, char octet) = {
		[CHUNK_IN_SIZE] = size_octet,
		[CHUNK_AT_CR] = cr_octet,
		[CHUNK_AT_LF] = lf_octet,
		[CHUNK_IN_TRAILER] = trailer_octet,
	};
	enum chunk_event event = CHUNK_MORE;

	*used = 0;
	while (event == CHUNK_MORE && *used < in.len) {
		if (c->phase == CHUNK_IN_DATA)
			return take_data(c, str_from(in, *used), used, data);
		event = on_octet[c->phase](c, in.at[(*used)++]);
	}
	return event;
}

struct str chunk_trailer(const struct chunks *c)
{
	return (struct str){ c->at, c->line };
}
