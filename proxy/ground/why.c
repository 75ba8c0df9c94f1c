/* why: the table, unfolded. */
#include "ground/why.h"

#include <assert.h>
#include <stddef.h>

static const struct row {
	uint16_t status;
	const char *token, *text;
} rows[] = {
#define ROW(name, status, token, text) [WHY_##name] = { status, token, text },
	WHY_TABLE(ROW)
#undef ROW
};

/* "BAD_LINE" becomes "bad-line" once, when the program is loaded. */
static char names[WHY_COUNT][32];

__attribute__((constructor)) static void spell_names(void)
{
	static const char *const ids[] = {
#define ROW(name, status, token, text) [WHY_##name] = #name,
		WHY_TABLE(ROW)
#undef ROW
	};

	for (size_t i = 0; i < WHY_COUNT; i++)
		for (size_t j = 0; ids[i][j] && j + 1 < sizeof names[i]; j++)
			names[i][j] = (char)(ids[i][j] == '_' ? '-' : ids[i][j] | 0x20);
}

uint16_t why_status(enum why why)
{
	assert(why < WHY_COUNT);
	return rows[why].status;
}

const char *why_token(enum why why)
{
	assert(why < WHY_COUNT);
	return rows[why].token;
}

const char *why_text(enum why why)
{
	assert(why < WHY_COUNT);
	return rows[why].text;
}

const char *why_name(enum why why)
{
	assert(why < WHY_COUNT);
	return names[why];
}
