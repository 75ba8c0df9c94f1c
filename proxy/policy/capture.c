/* A 449 without a header says in its body what it misses; a supply rule knows
 * where. This room finds that place and nothing more: whether the value may
 * stand in a field is for challenge to say. It is no parser of its own: jansson
 * and PCRE2 do the work, inside limits that they are given here. */
#include "policy/capture.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
	DEPTH_MOST = 64,		/* of nested JSON, and of a pointer */
	MATCH_MOST = 200000,		/* steps of a match: some milliseconds */
	BACKTRACK_MOST = 10000,		/* frames on PCRE2's heap */
	MATCH_HEAP_KIB = 4096,
};

/* jansson recurses into nested values; its own limit is 2048 frames. */
static bool is_too_deep(struct str json)
{
	unsigned depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < json.len; i++) {
		char c = json.at[i];

		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '[' || c == '{') && ++depth > DEPTH_MOST)
			return true;
		else if (!quoted && (c == ']' || c == '}') && depth > 0)
			depth--;
	}
	return false;
}

/* ~0 is "~" and ~1 is "/"; any other escape is an error. */
static const char *token_plain(struct str token, struct arena *a)
{
	char *out = arena_get(a, token.len + 1);
	size_t n = 0;

	if (!out)
		return NULL;
	for (size_t i = 0; i < token.len; i++) {
		char c = token.at[i];

		if (c == '~') {
			char escape = ++i < token.len ? token.at[i] : '\0';

			if (escape != '0' && escape != '1')
				return NULL;
			c = escape == '0' ? '~' : '/';
		}
		out[n++] = c;
	}
	out[n] = '\0';
	return out;
}

static const json_t *member(const json_t *of, const char *token)
{
	uint64_t index;

	if (json_is_object(of))
		return json_object_get(of, token);
	if (!json_is_array(of) || (token[0] == '0' && token[1] != '\0') ||
	    !str_to_u64(str_of(token), &index))
		return NULL;
	return json_array_get(of, (size_t)index);
}

/* Takes the first token off a pointer that begins with a slash. */
static struct str next_token(struct str *pointer)
{
	struct str token = str_from(*pointer, 1), rest;

	if (!str_cut(token, '/', &token, &rest)) {
		*pointer = STR_NONE;
		return token;
	}
	*pointer = (struct str){ rest.at - 1, rest.len + 1 };
	return token;
}

static const json_t *walk(const json_t *at, struct str pointer, struct arena *a)
{
	for (unsigned depth = 0; at && pointer.len > 0; depth++) {
		const char *token;

		if (pointer.at[0] != '/' || depth == DEPTH_MOST)
			return NULL;
		token = token_plain(next_token(&pointer), a);
		at = token ? member(at, token) : NULL;
	}
	return at;
}

/* The fewest digits that read back as the same number. */
static struct str real_text(double value, struct arena *a)
{
	char text[40];

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	return arena_keep(a, str_of(text));
}

static struct str scalar_text(const json_t *value, struct arena *a)
{
	if (json_is_boolean(value))
		return json_is_true(value) ? STR("true") : STR("false");
	if (json_is_integer(value))
		return arena_print(a, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	if (json_is_real(value))
		return real_text(json_real_value(value), a);
	if (!json_is_string(value))
		return STR_NONE;
	if (json_string_length(value) == 0)
		return STR("");
	return arena_keep(a, (struct str){ json_string_value(value),
					   json_string_length(value) });
}

struct str capture_pointer(struct str body, struct str pointer, struct arena *a)
{
	struct str value;
	json_error_t error;
	json_t *all;

	/* ASP.NET writes a byte order mark; RFC 8259 8.1 lets us skip it. */
	if (str_starts(body, STR("\xef\xbb\xbf")))
		body = str_from(body, 3);
	if (body.len == 0 || is_too_deep(body))
		return STR_NONE;
	all = json_loadb(body.at, body.len, JSON_DECODE_ANY, &error);
	if (!all)
		return STR_NONE;
	value = scalar_text(walk(all, pointer, a), a);
	json_decref(all);
	return value;
}

static struct str group(struct str body, pcre2_match_data *found, int count)
{
	const PCRE2_SIZE *at = pcre2_get_ovector_pointer(found);
	int g = pcre2_get_ovector_count(found) > 1 ? 1 : 0;

	/* \K in a lookaround can put the end before the start. */
	if (count <= g || at[2 * g] == PCRE2_UNSET || at[2 * g + 1] < at[2 * g])
		return STR_NONE;
	return (struct str){ body.at + at[2 * g], at[2 * g + 1] - at[2 * g] };
}

struct str capture_regex(struct str body, const void *code)
{
	pcre2_match_context *limits = pcre2_match_context_create(NULL);
	pcre2_match_data *found = pcre2_match_data_create_from_pattern(code, NULL);
	struct str value = STR_NONE;
	int count;

	if (body.len == 0)
		body = STR("");
	if (limits && found) {
		pcre2_set_match_limit(limits, MATCH_MOST);
		pcre2_set_depth_limit(limits, BACKTRACK_MOST);
		pcre2_set_heap_limit(limits, MATCH_HEAP_KIB);
		count = pcre2_match(code, (PCRE2_SPTR)body.at, body.len, 0, 0, found, limits);
		value = group(body, found, count);
	}
	pcre2_match_data_free(found);
	pcre2_match_context_free(limits);
	return value;
}
