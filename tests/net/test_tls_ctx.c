/* tls_ctx: which certificates, versions and sessions are good enough. Over socket
 * pairs, with certificates made here. (P10) */
#include "net/tls_ctx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pair.h"

static void test_certificates(void **state)
{
	static const struct {
		struct spec spec;
		const struct identity *by;
		const char *name, *words;	/* words NULL: accepted */
	} row[] = {
		{ { .cn = "x", .san = "DNS:good.test" }, &root, "good.test", NULL },
		{ { .cn = "x", .san = "DNS:good.test" }, &root, "GOOD.Test", NULL },
		{ { .cn = "x", .san = "DNS:good.test" }, &root, "good.test.", NULL },
		{ { .cn = "x", .san = "DNS:a.test,DNS:good.test" }, &root, "good.test", NULL },
		{ { .cn = "x", .san = "DNS:*.good.test" }, &root, "a.good.test", NULL },
		{ { .cn = "x", .san = "IP:127.0.0.1" }, &root, "127.0.0.1", NULL },
		{ { .cn = "x", .san = "IP:::1" }, &root, "::1", NULL },
		{ { .cn = "x", .san = "DNS:good.test", .eku = "serverAuth" }, &root, "good.test", NULL },
		{ { .cn = "x", .san = "DNS:good.test" }, &root, "other.test",
		  "hostname mismatch: the certificate is for good.test" },
		{ { .cn = "x", .san = "DNS:*.good.test" }, &root, "a.b.good.test", "is for *.good.test" },
		{ { .cn = "x", .san = "DNS:*.good.test" }, &root, "good.test", "mismatch" },
		{ { .cn = "x", .san = "DNS:*.test" }, &root, "good.test", "mismatch" },
		{ { .cn = "x", .san = "DNS:*" }, &root, "good.test", "mismatch" },
		{ { .cn = "x", .san = "DNS:g*.good.test" }, &root, "ga.good.test", "mismatch" },
		{ { .cn = "x", .san = "DNS:*a.good.test" }, &root, "ga.good.test", "mismatch" },
		{ { .cn = "x", .san = "NUL" }, &root, "good.test", "mismatch" },
		{ { .cn = "good.test" }, &root, "good.test", "names no host" },
		{ { .cn = "good.test", .san = "DNS:other.test" }, &root, "good.test", "mismatch" },
		{ { .cn = "x", .san = "DNS:127.0.0.1" }, &root, "127.0.0.1", "IP address mismatch" },
		{ { .cn = "x", .san = "IP:127.0.0.2" }, &root, "127.0.0.1", "IP address mismatch" },
		{ { .cn = "x", .san = "DNS:good.test", .from = -2 * DAY, .to = -DAY }, &root,
		  "good.test", "certificate has expired" },
		{ { .cn = "x", .san = "DNS:good.test", .from = DAY, .to = 2 * DAY }, &root,
		  "good.test", "certificate is not yet valid" },
		{ { .cn = "x", .san = "DNS:good.test" }, &stranger, "good.test",
		  "unable to get local issuer certificate" },
		{ { .cn = "x", .san = "DNS:good.test" }, NULL, "good.test", "self-signed certificate" },
		{ { .cn = "x", .san = "DNS:good.test", .eku = "clientAuth" }, &root, "good.test",
		  "unsuitable certificate purpose" },
		{ { .cn = "x", .san = "DNS:good.test", .rsa1024 = true }, &root, "good.test",
		  "key too weak" },
		{ { .cn = "x", .san = "DNS:good.test", .sha1 = true }, &root, "good.test",
		  "too weak" },
	};
	struct tls_ctx *ours = client_context();

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct identity who = make(&row[i].spec, row[i].by);
		SSL_CTX *theirs = their_context(&who);
		struct pair p;
		enum io io;

		pair_open(&p, ours, theirs, row[i].name, 0);
		io = shake(&p);
		if ((io == IO_DONE) != (row[i].words == NULL))
			fail_msg("row %zu: %d %s", i, io, tls_detail(p.ours));
		if (row[i].words) {
			struct iovec v = { "x", 1 };
			size_t put;

			assert_int_equal(io, IO_FAILED);
			check_refusal(&p, WHY_TLS_CERTIFICATE, row[i].words);
			assert_int_equal(tls_handshake(p.ours), IO_FAILED);
			assert_int_equal(tls_write(p.ours, &v, 1, &put), IO_FAILED);
			assert_int_equal(tls_shut(p.ours), IO_DONE);
		}
		pair_close(&p);
		SSL_CTX_free(theirs);
		unmake(&who);
	}
	tls_ctx_free(ours);
}

static void test_revoked(void **state)
{
	struct identity bad = make(&(struct spec){ .cn = "x", .san = "DNS:good.test" }, &root);
	X509_CRL *crl = X509_CRL_new();
	X509_REVOKED *r = X509_REVOKED_new();
	ASN1_TIME *now = X509_gmtime_adj(NULL, -60), *then = X509_gmtime_adj(NULL, DAY);
	char file[64];
	FILE *f = fopen(path(file, "crl.pem"), "w");
	struct tls_options o = { .role = TLS_CLIENT, .ca_file = root_file, .crl_file = file };
	struct tls_ctx *ours;

	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(root.cert));
	X509_CRL_set1_lastUpdate(crl, now);
	X509_CRL_set1_nextUpdate(crl, then);
	X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(bad.cert));
	X509_REVOKED_set_revocationDate(r, now);
	X509_CRL_add0_revoked(crl, r);
	assert_true(X509_CRL_sign(crl, root.key, EVP_sha256()) > 0);
	PEM_write_X509_CRL(f, crl);
	fclose(f);
	ours = context(&o);
	for (int i = 0; i < 2; i++) {
		SSL_CTX *theirs = their_context(i ? &bad : &good);
		struct pair p;

		pair_open(&p, ours, theirs, "good.test", 0);
		assert_int_equal(shake(&p), i ? IO_FAILED : IO_DONE);
		if (i)
			check_refusal(&p, WHY_TLS_CERTIFICATE, "certificate revoked");
		pair_close(&p);
		SSL_CTX_free(theirs);
	}
	tls_ctx_free(ours);
	X509_CRL_free(crl);
	ASN1_TIME_free(now);
	ASN1_TIME_free(then);
	unmake(&bad);
	unlink(file);
}

/* Expired, signed by itself and for another name: but the one that was pinned. */
static void test_pinned(void **state)
{
	struct spec spec = { .cn = "x", .san = "DNS:other.test", .from = -2 * DAY, .to = -DAY };
	struct identity who = make(&spec, NULL);
	unsigned char digest[32];
	char hex[65];
	SSL_CTX *theirs = their_context(&who);

	X509_digest(who.cert, EVP_sha256(), digest, NULL);
	for (int i = 0; i < 32; i++)
		sprintf(hex + 2 * i, "%02x", digest[i]);
	for (int i = 0; i < 2; i++) {
		struct tls_options o = { .role = TLS_CLIENT, .pinned_sha256 = hex };
		struct tls_ctx *ours = context(&o);
		struct pair p;

		pair_open(&p, ours, theirs, "good.test", 0);
		assert_int_equal(shake(&p), i ? IO_FAILED : IO_DONE);
		if (i)
			check_refusal(&p, WHY_TLS_CERTIFICATE, "not the pinned one");
		pair_close(&p);
		tls_ctx_free(ours);
		hex[0] = hex[0] == '0' ? '1' : '0';
	}
	SSL_CTX_free(theirs);
	unmake(&who);
}

static void test_old_versions(void **state)
{
	static const struct { int min, max; bool fine; } row[] = {
		{ TLS1_VERSION, TLS1_1_VERSION, false },
		{ TLS1_2_VERSION, TLS1_2_VERSION, true },
		{ TLS1_3_VERSION, TLS1_3_VERSION, true },
	};
	struct tls_ctx *ours = client_context();

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		SSL_CTX *theirs = their_context(&good);
		struct pair p;

		SSL_CTX_set_min_proto_version(theirs, row[i].min);
		SSL_CTX_set_max_proto_version(theirs, row[i].max);
		pair_open(&p, ours, theirs, "good.test", 0);
		assert_int_equal(shake(&p), row[i].fine ? IO_DONE : IO_FAILED);
		if (!row[i].fine)
			check_refusal(&p, WHY_TLS_ALERT, "protocol version");
		pair_close(&p);
		SSL_CTX_free(theirs);
	}
	tls_ctx_free(ours);
}

static bool resumes(struct tls_ctx *ours, SSL_CTX *theirs, const char *name)
{
	struct pair p;
	char room[10];
	size_t got;
	bool yes;

	pair_open(&p, ours, theirs, name, 0);
	shake_well(&p);
	listen_to(&p, room, sizeof(room), &got);	/* tickets */
	yes = tls_was_resumed(p.ours);
	assert_int_equal(yes, SSL_session_reused(p.theirs));
	pair_close(&p);
	return yes;
}

static void test_resumption(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct identity both = make(&(struct spec){ .cn = "x", .san = "DNS:good.test,DNS:*.b.test" },
				    &root);
	char name[32];

	for (int i = 0; i < 2; i++) {
		struct tls_ctx *ours = client_context(), *other = client_context();
		SSL_CTX *theirs = their_context(&both);

		SSL_CTX_set_max_proto_version(theirs, versions[i]);
		assert_false(resumes(ours, theirs, "good.test"));
		for (int k = 0; k < 5; k++)
			assert_true(resumes(ours, theirs, "good.test"));
		assert_true(resumes(ours, theirs, "GOOD.test"));
		assert_false(resumes(other, theirs, "good.test"));
		/* More names than there are places to remember them. */
		for (int k = 0; k < 100; k++) {
			snprintf(name, sizeof(name), "n%d.b.test", k);
			assert_false(resumes(ours, theirs, name));
		}
		SSL_CTX_free(theirs);
		tls_ctx_free(ours);
		tls_ctx_free(other);
	}
	unmake(&both);
}

static enum io shake_two(struct tls *a, struct tls *b, enum io *of_b)
{
	enum io io = IO_WANT_READ;

	*of_b = IO_WANT_READ;
	for (int i = 0; i < 100 && (waits(io) || waits(*of_b)); i++) {
		if (waits(io))
			io = tls_handshake(a);
		if (waits(*of_b))
			*of_b = tls_handshake(b);
	}
	return io;
}

static void test_our_server(void **state)
{
	static const struct { const char *alpn; bool fine; } row[] = {
		{ "http/1.1", true }, { NULL, true }, { "h2", false }, { "http/1.0", true },
		{ "h2,http/1.0", true }, { "http/1.0,http/1.1", true }, { "http/1", false },
	};
	char cert[64], key[64];
	struct tls_options s = { .role = TLS_SERVER, .cert_file = path(cert, "c.pem"),
				 .key_file = path(key, "k.pem"),
				 .alpn = "http/1.1,http/1.0" };
	struct tls_ctx *server;

	save(&good, cert, key);
	server = context(&s);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct tls_options o = { .role = TLS_CLIENT, .ca_file = root_file,
					 .alpn = row[i].alpn };
		struct tls_ctx *client = context(&o);
		int fd[2];
		struct tls *a, *b;
		enum io of_b;

		connect_fds(fd, 0);
		a = tls_new(client, fd[0], STR("good.test"));
		b = tls_new(server, fd[1], STR_NONE);
		assert_int_equal(shake_two(a, b, &of_b), row[i].fine ? IO_DONE : IO_FAILED);
		assert_int_equal(of_b, row[i].fine ? IO_DONE : IO_FAILED);
		if (!row[i].fine)
			assert_string_equal(tls_detail(a), "no application protocol");
		tls_free(a);
		tls_free(b);
		close(fd[0]);
		close(fd[1]);
		tls_ctx_free(client);
	}
	tls_ctx_free(server);
	unlink(cert);
	unlink(key);
}

static void test_client_certificate(void **state)
{
	char cert[64], key[64];
	struct tls_options o = { .role = TLS_CLIENT, .ca_file = root_file,
				 .cert_file = path(cert, "c.pem"), .key_file = path(key, "k.pem") };
	SSL_CTX *theirs = their_context(&good);

	save(&good, cert, key);
	SSL_CTX_load_verify_file(theirs, root_file);
	SSL_CTX_set_verify(theirs, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_max_proto_version(theirs, TLS1_2_VERSION);
	for (int i = 0; i < 2; i++) {
		struct tls_ctx *ours = i ? client_context() : context(&o);
		struct pair p;

		pair_open(&p, ours, theirs, "good.test", 0);
		assert_int_equal(shake(&p), i ? IO_FAILED : IO_DONE);
		if (i)
			check_refusal(&p, WHY_TLS_ALERT, "handshake failure");
		pair_close(&p);
		tls_ctx_free(ours);
	}
	SSL_CTX_free(theirs);
	unlink(cert);
	unlink(key);
}

static void test_unusable_files(void **state)
{
	char cert[64], key[64], junk[64], why[256];
	FILE *f;
	struct tls_options row[] = {
		{ .role = TLS_CLIENT, .ca_file = "/nonexistent/ca.pem" },
		{ .role = TLS_CLIENT, .ca_file = path(junk, "junk.pem") },
		{ .role = TLS_CLIENT, .ca_file = root_file, .crl_file = junk },
		{ .role = TLS_CLIENT, .ca_file = root_file, .cert_file = junk },
		{ .role = TLS_SERVER, .cert_file = path(cert, "c.pem"), .key_file = junk },
		{ .role = TLS_SERVER, .cert_file = cert, .key_file = path(key, "k.pem") },
		{ .role = TLS_SERVER },
		{ .role = TLS_CLIENT, .pinned_sha256 = "00" },
		{ .role = TLS_CLIENT, .pinned_sha256 = "junk" },
	};
	static const char *words[] = { "ca.pem", "junk.pem", "junk.pem", "junk.pem", "junk.pem",
				       "k.pem", "no certificate", "pinned", "pinned" };

	save(&good, cert, NULL);
	f = fopen(junk, "w");
	fputs("no certificate at all\n", f);
	fclose(f);
	f = fopen(key, "w");		/* encrypted: must not ask anybody */
	PEM_write_PrivateKey(f, good.key, EVP_aes_128_cbc(), (const unsigned char *)"pw", 2,
			     NULL, NULL);
	fclose(f);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		why[0] = '\0';
		assert_null(tls_ctx_new(&row[i], why, sizeof(why)));
		if (!strstr(why, words[i]))
			fail_msg("row %zu: \"%s\"", i, why);
	}
	unlink(cert);
	unlink(key);
	unlink(junk);
}

static void test_no_name(void **state)
{
	struct tls_ctx *ours = client_context();

	assert_null(tls_new(ours, 0, STR_NONE));
	assert_null(tls_new(ours, 0, STR(".")));
	assert_null(tls_new(ours, 0, ((struct str){ "good.test\0x", 11 })));
	tls_ctx_free(ours);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_revoked),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_old_versions),
		cmocka_unit_test(test_resumption),
		cmocka_unit_test(test_our_server),
		cmocka_unit_test(test_client_certificate),
		cmocka_unit_test(test_unusable_files),
		cmocka_unit_test(test_no_name),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
