/* cookie: see cookie.h. Section numbers are those of RFC 6265. A line of
 * Set-Cookie is taken apart as 5.2 says, judged against this one request, and
 * merged into the request's own pairs, whose order and octets stay as they are. */
#include "policy/cookie.h"

struct set_cookie {
	struct str name, value;
	struct str domain, path;	/* empty: not given */
	bool secure;
	bool has_age, has_date;
	int64_t age_s;
	time_t date;
};

/* Dates (5.1.1): any order, almost any delimiter. */

struct date {
	unsigned second, minute, hour, day, month, year;
	bool has_time, has_day, has_month, has_year;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_delimiter(char c)
{
	return c == '\t' || (c >= 0x20 && c <= 0x2f) || (c >= 0x3b && c <= 0x40) ||
	       (c >= 0x5b && c <= 0x60) || (c >= 0x7b && c <= 0x7e);
}

/* least to most digits, and no more of them; *s moves behind. */
static bool take_number(struct str *s, unsigned least, unsigned most, unsigned *out)
{
	unsigned n = 0;

	*out = 0;
	while (n < s->len && n < most && is_digit(s->at[n]))
		*out = *out * 10 + (unsigned)(s->at[n++] - '0');
	if (n < least || (n < s->len && is_digit(s->at[n])))
		return false;
	*s = str_from(*s, n);
	return true;
}

static bool take_colon(struct str *s)
{
	if (s->len == 0 || *s->at != ':')
		return false;
	*s = str_from(*s, 1);
	return true;
}

static bool read_time(struct date *d, struct str word)
{
	if (d->has_time)
		return false;
	return d->has_time = take_number(&word, 1, 2, &d->hour) && take_colon(&word) &&
			     take_number(&word, 1, 2, &d->minute) && take_colon(&word) &&
			     take_number(&word, 1, 2, &d->second);
}

static bool read_month(struct date *d, struct str word)
{
	static const char months[] = "jan feb mar apr may jun jul aug sep oct nov dec ";

	if (d->has_month || word.len < 3)
		return false;
	for (unsigned i = 0; i < 12; i++)
		if (str_eq_nocase(str_first(word, 3), (struct str){ months + 4 * i, 3 })) {
			d->month = i;
			return d->has_month = true;
		}
	return false;
}

static bool read_day(struct date *d, struct str word)
{
	return !d->has_day && (d->has_day = take_number(&word, 1, 2, &d->day));
}

static bool read_year(struct date *d, struct str word)
{
	return !d->has_year && (d->has_year = take_number(&word, 2, 4, &d->year));
}

static bool date_is_real(const struct date *d)
{
	static const unsigned days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	unsigned y = d->year, leap = d->month == 1 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);

	return y >= 1601 && d->day >= 1 && d->day <= days[d->month] + leap &&
	       d->hour <= 23 && d->minute <= 59 && d->second <= 59;
}

static bool date_parse(struct str s, time_t *out)
{
	struct date d = { 0 };
	struct tm tm = { 0 };

	while (s.len > 0) {
		struct str word = str_first(s, 0);

		while (word.len < s.len && !is_delimiter(s.at[word.len]))
			word.len++;
		if (!read_time(&d, word) && !read_day(&d, word) && !read_month(&d, word))
			read_year(&d, word);
		s = str_from(s, word.len < s.len ? word.len + 1 : word.len);
	}
	if (d.year <= 99)
		d.year += d.year >= 70 ? 1900 : 2000;
	if (!d.has_time || !d.has_day || !d.has_month || !d.has_year || !date_is_real(&d))
		return false;
	tm = (struct tm){ .tm_sec = (int)d.second, .tm_min = (int)d.minute, .tm_hour = (int)d.hour,
			  .tm_mday = (int)d.day, .tm_mon = (int)d.month,
			  .tm_year = (int)d.year - 1900 };
	*out = timegm(&tm);
	return true;
}

/* Set-Cookie (5.2). */

/* The part up to sep, trimmed; *s moves behind it. */
static struct str next_part(struct str *s, char sep)
{
	struct str part = *s;

	if (!str_cut(*s, sep, &part, s))
		*s = str_from(*s, s->len);
	return str_trim(part);
}

/* 5.2.2; a number too long to read is a very large one. */
static void read_age(struct set_cookie *c, struct str value)
{
	bool negative = value.len > 0 && *value.at == '-';
	struct str digits = negative ? str_from(value, 1) : value;
	uint64_t n = 0;

	if (digits.len == 0)
		return;
	for (size_t i = 0; i < digits.len; i++)
		if (!is_digit(digits.at[i]))
			return;
	if (!str_to_u64(digits, &n) || n > INT32_MAX)
		n = INT32_MAX;
	c->has_age = true;
	c->age_s = negative ? -(int64_t)n : (int64_t)n;
}

static void read_domain(struct set_cookie *c, struct str value)
{
	if (value.len > 0 && *value.at == '.')
		value = str_from(value, 1);
	if (value.len > 0)
		c->domain = value;
}

static void read_attribute(struct set_cookie *c, struct str name, struct str value)
{
	if (str_eq_nocase(name, STR("Expires")))
		c->has_date = date_parse(value, &c->date) || c->has_date;
	else if (str_eq_nocase(name, STR("Max-Age")))
		read_age(c, value);
	else if (str_eq_nocase(name, STR("Domain")))
		read_domain(c, value);
	else if (str_eq_nocase(name, STR("Path")))
		c->path = value.len > 0 && *value.at == '/' ? value : STR_NONE;
	else if (str_eq_nocase(name, STR("Secure")))
		c->secure = true;
}

/* False: no cookie, or not one that may be sent. */
static bool set_cookie_parse(struct str line, struct set_cookie *c)
{
	struct str value = next_part(&line, ';');

	*c = (struct set_cookie){ .value = STR_NONE };
	if (!str_cut(value, '=', &c->name, &c->value))
		return false;
	c->name = str_trim(c->name);
	c->value = str_trim(c->value);
	if (c->name.len == 0 || !header_is_value(c->name) || !header_is_value(c->value))
		return false;
	while (line.len > 0) {
		struct str attribute = next_part(&line, ';');
		struct str name = next_part(&attribute, '=');

		read_attribute(c, name, str_trim(attribute));
	}
	return true;
}

/* Matching (5.1.3, 5.1.4, 5.3, 5.4). */

/* Whom the client believes to talk to: that is what its own jar goes by. */
static struct url whom(const struct request *q)
{
	struct url u = q->url, host;

	if (u.host.len > 0 || !url_parse_authority(q->host, SCHEME_HTTP, &host))
		return u;
	u.host = host.host;
	u.literal6 = host.literal6;
	return u;
}

/* A name does not end in a number. */
static bool is_address(const struct url *u)
{
	size_t n = u->host.len;

	while (n > 0 && is_digit(u->host.at[n - 1]))
		n--;
	return u->literal6 || n == 0 || (n < u->host.len && u->host.at[n - 1] == '.');
}

/* A domain without a dot covers the host of that name only: the part of the list
 * of public suffixes that we can do without the list. */
static bool domain_matches(const struct url *u, struct str domain)
{
	struct str host = u->host;

	if (domain.len == 0 || str_eq_nocase(host, domain))
		return true;
	return !is_address(u) && memchr(domain.at, '.', domain.len) != NULL &&
	       host.len > domain.len && host.at[host.len - domain.len - 1] == '.' &&
	       str_ends_nocase(host, domain);
}

static struct str path_of(const struct url *u)
{
	const char *query = u->path.len ? memchr(u->path.at, '?', u->path.len) : NULL;
	struct str path = query ? str_first(u->path, (size_t)(query - u->path.at)) : u->path;

	return path.len > 0 && *path.at == '/' ? path : STR("/");
}

/* Without an own path a cookie has that of the request, up to its last slash:
 * which matches by construction. */
static bool path_matches(const struct url *u, struct str cookie)
{
	struct str path = path_of(u);

	if (cookie.len == 0 || str_eq(path, cookie))
		return true;
	return str_starts(path, cookie) &&
	       (cookie.at[cookie.len - 1] == '/' || path.at[cookie.len] == '/');
}

static bool matches(const struct set_cookie *c, const struct url *u, bool https)
{
	return domain_matches(u, c->domain) && path_matches(u, c->path) && (!c->secure || https);
}

static bool has_expired(const struct set_cookie *c, time_t now)
{
	if (c->has_age)
		return c->age_s <= 0;
	return c->has_date && c->date <= now;
}

/* The request's pairs, and what becomes of them. */

struct pair {
	struct str name, text;		/* text: as the client sent it; at NULL: ... */
	struct str value;		/* ... name=value is sent */
};

struct pairs {
	struct pair *at;
	unsigned n;
};

static unsigned count_parts(struct str s)
{
	unsigned n = 1;

	for (size_t i = 0; i < s.len; i++)
		n += s.at[i] == ';';
	return n;
}

static bool pairs_make(struct pairs *all, const struct request *q, const struct response *p,
		       struct arena *a)
{
	const struct header *h;
	unsigned most = 0;

	for (h = NULL; (h = headers_next(&q->fields, HEADER_COOKIE, h));)
		most += count_parts(h->value);
	for (h = NULL; (h = headers_next(&p->fields, HEADER_SET_COOKIE, h));)
		most++;
	all->n = 0;
	all->at = arena_get(a, most * sizeof(all->at[0]));
	if (!all->at)
		return false;
	for (h = NULL; (h = headers_next(&q->fields, HEADER_COOKIE, h));) {
		struct str rest = h->value;

		while (rest.len > 0) {
			struct str text = next_part(&rest, ';'), value = text;

			if (text.len > 0)
				all->at[all->n++] = (struct pair){ next_part(&value, '='), text,
								   STR_NONE };
		}
	}
	return true;
}

/* The first of this name becomes c, the others go; none: c comes last. NULL: all go. */
static void pairs_set(struct pairs *all, struct str name, const struct set_cookie *c)
{
	unsigned kept = 0;
	bool done = c == NULL;

	for (unsigned i = 0; i < all->n; i++) {
		struct pair p = all->at[i];

		if (str_eq(p.name, name)) {
			if (done)
				continue;
			p = (struct pair){ name, STR_NONE, c->value };
			done = true;
		}
		all->at[kept++] = p;
	}
	all->n = kept;
	if (!done)
		all->at[all->n++] = (struct pair){ name, STR_NONE, c->value };
}

static void append(struct str *to, struct str s)
{
	if (s.len > 0)
		memcpy((char *)to->at + to->len, s.at, s.len);
	to->len += s.len;
}

static bool pairs_join(const struct pairs *all, struct arena *a, struct str *out)
{
	size_t size = 0;

	for (unsigned i = 0; i < all->n; i++) {
		const struct pair *p = &all->at[i];

		size += 2 + (p->text.at ? p->text.len : p->name.len + 1 + p->value.len);
	}
	*out = (struct str){ arena_get(a, size), 0 };
	for (unsigned i = 0; i < all->n && out->at; i++) {
		const struct pair *p = &all->at[i];

		append(out, i > 0 ? STR("; ") : STR_NONE);
		append(out, p->text.at ? p->text : p->name);
		append(out, p->text.at ? STR_NONE : STR("="));
		append(out, p->text.at ? STR_NONE : p->value);
	}
	return out->at != NULL;
}

bool cookie_merge(const struct request *q, const struct response *p, bool https,
		  time_t now, struct arena *a, struct str *out)
{
	const struct header *h = headers_find(&p->fields, HEADER_SET_COOKIE);
	struct url u = whom(q);
	struct pairs all;
	bool any = false;

	if (!h || !pairs_make(&all, q, p, a))
		return false;
	for (; h; h = headers_next(&p->fields, HEADER_SET_COOKIE, h)) {
		struct set_cookie c;

		if (!set_cookie_parse(h->value, &c) || !matches(&c, &u, https))
			continue;
		any = true;
		pairs_set(&all, c.name, has_expired(&c, now) ? NULL : &c);
	}
	return any && pairs_join(&all, a, out);
}

struct str cookie_set_value(const struct response *p, struct str name)
{
	struct str found = STR_NONE;
	const struct header *h;
	struct set_cookie c;

	for (h = NULL; (h = headers_next(&p->fields, HEADER_SET_COOKIE, h));)
		if (set_cookie_parse(h->value, &c) && str_eq(c.name, name))
			found = c.value;
	return found;
}
