/* ca: see the header. Files: what ca-cert and ca-key say; else ca.pem and ca.key in
 * $STATE_DIRECTORY, or /var/lib/retrywith for root, or ~/.local/share/retrywith. */
#include "worker/ca.h"

#include <sys/stat.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "net/authority.h"
#include "net/signer.h"

enum { PATH_ROOM = 4096, PERMITS_MOST = 256 };

struct paths {
	char dir[PATH_ROOM], cert[PATH_ROOM + 16], key[PATH_ROOM + 16];
};

static void default_dir(char room[PATH_ROOM])
{
	const char *state = getenv("STATE_DIRECTORY"), *data = getenv("XDG_DATA_HOME");
	const char *home = getenv("HOME");

	if (state)
		snprintf(room, PATH_ROOM, "%s", state);
	else if (geteuid() == 0)
		snprintf(room, PATH_ROOM, "/var/lib/retrywith");
	else if (data && *data)
		snprintf(room, PATH_ROOM, "%s/retrywith", data);
	else
		snprintf(room, PATH_ROOM, "%s/.local/share/retrywith", home ? home : "");
}

/* The configuration's own, or the default ones; false: dir is nobody's. */
static bool find_paths(const struct config *c, struct paths *p)
{
	default_dir(p->dir);
	if (c->ca_cert.len) {
		snprintf(p->cert, sizeof p->cert, "%.*s", STR_FMT(c->ca_cert));
		snprintf(p->key, sizeof p->key, "%.*s", STR_FMT(c->ca_key));
		return false;
	}
	snprintf(p->cert, sizeof p->cert, "%s/ca.pem", p->dir);
	snprintf(p->key, sizeof p->key, "%s/ca.key", p->dir);
	return true;
}

/* People copy what they are shown to other places. */
static void make_absolute(char path[PATH_ROOM + 16])
{
	char *whole = realpath(path, NULL);

	if (whole)
		snprintf(path, PATH_ROOM + 16, "%s", whole);
	free(whole);
}

/* All of the path that is missing, closed to others. */
static bool make_dir(const char *dir)
{
	char path[PATH_ROOM];
	size_t n = strlen(dir);

	for (size_t i = 1; i <= n; i++) {
		if (dir[i] != '/' && dir[i] != '\0')
			continue;
		memcpy(path, dir, i);
		path[i] = '\0';
		if (mkdir(path, 0700) != 0 && errno != EEXIST)
			return false;
	}
	return true;
}

/* -- what a person is told ------------------------------------------------------------ */

static X509 *read_cert(const char *path)
{
	FILE *f = fopen(path, "r");
	X509 *cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;

	if (!f)
		fprintf(stderr, "retrywith ca: %s: %s (make one with `retrywith ca init`)\n", path,
			strerror(errno));
	else if (!cert)
		fprintf(stderr, "retrywith ca: %s: there is no PEM certificate in it\n", path);
	if (f)
		fclose(f);
	return cert;
}

static void print_date(const char *what, const ASN1_TIME *t)
{
	struct tm tm;
	char day[32] = "?";

	if (ASN1_TIME_to_tm(t, &tm) == 1)
		strftime(day, sizeof day, "%Y-%m-%d", &tm);
	printf("%-12s %s\n", what, day);
}

static void print_fingerprint(const X509 *cert)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	X509_digest(cert, EVP_sha256(), digest, &n);
	printf("%-12s ", "SHA-256");
	for (unsigned i = 0; i < n; i++)
		printf("%s%02X", i ? ":" : "", digest[i]);
	printf("\n");
}

static void print_trees(const char *what, const STACK_OF(GENERAL_SUBTREE) *trees)
{
	for (int i = 0; i < sk_GENERAL_SUBTREE_num(trees); i++) {
		BIO *out = BIO_new_fp(stdout, BIO_NOCLOSE);

		printf("%-12s ", i ? "" : what);
		fflush(stdout);
		if (sk_GENERAL_SUBTREE_value(trees, i)->base->type == GEN_DNS)
			GENERAL_NAME_print(out, sk_GENERAL_SUBTREE_value(trees, i)->base);
		else
			BIO_printf(out, "addresses");
		BIO_free(out);
		printf("\n");
	}
}

static void print_constraints(const X509 *cert)
{
	NAME_CONSTRAINTS *n = X509_get_ext_d2i(cert, NID_name_constraints, NULL, NULL);

	if (!n)
		printf("%-12s any host\n", "permits");
	else
		print_trees("permits", n->permittedSubtrees);
	NAME_CONSTRAINTS_free(n);
}

static void print_cert(const struct paths *p, const X509 *cert)
{
	char name[256] = "";

	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof name);
	printf("%-12s %s\n%-12s %s\n%-12s %s\n", "certificate", p->cert, "key", p->key, "name",
	       name);
	print_fingerprint(cert);
	print_date("until", X509_get0_notAfter(cert));
	print_constraints(cert);
}

/* %s is the certificate's path. */
static const struct { const char *who, *how; } trust[] = {
	{ "Debian, Ubuntu, Alpine", "cp %s /usr/local/share/ca-certificates/retrywith.crt && "
				    "update-ca-certificates" },
	{ "Fedora, RHEL", "cp %s /etc/pki/ca-trust/source/anchors/retrywith.pem && "
			  "update-ca-trust" },
	{ "Windows", "certutil -addstore -f Root %s" },
	{ "macOS", "security add-trusted-cert -d -r trustRoot "
		   "-k /Library/Keychains/System.keychain %s" },
	{ "Firefox", "certutil -A -n retrywith -t C,, -i %s -d sql:PROFILE   (or Settings, "
		     "Certificates, Authorities, Import)" },
	{ "Java", "keytool -importcert -noprompt -trustcacerts -cacerts -storepass changeit "
		  "-alias retrywith -file %s" },
	{ "curl", "curl --cacert %s   (or CURL_CA_BUNDLE)" },
	{ "git", "git config --global http.sslCAInfo %s" },
	{ ".NET on Linux", "SSL_CERT_FILE=%s   (elsewhere it asks the system)" },
	{ "Node", "NODE_EXTRA_CA_CERTS=%s" },
	{ "Python", "SSL_CERT_FILE=%s   (requests: REQUESTS_CA_BUNDLE; pip: PIP_CERT)" },
};

static void print_trust(const char *cert)
{
	printf("\nHow clients come to trust it. The certificate only: the key stays here.\n");
	for (size_t i = 0; i < sizeof trust / sizeof *trust; i++) {
		printf("\n%s\n    ", trust[i].who);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		printf(trust[i].how, cert);
#pragma GCC diagnostic pop
		printf("\n");
	}
	printf("\nWhere a bundle is named instead of the system's, it is trusted alone: put the\n"
	       "system's certificates into the same file if the client also goes elsewhere.\n");
}

static int show(const struct config *c)
{
	struct paths p;
	X509 *cert;

	find_paths(c, &p);
	cert = read_cert(p.cert);
	if (!cert)
		return EX_NOINPUT;
	make_absolute(p.cert);
	make_absolute(p.key);
	print_cert(&p, cert);
	print_trust(p.cert);
	X509_free(cert);
	return 0;
}

/* -- making one --------------------------------------------------------------------------- */

static int usage(const char *why, const char *what)
{
	fprintf(stderr, "retrywith ca: %s%s\nusage: retrywith " CA_USAGE "\n", why, what);
	return EX_USAGE;
}

static int init(const struct config *c, int argc, char **argv)
{
	struct str permit[PERMITS_MOST];
	struct authority_options o = { .permit = permit };
	char why[512] = "";
	struct paths p;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--rsa") == 0) {
			o.rsa = true;
		} else if (strcmp(argv[i], "--permit") == 0 && i + 1 < argc) {
			if (o.permit_n == PERMITS_MOST)
				return usage("too many --permit", "");
			permit[o.permit_n++] = str_of(argv[++i]);
		} else {
			return usage("what is ", argv[i]);
		}
	}
	if (find_paths(c, &p) && !make_dir(p.dir)) {
		fprintf(stderr, "retrywith ca: %s: %s\n", p.dir, strerror(errno));
		return EX_CANTCREAT;
	}
	o.cert_file = p.cert;
	o.key_file = p.key;
	if (!authority_make(&o, why, sizeof why)) {
		fprintf(stderr, "retrywith ca: %s\n", why);
		return EX_CANTCREAT;
	}
	make_absolute(p.cert);
	make_absolute(p.key);
	printf("Made a certificate authority. In the configuration:\n\n"
	       "intercept = {\"HOST\", \"*.DOMAIN\"}\nca-cert = \"%s\"\nca-key = \"%s\"\n\n",
	       p.cert, p.key);
	return show(c);
}

int ca_main(struct config *c, int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";

	if (strcmp(word, "init") == 0)
		return init(c, argc - 2, argv + 2);
	if (strcmp(word, "show") == 0)
		return argc == 2 ? show(c) : usage("what is ", argv[2]);
	if (strcmp(word, "signer") == 0)	/* by signer_start() only */
		return signer_main();
	return usage(*word ? "there is no " : "say init or show", word);
}

bool ca_usable(const struct config *c, char *why, size_t why_size)
{
	struct authority *a;

	if (!c->intercept.n)
		return true;
	a = authority_open(c->ca_cert.at, c->ca_key.at, c->ca_passphrase, why, why_size);
	authority_close(a);
	return a != NULL;
}

/* -- the signing process --------------------------------------------------------------------- */

static void let_go(void *signer)
{
	signer_stop(signer);
}

static bool is_same_key(const struct config *a, const struct config *b)
{
	return str_eq(a->ca_cert, b->ca_cert) && str_eq(a->ca_key, b->ca_key) &&
	       str_eq(a->ca_passphrase, b->ca_passphrase);
}

bool ca_sign_for(struct config *c, const struct config *old, char *why, size_t why_size)
{
	struct signer_options o = { .passphrase = c->ca_passphrase, .workers = c->workers };

	if (!c->intercept.n)
		return true;
	if (old && old->signer && is_same_key(c, old) && !signer_has_ended(old->signer)) {
		c->signer = signer_hold(old->signer);
	} else {
		o.cert_file = c->ca_cert.at;
		o.key_file = c->ca_key.at;
		c->signer = signer_start(&o, why, why_size);
		if (!c->signer && errno == EPERM && old)
			snprintf(why, why_size, "ca-cert, ca-key: the sandbox starts no other "
				 "signing process: restart instead");
	}
	return c->signer && arena_at_end(c->arena, let_go, c->signer);
}
