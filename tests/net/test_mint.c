/* mint, signer, authority: leaves as a client sees them, by way of the real
 * signing process, which is this program run anew. */
#include "net/mint.h"

#include <sys/stat.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "ground/buf.h"
#include "ground/clock.h"
#include "net/authority.h"
#include "net/signer.h"

static char dir[] = "/tmp/test-mint-XXXXXX";
static char cert_file[64], key_file[64], why[256];
static struct event_base *base;

static const char *path(char room[64], const char *name)
{
	snprintf(room, 64, "%s/%s", dir, name);
	return room;
}

static struct authority_options options(void)
{
	return (struct authority_options){ .cert_file = path(cert_file, "ca.pem"),
					   .key_file = path(key_file, "ca.key") };
}

static void make(struct authority_options o)
{
	unlink(o.cert_file);
	unlink(o.key_file);
	if (!authority_make(&o, why, sizeof(why)))
		fail_msg("%s", why);
}

static X509 *read_cert(const char *file)
{
	FILE *f = fopen(file, "r");
	X509 *x = PEM_read_X509(f, NULL, NULL, NULL);

	fclose(f);
	assert_non_null(x);
	return x;
}

/* What a strict client says of a leaf: X509_V_OK, or why not. */
static int verify(X509 *ca, X509 *leaf, const char *host)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *c = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *p;
	int error;

	X509_STORE_add_cert(store, ca);
	X509_STORE_CTX_init(c, store, leaf, NULL);
	p = X509_STORE_CTX_get0_param(c);
	X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_X509_STRICT);
	X509_VERIFY_PARAM_set_purpose(p, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (X509_VERIFY_PARAM_set1_ip_asc(p, host) != 1)
		X509_VERIFY_PARAM_set1_host(p, host, 0);
	X509_verify_cert(c);
	error = X509_STORE_CTX_get_error(c);
	X509_STORE_CTX_free(c);
	X509_STORE_free(store);
	return error;
}

/* -- the authority ------------------------------------------------------------------ */

static void test_new_authority(void **state)
{
	struct authority_options o = options();
	struct stat st;
	X509 *x;

	make(o);
	assert_int_equal(stat(key_file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_false(authority_make(&o, why, sizeof(why)));
	assert_non_null(strstr(why, "ca.key: it exists"));
	unlink(key_file);
	assert_false(authority_make(&o, why, sizeof(why)));
	assert_non_null(strstr(why, "ca.pem: it exists"));
	assert_int_equal(access(key_file, F_OK), -1);	/* both or neither */
	x = read_cert(cert_file);
	assert_int_equal(X509_check_ca(x), 1);
	assert_int_equal(X509_get_pathlen(x), 0);
	assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(x)), 256);
	X509_free(x);
}

static void test_leaf(void **state)
{
	static const struct { const char *host; int type; } row[] = {
		{ "orders.corp.example", GEN_DNS }, { "192.0.2.7", GEN_IPADD },
		{ "2001:db8::1", GEN_IPADD }, { "under_score.example", GEN_DNS },
		{ "a-very-long-label-that-fills-the-common-name-of-a-certificate.and.more.example",
		  GEN_DNS },
	};
	struct authority *a;
	EVP_PKEY *key = EVP_EC_gen("P-256"), *rsa = EVP_RSA_gen(2048);
	X509 *ca;

	make(options());
	ca = read_cert(cert_file);
	a = authority_open(cert_file, key_file, STR_NONE, why, sizeof(why));
	assert_non_null(a);
	for (size_t i = 0; i < 2 * sizeof(row) / sizeof(*row); i++) {
		const char *host = row[i / 2].host;
		X509 *x = authority_sign(a, str_of(host), i % 2 ? rsa : key);
		GENERAL_NAMES *names;
		int days, seconds;

		assert_non_null(x);
		assert_int_equal(verify(ca, x, host), X509_V_OK);
		assert_int_not_equal(verify(ca, x, "other.example"), X509_V_OK);
		names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
		assert_int_equal(sk_GENERAL_NAME_num(names), 1);
		assert_int_equal(sk_GENERAL_NAME_value(names, 0)->type, row[i / 2].type);
		GENERAL_NAMES_free(names);
		ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x));
		assert_in_range(days, LEAF_DAYS - 1, LEAF_DAYS);
		ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(x), NULL);
		assert_int_equal(days, 0);
		assert_in_range(seconds, LEAF_EARLY_S, LEAF_EARLY_S + 60);
		assert_in_range(ASN1_STRING_length(X509_get0_serialNumber(x)), 12, 16);
		X509_free(x);
	}
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(rsa);
	authority_close(a);
}

static void test_hosts_that_are_none(void **state)
{
	static const char *const row[] = { "", "a b", "a,DNS:b", "x\nDNS:y", "a/b", "*" };
	struct authority *a;
	EVP_PKEY *key = EVP_EC_gen("P-256");

	make(options());
	a = authority_open(cert_file, key_file, STR_NONE, why, sizeof(why));
	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
		assert_null(authority_sign(a, str_of(row[i]), key));
	assert_null(authority_sign(a, (struct str){ "a\0b", 3 }, key));
	EVP_PKEY_free(key);
	authority_close(a);
}

static void test_constraints(void **state)
{
	static const struct { const char *permit[2], *host; bool fine; } row[] = {
		{ { "corp.example" }, "corp.example", true },
		{ { "corp.example" }, "a.b.corp.example", true },
		{ { "*.corp.example" }, "a.corp.example", true },
		{ { "corp.example" }, "notcorp.example", false },
		{ { "corp.example" }, "bank.example", false },
		{ { "corp.example" }, "192.0.2.7", false },
		{ { "corp.example" }, "2001:db8::1", false },
		{ { "10.0.0.0/8" }, "10.1.2.3", true },
		{ { "10.0.0.0/8" }, "11.1.2.3", false },
		{ { "10.0.0.0/8" }, "2001:db8::1", false },
		{ { "10.0.0.0/8" }, "corp.example", false },
		{ { "fd00::/8", "corp.example" }, "fd00::1", true },
		{ { "fd00::/8", "corp.example" }, "a.corp.example", true },
		{ { "192.0.2.7" }, "192.0.2.7", true },
		{ { "192.0.2.7" }, "192.0.2.8", false },
	};
	EVP_PKEY *key = EVP_EC_gen("P-256");

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		struct authority_options o = options();
		struct str permit[2] = { str_of(row[i].permit[0]), str_of(row[i].permit[1]) };
		struct authority *a;
		X509 *ca, *leaf;

		o.permit = permit;
		o.permit_n = row[i].permit[1] ? 2 : 1;
		make(o);
		a = authority_open(cert_file, key_file, STR_NONE, why, sizeof(why));
		ca = read_cert(cert_file);
		leaf = authority_sign(a, str_of(row[i].host), key);
		assert_non_null(leaf);
		if ((verify(ca, leaf, row[i].host) == X509_V_OK) != row[i].fine)
			fail_msg("row %zu: %s", i, row[i].host);
		X509_free(leaf);
		X509_free(ca);
		authority_close(a);
	}
	EVP_PKEY_free(key);
}

static void test_bad_permits(void **state)
{
	static const char *const row[] = { "", "a b", "10.0.0.0/33", "a,permitted;DNS:b", "a:b" };

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		struct authority_options o = options();
		struct str permit = str_of(row[i]);

		unlink(o.cert_file);
		unlink(o.key_file);
		o.permit = &permit;
		o.permit_n = 1;
		if (authority_make(&o, why, sizeof(why)))
			fail_msg("row %zu", i);
		assert_int_equal(access(o.key_file, F_OK), -1);
	}
}

static void encrypt_key(const char *pass)
{
	FILE *f = fopen(key_file, "r");
	EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);

	fclose(f);
	f = fopen(key_file, "w");
	PEM_write_PKCS8PrivateKey(f, key, EVP_aes_256_cbc(), pass, (int)strlen(pass), NULL, NULL);
	fclose(f);
	EVP_PKEY_free(key);
}

static void test_encrypted_key(void **state)
{
	struct authority *a;

	make(options());
	encrypt_key("open sesame");
	assert_null(authority_open(cert_file, key_file, STR_NONE, why, sizeof(why)));
	assert_non_null(strstr(why, "encrypted"));
	assert_null(authority_open(cert_file, key_file, STR("no"), why, sizeof(why)));
	assert_non_null(strstr(why, "passphrase"));
	a = authority_open(cert_file, key_file, STR("open sesame"), why, sizeof(why));
	assert_non_null(a);
	authority_close(a);
}

static void test_unusable_authorities(void **state)
{
	char other[64], leaf_file[64];
	struct authority_options o = options();
	struct authority *a;
	EVP_PKEY *key;
	X509 *leaf;
	FILE *f;

	make(o);
	assert_null(authority_open(path(other, "none"), key_file, STR_NONE, why, sizeof(why)));
	assert_non_null(strstr(why, "none: No such file"));
	assert_null(authority_open(cert_file, cert_file, STR_NONE, why, sizeof(why)));
	assert_non_null(strstr(why, "no PEM private key"));
	assert_null(authority_open(key_file, key_file, STR_NONE, why, sizeof(why)));
	assert_non_null(strstr(why, "no PEM certificate"));
	a = authority_open(cert_file, key_file, STR_NONE, why, sizeof(why));
	key = EVP_EC_gen("P-256");
	leaf = authority_sign(a, STR("x.example"), key);
	f = fopen(path(leaf_file, "leaf.pem"), "w");
	PEM_write_X509(f, leaf);
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	assert_null(authority_open(leaf_file, leaf_file, STR_NONE, why, sizeof(why)));
	assert_non_null(strstr(why, "may not sign"));
	assert_null(authority_open(cert_file, leaf_file, STR_NONE, why, sizeof(why)));
	assert_non_null(strstr(why, "of another certificate"));
	unlink(leaf_file);
	X509_free(leaf);
	EVP_PKEY_free(key);
	authority_close(a);
}

/* -- signing process and mint --------------------------------------------------------- */

static struct signer *start(unsigned workers)
{
	struct signer_options o = { cert_file, key_file, STR_NONE, workers };
	struct signer *s;

	make(options());
	s = signer_start(&o, why, sizeof(why));
	if (!s)
		fail_msg("%s", why);
	return s;
}

struct catch {
	unsigned told;
	struct tls_identity *identity;
};

static void caught(void *owner, struct tls_identity *identity)
{
	struct catch *c = owner;

	c->told++;
	c->identity = identity;
}

static void turn_until(const struct catch *c, unsigned told)
{
	for (int i = 0; i < 10000 && c->told < told; i++)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(c->told, told);
}

static void test_mint(void **state)
{
	struct signer *s = start(1);
	struct mint *m = mint_new(base, s, 0, 8);
	struct catch c = { 0, NULL };
	struct tls_identity *kept;
	struct mint_counts n;
	X509 *ca = read_cert(cert_file);

	assert_null(mint_know(m, STR("a.example")));
	for (int i = 0; i < 3; i++)		/* three clients, one signature */
		assert_non_null(mint_ask(m, STR("a.example"), caught, &c));
	assert_int_equal(c.told, 0);
	turn_until(&c, 3);
	assert_non_null(c.identity);
	assert_int_equal(verify(ca, c.identity->cert[0], "a.example"), X509_V_OK);
	assert_int_equal(verify(ca, c.identity->cert[1], "a.example"), X509_V_OK);
	assert_true(EVP_PKEY_is_a(c.identity->key[0], "EC"));
	assert_true(EVP_PKEY_is_a(c.identity->key[1], "RSA"));
	assert_int_equal(X509_check_private_key(c.identity->cert[1], c.identity->key[1]), 1);
	kept = mint_know(m, STR("A.Example"));
	assert_ptr_equal(kept, c.identity);
	mint_count(m, &n);
	assert_int_equal(n.kept, 1);
	assert_int_equal(n.asked, 3);
	X509_free(ca);
	mint_free(m);
	signer_stop(s);
}

static void test_bounded(void **state)
{
	struct signer *s = start(1);
	struct mint *m = mint_new(base, s, 0, 8);
	struct catch c = { 0, NULL };
	struct mint_counts n;
	char host[32];

	for (unsigned i = 0; i < 100; i++) {	/* more than are asked for at a time */
		snprintf(host, sizeof(host), "h%u.example", i);
		assert_non_null(mint_ask(m, str_of(host), caught, &c));
	}
	turn_until(&c, 100);
	mint_count(m, &n);
	assert_int_equal(n.kept, 8);
	assert_int_equal(n.failed, 0);
	assert_null(mint_know(m, STR("h91.example")));
	assert_non_null(mint_know(m, STR("h92.example")));	/* now the newest */
	assert_non_null(mint_ask(m, STR("new.example"), caught, &c));
	turn_until(&c, 101);
	assert_non_null(mint_know(m, STR("h92.example")));
	assert_null(mint_know(m, STR("h93.example")));
	mint_free(m);
	signer_stop(s);
}

static void test_held_while_dropped(void **state)
{
	struct signer *s = start(1);
	struct mint *m = mint_new(base, s, 0, 1);
	struct catch c = { 0, NULL };
	struct tls_identity *held;

	mint_ask(m, STR("a.example"), caught, &c);
	turn_until(&c, 1);
	held = tls_identity_hold(c.identity);
	mint_ask(m, STR("b.example"), caught, &c);
	turn_until(&c, 2);
	assert_null(mint_know(m, STR("a.example")));
	assert_int_equal(X509_check_host(held->cert[0], "a.example", 0, 0, NULL), 1);
	mint_free(m);
	tls_identity_release(held);
	signer_stop(s);
}

static void test_nobody_waits_any_more(void **state)
{
	struct signer *s = start(1);
	struct mint *m = mint_new(base, s, 0, 8);
	struct catch c = { 0, NULL }, other = { 0, NULL };
	struct minting *g = mint_ask(m, STR("a.example"), caught, &c);

	mint_ask(m, STR("a.example"), caught, &other);
	minting_cancel(g);
	turn_until(&other, 1);
	assert_int_equal(c.told, 0);
	mint_free(m);
	signer_stop(s);
}

static void test_unsignable(void **state)
{
	struct signer *s = start(1);
	struct mint *m = mint_new(base, s, 0, 8);
	struct catch c = { 0, NULL };
	char long_host[300];

	assert_non_null(mint_ask(m, STR("a b"), caught, &c));
	turn_until(&c, 1);
	assert_null(c.identity);
	memset(long_host, 'a', sizeof(long_host));
	assert_null(mint_ask(m, (struct str){ long_host, sizeof(long_host) }, caught, &c));
	assert_non_null(mint_ask(m, STR("fine.example"), caught, &c));
	turn_until(&c, 2);
	assert_non_null(c.identity);
	mint_free(m);
	signer_stop(s);
}

static pid_t child_of_ours(void)
{
	char name[64], line[64] = "";
	FILE *f;

	snprintf(name, sizeof(name), "/proc/self/task/%d/children", getpid());
	f = fopen(name, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	fclose(f);
	return (pid_t)atoi(line);
}

static void test_signer_dies(void **state)
{
	struct signer *s = start(1);
	struct mint *m = mint_new(base, s, 0, 8);
	struct catch c = { 0, NULL };

	mint_ask(m, STR("a.example"), caught, &c);
	turn_until(&c, 1);
	assert_false(signer_has_ended(s));
	kill(child_of_ours(), SIGKILL);
	mint_ask(m, STR("b.example"), caught, &c);
	mint_ask(m, STR("c.example"), caught, &c);
	turn_until(&c, 3);
	assert_null(c.identity);
	assert_null(mint_ask(m, STR("d.example"), caught, &c));
	assert_non_null(mint_know(m, STR("a.example")));	/* what is known stays */
	for (int i = 0; i < 1000 && !signer_has_ended(s); i++)
		usleep(1000);
	assert_true(signer_has_ended(s));
	mint_free(m);
	signer_stop(s);
}

static void test_workers_are_apart(void **state)
{
	struct signer *s = start(3);
	struct mint *m[3];
	struct catch c[3] = { { 0, NULL } };

	for (unsigned i = 0; i < 3; i++) {
		m[i] = mint_new(base, s, i, 8);
		mint_ask(m[i], STR("a.example"), caught, &c[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		turn_until(&c[i], 1);
	assert_int_not_equal(X509_cmp(c[0].identity->cert[0], c[1].identity->cert[0]), 0);
	for (unsigned i = 0; i < 3; i++)
		mint_free(m[i]);
	signer_stop(s);
}

static void test_signer_refuses(void **state)
{
	struct signer_options o = { cert_file, key_file, STR("wrong"), 2 };

	make(options());
	encrypt_key("right");
	assert_null(signer_start(&o, why, sizeof(why)));
	assert_non_null(strstr(why, "the passphrase is not the right one"));
	o.passphrase = STR("right");
	struct signer *s = signer_start(&o, why, sizeof(why));
	assert_non_null(s);
	signer_stop(s);
	o.key_file = "/nonexistent/key";
	assert_null(signer_start(&o, why, sizeof(why)));
	assert_non_null(strstr(why, "/nonexistent/key: No such file"));
}

static void test_signer_is_this_program_anew(void **state)
{
	struct signer *s = start(1);
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/cmdline", child_of_ours());
	FILE *f = fopen(name, "r");
	char line[256] = { 0 };

	assert_non_null(f);
	assert_true(fread(line, 1, sizeof(line) - 1, f) > 0);
	fclose(f);
	assert_int_equal(memcmp(line, "retrywith\0ca\0signer\0", 20), 0);
	signer_stop(s);
}

/* -- shown in a handshake --------------------------------------------------------------- */

struct client {
	const char *ciphers, *sigalgs;
	int most;			/* newest version */
	const char *host;
};

/* The kind of key that the client was shown; NULL: no handshake. */
static const char *shown_to(const struct client *how, struct tls_ctx *server,
			    struct tls_identity *identity)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	const char *kind = NULL;
	struct tls *t;
	SSL *ssl;
	int fd[2], done = 0;
	enum io io = IO_WANT_READ;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	SSL_CTX_load_verify_file(ctx, cert_file);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (how->most < TLS1_2_VERSION) {
		SSL_CTX_set_security_level(ctx, 0);
		SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
	}
	SSL_CTX_set_max_proto_version(ctx, how->most);
	if (how->ciphers)
		assert_int_equal(SSL_CTX_set_cipher_list(ctx, how->ciphers), 1);
	if (how->sigalgs)
		assert_int_equal(SSL_CTX_set1_sigalgs_list(ctx, how->sigalgs), 1);
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd[0]);
	SSL_set1_host(ssl, how->host);
	t = tls_new(server, fd[1], STR_NONE);
	assert_true(tls_show(t, identity));
	for (int i = 0; i < 100 && done != 1 && io != IO_FAILED; i++) {
		done = SSL_connect(ssl);
		if (io != IO_DONE)
			io = tls_handshake(t);
	}
	if (done == 1 && SSL_get_verify_result(ssl) == X509_V_OK)
		kind = EVP_PKEY_is_a(X509_get0_pubkey(SSL_get0_peer_certificate(ssl)), "RSA") ?
		       "RSA" : "EC";
	tls_free(t);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd[0]);
	close(fd[1]);
	return kind;
}

static void test_which_key(void **state)
{
	static const struct { struct client c; int least; const char *kind; } row[] = {
		{ { NULL, NULL, TLS1_3_VERSION, "a.example" }, 0, "EC" },
		{ { NULL, NULL, TLS1_2_VERSION, "a.example" }, 0, "EC" },
		{ { "ECDHE-RSA-AES128-GCM-SHA256", NULL, TLS1_2_VERSION, "a.example" }, 0, "RSA" },
		{ { "AES128-SHA", NULL, TLS1_2_VERSION, "a.example" }, 0, "RSA" },
		{ { NULL, "RSA+SHA256:RSA-PSS+SHA256", TLS1_2_VERSION, "a.example" }, 0, "RSA" },
		{ { NULL, NULL, TLS1_2_VERSION, "b.example" }, 0, NULL },
		{ { NULL, NULL, TLS1_1_VERSION, "a.example" }, 0, NULL },
		{ { "AES128-SHA:@SECLEVEL=0", NULL, TLS1_VERSION, "a.example" }, TLS1_VERSION, "RSA" },
		{ { "ALL:@SECLEVEL=0", NULL, TLS1_1_VERSION, "a.example" }, TLS1_VERSION, "EC" },
		{ { "ALL:@SECLEVEL=0", NULL, TLS1_VERSION, "a.example" }, TLS1_1_VERSION, NULL },
	};
	struct signer *s = start(1);
	struct mint *m = mint_new(base, s, 0, 8);
	struct catch c = { 0, NULL };

	mint_ask(m, STR("a.example"), caught, &c);
	turn_until(&c, 1);
	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		struct tls_options o = { .role = TLS_SERVER, .shown = true, .alpn = "http/1.1",
					 .min_version = row[i].least };
		struct tls_ctx *server = tls_ctx_new(&o, why, sizeof(why));
		const char *kind;

		assert_non_null(server);
		kind = shown_to(&row[i].c, server, c.identity);
		if ((kind == NULL) != (row[i].kind == NULL) || (kind && strcmp(kind, row[i].kind)))
			fail_msg("row %zu: %s", i, kind ? kind : "none");
		tls_ctx_free(server);
	}
	mint_free(m);
	signer_stop(s);
}

/* A session made as one host is no session as another. */
static void test_sessions_stay_in_their_scope(void **state)
{
	struct signer *s = start(1);
	struct mint *m = mint_new(base, s, 0, 8);
	struct catch a = { 0, NULL }, b = { 0, NULL };
	struct tls_options o = { .role = TLS_SERVER, .shown = true };
	struct tls_ctx *server = tls_ctx_new(&o, why, sizeof(why));
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL_SESSION *session = NULL;

	mint_ask(m, STR("a.example"), caught, &a);
	mint_ask(m, STR("b.example"), caught, &b);
	turn_until(&a, 1);
	turn_until(&b, 1);
	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
	for (int i = 0; i < 3; i++) {		/* a, a again, b */
		struct tls *t;
		SSL *ssl = SSL_new(ctx);
		int fd[2], done = 0;
		enum io io = IO_WANT_READ;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
		SSL_set_fd(ssl, fd[0]);
		if (session)
			SSL_set_session(ssl, session);
		t = tls_new(server, fd[1], STR_NONE);
		assert_true(tls_show(t, i == 2 ? b.identity : a.identity));
		for (int k = 0; k < 100 && (done != 1 || io != IO_DONE); k++) {
			done = SSL_connect(ssl);
			if (io != IO_DONE)
				io = tls_handshake(t);
		}
		assert_int_equal(done, 1);
		assert_int_equal(SSL_session_reused(ssl), i == 1);
		SSL_SESSION_free(session);
		session = SSL_get1_session(ssl);
		SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		tls_free(t);
		SSL_free(ssl);
		close(fd[0]);
		close(fd[1]);
	}
	SSL_SESSION_free(session);
	SSL_CTX_free(ctx);
	tls_ctx_free(server);
	mint_free(m);
	signer_stop(s);
}

static int set_up(void **state)
{
	base = event_base_new();
	signal(SIGPIPE, SIG_IGN);
	return mkdtemp(dir) && base ? 0 : -1;
}

static int tear_down(void **state)
{
	unlink(cert_file);
	unlink(key_file);
	event_base_free(base);
	block_sweep();
	return rmdir(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_authority),
		cmocka_unit_test(test_leaf),
		cmocka_unit_test(test_hosts_that_are_none),
		cmocka_unit_test(test_constraints),
		cmocka_unit_test(test_bad_permits),
		cmocka_unit_test(test_encrypted_key),
		cmocka_unit_test(test_unusable_authorities),
		cmocka_unit_test(test_mint),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_held_while_dropped),
		cmocka_unit_test(test_nobody_waits_any_more),
		cmocka_unit_test(test_unsignable),
		cmocka_unit_test(test_signer_dies),
		cmocka_unit_test(test_workers_are_apart),
		cmocka_unit_test(test_signer_refuses),
		cmocka_unit_test(test_signer_is_this_program_anew),
		cmocka_unit_test(test_which_key),
		cmocka_unit_test(test_sessions_stay_in_their_scope),
	};

	if (argc == 3 && !strcmp(argv[1], "ca") && !strcmp(argv[2], "signer"))
		return signer_main();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
