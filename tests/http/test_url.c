/* Every form of a target, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "http/url.h"

static void assert_str(const char *of, const char *what, struct str s, const char *expect)
{
	if (!str_eq(s, str_of(expect)))
		fail_msg("%s of \"%s\": \"%.*s\" instead of \"%s\"", what, of, STR_FMT(s), expect);
}

static void test_good_targets(void **state)
{
	static const struct {
		const char *text;
		bool connect;
		enum url_form form;
		enum url_scheme scheme;
		const char *host;
		uint16_t port;
		const char *authority, *path;
	} good[] = {
		{ "/", false, URL_ORIGIN, SCHEME_NONE, "", 0, "", "/" },
		{ "/a?b=c", false, URL_ORIGIN, SCHEME_NONE, "", 0, "", "/a?b=c" },
		{ "//host/x", false, URL_ORIGIN, SCHEME_NONE, "", 0, "", "//host/x" },
		{ "/a%2f..\\^{|}`\"<>~", false, URL_ORIGIN, SCHEME_NONE, "", 0, "",
		  "/a%2f..\\^{|}`\"<>~" },
		{ "*", false, URL_ASTERISK, SCHEME_NONE, "", 0, "", "*" },
		{ "http://h", false, URL_ABSOLUTE, SCHEME_HTTP, "h", 80, "h", "" },
		{ "http://h?q", false, URL_ABSOLUTE, SCHEME_HTTP, "h", 80, "h", "?q" },
		{ "http://h/", false, URL_ABSOLUTE, SCHEME_HTTP, "h", 80, "h", "/" },
		{ "HtTp://H:81/X", false, URL_ABSOLUTE, SCHEME_HTTP, "H", 81, "H:81", "/X" },
		{ "https://a.b-c_d~e/", false, URL_ABSOLUTE, SCHEME_HTTPS, "a.b-c_d~e", 443,
		  "a.b-c_d~e", "/" },
		{ "http://h:/", false, URL_ABSOLUTE, SCHEME_HTTP, "h", 80, "h:", "/" },
		{ "http://h:65535", false, URL_ABSOLUTE, SCHEME_HTTP, "h", 65535, "h:65535", "" },
		{ "http://h:00080/", false, URL_ABSOLUTE, SCHEME_HTTP, "h", 80, "h:00080", "/" },
		{ "http://1.2.3.4/", false, URL_ABSOLUTE, SCHEME_HTTP, "1.2.3.4", 80,
		  "1.2.3.4", "/" },
		{ "http://h%41!$&'()*+;=/", false, URL_ABSOLUTE, SCHEME_HTTP,
		  "h%41!$&'()*+;=", 80, "h%41!$&'()*+;=", "/" },
		{ "http://[::1]/", false, URL_ABSOLUTE, SCHEME_HTTP, "::1", 80, "[::1]", "/" },
		{ "http://[::ffff:1.2.3.4]:8080?x", false, URL_ABSOLUTE, SCHEME_HTTP,
		  "::ffff:1.2.3.4", 8080, "[::ffff:1.2.3.4]:8080", "?x" },
		{ "http://h/a@b:c", false, URL_ABSOLUTE, SCHEME_HTTP, "h", 80, "h", "/a@b:c" },
		{ "h:443", true, URL_AUTHORITY, SCHEME_NONE, "h", 443, "h:443", "" },
		{ "[fe80::1]:22", true, URL_AUTHORITY, SCHEME_NONE, "fe80::1", 22,
		  "[fe80::1]:22", "" },
	};

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		const char *text = good[i].text;
		struct url url;
		enum why why = url_parse_target(str_of(text), good[i].connect, &url);

		if (why != WHY_DONE)
			fail_msg("\"%s\": %s", text, why_name(why));
		assert_int_equal(url.form, good[i].form);
		assert_int_equal(url.scheme, good[i].scheme);
		assert_int_equal(url.port, good[i].port);
		assert_str(text, "host", url.host, good[i].host);
		assert_str(text, "authority", url.authority, good[i].authority);
		assert_str(text, "path", url.path, good[i].path);
		assert_int_equal(url.literal6, good[i].authority[0] == '[');
	}
}

static void test_bad_targets(void **state)
{
	static const struct {
		struct str text;
		bool connect;
		enum why why;
	} bad[] = {
		{ STR(""), false, WHY_BAD_TARGET },
		{ STR("h"), false, WHY_BAD_TARGET },
		{ STR("h:80"), false, WHY_BAD_TARGET },
		{ STR("**"), false, WHY_BAD_TARGET },
		{ STR("?q"), false, WHY_BAD_TARGET },
		{ STR("/a#b"), false, WHY_BAD_TARGET },
		{ STR("/a b"), false, WHY_BAD_TARGET },
		{ STR("/a\tb"), false, WHY_BAD_TARGET },
		{ STR("/a\0b"), false, WHY_BAD_TARGET },
		{ STR("/a\x7f"), false, WHY_BAD_TARGET },
		{ STR("/caf\xe9"), false, WHY_BAD_TARGET },
		{ STR("http:/h/"), false, WHY_BAD_TARGET },
		{ STR("http:h/"), false, WHY_BAD_TARGET },
		{ STR("http://"), false, WHY_BAD_TARGET },
		{ STR("http:///x"), false, WHY_BAD_TARGET },
		{ STR("http://:80/"), false, WHY_BAD_TARGET },
		{ STR("http://?x"), false, WHY_BAD_TARGET },
		{ STR("http://u@h/"), false, WHY_BAD_TARGET },
		{ STR("http://u:p@h/"), false, WHY_BAD_TARGET },
		{ STR("http://u:80@h/"), false, WHY_BAD_TARGET },
		{ STR("http://h#f"), false, WHY_BAD_TARGET },
		{ STR("http://h/#f"), false, WHY_BAD_TARGET },
		{ STR("http://h\\@other/"), false, WHY_BAD_TARGET },
		{ STR("http://h:0/"), false, WHY_BAD_TARGET },
		{ STR("http://h:65536/"), false, WHY_BAD_TARGET },
		{ STR("http://h:65616/"), false, WHY_BAD_TARGET },
		{ STR("http://h:000080/"), false, WHY_BAD_TARGET },
		{ STR("http://h:4294967376/"), false, WHY_BAD_TARGET },
		{ STR("http://h:-80/"), false, WHY_BAD_TARGET },
		{ STR("http://h:80x/"), false, WHY_BAD_TARGET },
		{ STR("http://h:80:80/"), false, WHY_BAD_TARGET },
		{ STR("http://h%4/"), false, WHY_BAD_TARGET },
		{ STR("http://h,i/"), false, WHY_BAD_TARGET },
		{ STR("http://h%"), false, WHY_BAD_TARGET },
		{ STR("http://h%4"), false, WHY_BAD_TARGET },
		{ STR("http://h%zz/"), false, WHY_BAD_TARGET },
		{ STR("http://\xe9.example/"), false, WHY_BAD_TARGET },
		{ STR("http://[::1"), false, WHY_BAD_TARGET },
		{ STR("http://[]/"), false, WHY_BAD_TARGET },
		{ STR("http://[localhost]/"), false, WHY_BAD_TARGET },
		{ STR("http://[1.2.3.4]/"), false, WHY_BAD_TARGET },
		{ STR("http://[::1]x:80/"), false, WHY_BAD_TARGET },
		{ STR("http://[::1%25eth0]/"), false, WHY_BAD_TARGET },
		{ STR("http://[::1\0]/"), false, WHY_BAD_TARGET },
		{ STR("http://[v1.x]/"), false, WHY_BAD_TARGET },
		{ STR("http://[1:2:3:4:5:6:7:8:9]/"), false, WHY_BAD_TARGET },
		{ STR("http://::1/"), false, WHY_BAD_TARGET },
		{ STR("ftp://h/"), false, WHY_BAD_SCHEME },
		{ STR("httpx://h/"), false, WHY_BAD_SCHEME },
		{ STR("ws+x.y-1://h/"), false, WHY_BAD_SCHEME },
		{ STR("1http://h/"), false, WHY_BAD_TARGET },
		{ STR("://h/"), false, WHY_BAD_TARGET },
		{ STR("mailto:a@b"), false, WHY_BAD_TARGET },
		{ STR(""), true, WHY_BAD_TARGET },
		{ STR("h"), true, WHY_NO_PORT },
		{ STR("h:"), true, WHY_NO_PORT },
		{ STR("[::1]"), true, WHY_NO_PORT },
		{ STR("h:0"), true, WHY_BAD_TARGET },
		{ STR(":443"), true, WHY_BAD_TARGET },
		{ STR("h:443/"), true, WHY_BAD_TARGET },
		{ STR("u@h:443"), true, WHY_BAD_TARGET },
		{ STR("http://h:443"), true, WHY_BAD_TARGET },
		{ STR("*"), true, WHY_NO_PORT },
		{ STR("/"), true, WHY_BAD_TARGET },
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		size_t len = bad[i].text.len;
		char *at = malloc(len + !len);	/* a sanitizer sees a read too far */
		struct url url;
		enum why why;

		assert_non_null(at);
		memcpy(at, bad[i].text.at, len);
		why = url_parse_target((struct str){ at, len }, bad[i].connect, &url);
		free(at);
		if (why != bad[i].why)
			fail_msg("\"%.*s\": %s instead of %s", STR_FMT(bad[i].text),
				 why_name(why), why_name(bad[i].why));
	}
}

static void test_host_length(void **state)
{
	static char text[300];
	struct url url;

	memset(text, 'a', sizeof text);
	assert_true(url_parse_authority((struct str){ text, 255 }, SCHEME_HTTP, &url));
	assert_int_equal(url.host.len, 255);
	assert_false(url_parse_authority((struct str){ text, 256 }, SCHEME_HTTP, &url));
}

static void test_authorities(void **state)
{
	static const struct { const char *text; bool good; uint16_t port; } host[] = {
		{ "", true, 443 }, { "h", true, 443 }, { "h:", true, 443 }, { "h:1", true, 1 },
		{ "[::]", true, 443 }, { "[::]:5", true, 5 },
		{ "a b", false, 0 }, { "u@a", false, 0 }, { "[::1", false, 0 }, { "a/", false, 0 },
		{ "http://a", false, 0 }, { "a#b", false, 0 }, { "a\\b", false, 0 },
		{ "a?b", false, 0 }, { "a,b", false, 0 }, { ":80", false, 0 }, { " a", false, 0 },
		{ "a:b", false, 0 }, { "a:1 ", false, 0 },
	};

	for (size_t i = 0; i < sizeof host / sizeof host[0]; i++) {
		struct url url;
		bool good = url_parse_authority(str_of(host[i].text), SCHEME_HTTPS, &url);

		if (good != host[i].good || (good && url.port != host[i].port))
			fail_msg("\"%s\": %d, port %u", host[i].text, good, url.port);
	}
}

/* Which octets may stand where, one by one. */
static void test_octets(void **state)
{
	for (unsigned c = 0; c < 256; c++) {
		char path[] = { '/', (char)c }, host[] = { 'h', (char)c };
		struct url url;
		bool in_path = c > 0x20 && c < 0x7f && c != '#';
		bool in_host = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
			       (c >= 'a' && c <= 'z') ||
			       (c && strchr("-._~!$&'()*+;=", (int)c)) || c == ':';

		assert_int_equal(url_parse_target((struct str){ path, 2 }, false, &url),
				 in_path ? WHY_DONE : WHY_BAD_TARGET);
		assert_int_equal(url_parse_authority((struct str){ host, 2 }, SCHEME_HTTP, &url),
				 in_host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_targets),
		cmocka_unit_test(test_bad_targets),
		cmocka_unit_test(test_host_length),
		cmocka_unit_test(test_authorities),
		cmocka_unit_test(test_octets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
