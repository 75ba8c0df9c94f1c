/* why: what must hold of every row. (P17) */
#include "ground/why.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* RFC 9209 2.3, the tokens that are registered. */
static const char *const tokens[] = {
	"", "dns_timeout", "dns_error", "destination_not_found", "destination_unavailable",
	"destination_ip_prohibited", "destination_ip_unroutable", "connection_refused",
	"connection_terminated", "connection_timeout", "connection_read_timeout",
	"connection_write_timeout", "connection_limit_reached", "tls_protocol_error",
	"tls_certificate_error", "tls_alert_received", "http_request_error",
	"http_request_denied", "http_response_incomplete",
	"http_response_header_section_size", "http_response_header_size",
	"http_response_body_size", "http_response_trailer_section_size",
	"http_response_trailer_size", "http_response_transfer_coding",
	"http_response_content_coding", "http_response_timeout", "http_upgrade_failed",
	"http_protocol_error", "proxy_internal_response", "proxy_internal_error",
	"proxy_configuration_error", "proxy_loop_detected",
};

static const char *const ids[] = {
#define ROW(name, status, token, text) #name,
	WHY_TABLE(ROW)
#undef ROW
};

static bool is_token(const char *s)
{
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		if (!strcmp(tokens[i], s))
			return true;
	return false;
}

/* R032 */
static void test_every_row(void **state)
{
	assert_int_equal(sizeof(ids) / sizeof(ids[0]), WHY_COUNT);
	assert_int_equal(WHY_DONE, 0);		/* zeroed memory means: nothing is wrong */
	for (unsigned i = 0; i < WHY_COUNT; i++) {
		enum why why = (enum why)i;
		uint16_t status = why_status(why);

		if (status != 0 && status != 200 && (status < 400 || status > 599))
			fail_msg("%s: status %u", ids[i], status);
		assert_int_not_equal(status, 421);	/* a server's word */
		if (!is_token(why_token(why)))
			fail_msg("%s: \"%s\" is not in RFC 9209", ids[i], why_token(why));
		/* whoever is told of an error is told its kind */
		if ((status >= 400) != (*why_token(why) != '\0'))
			fail_msg("%s: %u \"%s\"", ids[i], status, why_token(why));
		assert_true(strlen(why_text(why)) > 4);
		assert_null(strpbrk(why_text(why), "\"\r\n\\"));	/* goes into fields */
		assert_true(why_text(why)[strlen(why_text(why)) - 1] != '.');
	}
}

static void test_names(void **state)
{
	static const struct { enum why why; const char *name; } row[] = {
		{ WHY_DONE, "done" }, { WHY_BAD_LINE, "bad-line" },
		{ WHY_NOT_A_PROXY_REQUEST, "not-a-proxy-request" },
		{ WHY_RESPONSE_TRAILER_TOO_BIG, "response-trailer-too-big" },
		{ WHY_INTERNAL, "internal" },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		assert_string_equal(why_name(row[i].why), row[i].name);
	for (unsigned i = 0; i < WHY_COUNT; i++) {
		const char *name = why_name((enum why)i);

		/* whole, and a word for logs and metrics */
		assert_int_equal(strlen(name), strlen(ids[i]));
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(name, why_name((enum why)j));
	}
}

/* The status tells whose fault it was: theirs upstream is never a 4xx. */
static void test_classes(void **state)
{
	for (unsigned i = 0; i < WHY_COUNT; i++) {
		const char *token = why_token((enum why)i);
		uint16_t status = why_status((enum why)i);

		if (!strncmp(token, "dns_", 4) || !strncmp(token, "tls_", 4) ||
		    !strncmp(token, "http_response_", 14))
			assert_true(status == 502 || status == 504);
		if (strstr(token, "timeout"))
			assert_int_equal(status, 504);
		if (status == 504)
			assert_non_null(strstr(token, "timeout"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row), cmocka_unit_test(test_names),
		cmocka_unit_test(test_classes),
	};

	return cmocka_run_group_tests_name("why", tests, NULL, NULL);
}
