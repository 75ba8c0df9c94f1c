/* Certificates for tests, made on the spot: an authority, and a server that it
 * vouches for. To be included once, by the test's .c file. */
#ifndef TESTS_NET_CERTS_H
#define TESTS_NET_CERTS_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "net/tls.h"

static struct {
	char dir[32];
	char ca[64], cert[64], key[64];	/* files */
} certs;

static inline void certs_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

/* san NULL: an authority. by NULL: signs itself. */
static inline X509 *certs_make(EVP_PKEY *key, const char *cn, const char *san, X509 *by,
			       EVP_PKEY *by_key)
{
	static long serial = 1;
	X509 *x = X509_new();

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), -86400);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(by ? by : x));
	X509_set_pubkey(x, key);
	certs_extend(x, by ? by : x, NID_basic_constraints,
		     san ? "critical,CA:FALSE" : "critical,CA:TRUE");
	certs_extend(x, by ? by : x, NID_subject_key_identifier, "hash");
	if (san)
		certs_extend(x, by, NID_subject_alt_name, san);
	assert_true(X509_sign(x, by_key ? by_key : key, EVP_sha256()) > 0);
	return x;
}

static inline void certs_save(const char *file, X509 *x, EVP_PKEY *key)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	if (x)
		assert_int_equal(PEM_write_X509(f, x), 1);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(fclose(f), 0);
}

/* The time of the clock must be the real one while this is called. */
static inline void certs_open(const char *san)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *ca = certs_make(ca_key, "test authority", NULL, NULL, NULL);
	X509 *cert = certs_make(key, "test server", san, ca, ca_key);

	snprintf(certs.dir, sizeof(certs.dir), "/tmp/test-certs-XXXXXX");
	assert_non_null(mkdtemp(certs.dir));
	snprintf(certs.ca, sizeof(certs.ca), "%s/ca.pem", certs.dir);
	snprintf(certs.cert, sizeof(certs.cert), "%s/cert.pem", certs.dir);
	snprintf(certs.key, sizeof(certs.key), "%s/key.pem", certs.dir);
	certs_save(certs.ca, ca, NULL);
	certs_save(certs.cert, cert, NULL);
	certs_save(certs.key, NULL, key);
	X509_free(cert);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
}

static inline void certs_close(void)
{
	unlink(certs.ca);
	unlink(certs.cert);
	unlink(certs.key);
	rmdir(certs.dir);
}

static inline struct tls_ctx *certs_context(enum tls_role role)
{
	struct tls_options o = { .role = role, .alpn = "http/1.1" };
	struct tls_ctx *c;
	char why[256] = "";

	if (role == TLS_CLIENT)
		o.ca_file = certs.ca;
	else
		o.cert_file = certs.cert, o.key_file = certs.key;
	c = tls_ctx_new(&o, why, sizeof(why));
	if (!c)
		fail_msg("%s", why);
	return c;
}

#endif
