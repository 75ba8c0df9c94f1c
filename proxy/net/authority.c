/* authority: see the header. What a certificate says stands in tables of
 * extensions, in the notation of x509v3_config(5). */
#include "net/authority.h"

#include <sys/stat.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

enum { DAY_S = 86400, SERIAL_BITS = 128, CN_MOST = 64, HOST_MOST = 253, PERMIT_ROOM = 16384,
       RSA_BITS = 3072 };

struct authority {
	X509 *cert;
	EVP_PKEY *key;
};

static bool fault(char *why, size_t size, const char *what, const char *words)
{
	unsigned long e = ERR_peek_error();

	if (!words)
		words = e ? ERR_reason_error_string(e) : NULL;
	snprintf(why, size, "%s: %s", what, words ? words : "cannot be used");
	ERR_clear_error();
	return false;
}

/* -- certificates ----------------------------------------------------------------- */

struct extension {
	int nid;
	const char *value;
};

static bool extend(X509 *cert, X509 *issuer, const struct extension *e, unsigned n)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	for (unsigned i = 0; i < n; i++) {
		X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, e[i].nid, e[i].value);
		bool added = x && X509_add_ext(cert, x, -1) == 1;

		X509_EXTENSION_free(x);
		if (!added)
			return false;
	}
	return true;
}

static bool set_serial(X509 *cert)
{
	BIGNUM *n = BN_new();
	bool set = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
		   BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;

	BN_free(n);
	return set;
}

static bool set_name(X509 *cert, struct str common)
{
	return X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
			(const unsigned char *)common.at, (int)common.len, -1, 0) == 1;
}

/* Version, serial, dates and key: what all of them have. */
static X509 *blank(EVP_PKEY *key, long early_s, long days)
{
	X509 *cert = X509_new();

	if (cert && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), -early_s) &&
	    X509_gmtime_adj(X509_getm_notAfter(cert), days * DAY_S) &&
	    X509_set_pubkey(cert, key) == 1)
		return cert;
	X509_free(cert);
	return NULL;
}

/* -- leaves ------------------------------------------------------------------------- */

static bool is_address(const char *host)
{
	unsigned char room[16];

	return inet_pton(AF_INET, host, room) == 1 || inet_pton(AF_INET6, host, room) == 1;
}

/* What goes into the text of an extension: nothing that could mean more there. */
static bool is_clean(struct str host)
{
	for (size_t i = 0; i < host.len; i++)
		if (!((host.at[i] >= '0' && host.at[i] <= '9') ||
		      (str_lower(host.at[i]) >= 'a' && str_lower(host.at[i]) <= 'z') ||
		      memchr("-_.:", host.at[i], 4)))
			return false;
	return host.len > 0 && host.len <= HOST_MOST;
}

/* A leaf must not outlive its issuer. */
static bool cap_dates(X509 *leaf, const X509 *issuer)
{
	const ASN1_TIME *end = X509_get0_notAfter(issuer);

	return ASN1_TIME_compare(X509_get0_notAfter(leaf), end) <= 0 ||
	       X509_set1_notAfter(leaf, end) == 1;
}

static bool fill(const struct authority *a, X509 *leaf, struct str host, EVP_PKEY *key)
{
	char name[HOST_MOST + 1], san[HOST_MOST + 16];
	bool rsa = EVP_PKEY_is_a(key, "RSA"), nameless = host.len > CN_MOST;
	const struct extension all[] = {
		{ NID_basic_constraints, "critical,CA:FALSE" },
		{ NID_key_usage, rsa ? "critical,digitalSignature,keyEncipherment" :
				       "critical,digitalSignature" },
		{ NID_ext_key_usage, "serverAuth" },
		{ NID_subject_key_identifier, "hash" },
		{ NID_authority_key_identifier, "keyid" },
		{ NID_subject_alt_name, san },
	};

	snprintf(name, sizeof(name), "%.*s", STR_FMT(host));
	/* Without a subject the name elsewhere is critical (RFC 5280 4.2.1.6). */
	snprintf(san, sizeof(san), "%s%s:%s", nameless ? "critical," : "",
		 is_address(name) ? "IP" : "DNS", name);
	return X509_set_issuer_name(leaf, X509_get_subject_name(a->cert)) == 1 &&
	       (nameless || set_name(leaf, host)) && cap_dates(leaf, a->cert) &&
	       extend(leaf, a->cert, all, sizeof(all) / sizeof(*all)) &&
	       X509_sign(leaf, a->key, EVP_sha256()) > 0;
}

X509 *authority_sign(const struct authority *a, struct str host, EVP_PKEY *key)
{
	X509 *leaf = is_clean(host) ? blank(key, LEAF_EARLY_S, LEAF_DAYS) : NULL;

	if (leaf && fill(a, leaf, host, key))
		return leaf;
	X509_free(leaf);
	ERR_clear_error();
	return NULL;
}

/* -- a new one ------------------------------------------------------------------------- */

static size_t put(char *room, size_t at, const char *fmt, struct str s)
{
	int n = at < PERMIT_ROOM ? snprintf(room + at, PERMIT_ROOM - at, fmt, STR_FMT(s)) : 0;

	return at + (size_t)n;
}

/* "10.0.0.0/8" as the address and mask that x509v3_config(5) wants. */
static bool spell_network(struct str permit, char out[128])
{
	char address[INET6_ADDRSTRLEN], mask[INET6_ADDRSTRLEN];
	unsigned char octets[16] = { 0 };
	struct str host = permit, bits_text = STR_NONE;
	int family;
	uint64_t bits, most;

	str_cut(permit, '/', &host, &bits_text);
	if (host.len >= sizeof(address))
		return false;
	snprintf(address, sizeof(address), "%.*s", STR_FMT(host));
	family = strchr(address, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(family, address, octets) != 1)
		return false;
	most = family == AF_INET6 ? 128 : 32;
	bits = most;
	if (bits_text.at && (!str_to_u64(bits_text, &bits) || bits > most))
		return false;
	memset(octets, 0, sizeof(octets));
	for (uint64_t i = 0; i < bits; i++)
		octets[i / 8] |= (unsigned char)(0x80 >> (i % 8));
	inet_ntop(family, octets, mask, sizeof(mask));
	snprintf(out, 128, "%s/%s", address, mask);
	return true;
}

/* A constraint speaks of its own kind of name only, so the other kind is shut out
 * where nothing of it is permitted. */
static bool spell_constraints(const struct authority_options *o, char *room, const char **bad)
{
	bool names = false, addresses = false;
	size_t at = put(room, 0, "critical%.*s", STR_NONE);

	for (unsigned i = 0; i < o->permit_n; i++) {
		struct str p = o->permit[i];
		char network[128];

		if (str_starts(p, STR("*.")))
			p = str_from(p, 2);
		else if (str_starts(p, STR(".")))
			p = str_from(p, 1);
		*bad = o->permit[i].at;
		if (spell_network(p, network)) {
			at = put(room, at, ",permitted;IP:%.*s", str_of(network));
			addresses = true;
		} else if (is_clean(p) && !memchr(p.at, ':', p.len)) {
			at = put(room, at, ",permitted;DNS:%.*s", p);
			names = true;
		} else {
			return false;
		}
	}
	if (!addresses)
		at = put(room, at, ",excluded;IP:0.0.0.0/0.0.0.0,excluded;IP:::/::%.*s", STR_NONE);
	if (!names)
		at = put(room, at, ",permitted;DNS:%.*s", STR("invalid"));	/* RFC 2606 */
	*bad = "too many";
	return at < PERMIT_ROOM;
}

static bool fill_authority(X509 *cert, EVP_PKEY *key, const struct authority_options *o, char *why,
			   size_t size)
{
	char constraints[PERMIT_ROOM], name[64];
	unsigned char mark[4];
	const char *bad = NULL;
	const struct extension all[] = {
		{ NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
		{ NID_key_usage, "critical,keyCertSign,cRLSign" },
		{ NID_subject_key_identifier, "hash" },
		{ NID_name_constraints, constraints },
	};
	unsigned n = sizeof(all) / sizeof(*all) - (o->permit_n == 0);

	if (o->permit_n && !spell_constraints(o, constraints, &bad))
		return fault(why, size, bad, "this is no domain, address or network");
	/* A name of its own: clients confuse authorities that are called the same. */
	if (RAND_bytes(mark, sizeof(mark)) != 1)
		return fault(why, size, "certificate", NULL);
	snprintf(name, sizeof(name), "retrywith local authority %02x%02x%02x%02x", mark[0],
		 mark[1], mark[2], mark[3]);
	return set_name(cert, str_of(name)) &&
	       X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1 &&
	       extend(cert, cert, all, n) && X509_sign(cert, key, EVP_sha256()) > 0 ?
	       true : fault(why, size, "certificate", NULL);
}

static FILE *create(const char *path, int mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);

	if (fd >= 0)
		fchmod(fd, (mode_t)mode);
	return fd >= 0 ? fdopen(fd, "w") : NULL;
}

static const char *create_words(void)
{
	return errno == EEXIST ? "it exists, and is not overwritten" : strerror(errno);
}

static bool finish(FILE *f, const char *path, bool written, char *why, size_t size)
{
	bool closed = fflush(f) == 0 && fsync(fileno(f)) == 0;

	closed = fclose(f) == 0 && closed;
	if (written && closed)
		return true;
	unlink(path);
	return fault(why, size, path, written ? strerror(errno) : NULL);
}

/* Both or neither: whoever exists already is left as it is. */
static bool save(X509 *cert, EVP_PKEY *key, const struct authority_options *o, char *why,
		 size_t size)
{
	FILE *f = create(o->key_file, 0600), *g;

	if (!f)
		return fault(why, size, o->key_file, create_words());
	g = create(o->cert_file, 0644);
	if (!g) {
		fault(why, size, o->cert_file, create_words());
		fclose(f);
		unlink(o->key_file);
		return false;
	}
	if (!finish(g, o->cert_file, PEM_write_X509(g, cert) == 1, why, size)) {
		fclose(f);
		unlink(o->key_file);
		return false;
	}
	if (finish(f, o->key_file,
		   PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1, why, size))
		return true;
	unlink(o->cert_file);
	return false;
}

bool authority_make(const struct authority_options *o, char *why, size_t why_size)
{
	EVP_PKEY *key = o->rsa ? EVP_RSA_gen(RSA_BITS) : EVP_EC_gen("P-256");
	X509 *cert = key ? blank(key, LEAF_EARLY_S, AUTHORITY_DAYS) : NULL;
	bool made;

	ERR_clear_error();
	made = cert ? fill_authority(cert, key, o, why, why_size) &&
		      save(cert, key, o, why, why_size) :
		      fault(why, why_size, "key", NULL);
	X509_free(cert);
	EVP_PKEY_free(key);
	return made;
}

/* -- an existing one -------------------------------------------------------------------- */

static int on_passphrase(char *room, int size, int writing, void *arg)
{
	const struct str *pass = arg;

	if (pass->len > (size_t)size)
		return 0;
	if (pass->len)
		memcpy(room, pass->at, pass->len);
	return (int)pass->len;
}

static X509 *read_cert(const char *path, char *why, size_t size)
{
	BIO *in = BIO_new_file(path, "r");
	X509 *cert = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;

	if (!in)
		fault(why, size, path, strerror(errno));
	else if (!cert)
		fault(why, size, path, "there is no PEM certificate in it");
	BIO_free(in);
	return cert;
}

/* Is there a block of PEM with such a name? (The decoders' errors do not tell.) */
static bool has_key(BIO *in)
{
	char *name = NULL, *header = NULL;
	unsigned char *data = NULL;
	long len;
	bool found = false;

	while (!found && PEM_read_bio(in, &name, &header, &data, &len) == 1) {
		found = strstr(name, "PRIVATE KEY") != NULL;
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_clear_free(data, (size_t)len);
	}
	ERR_clear_error();
	return BIO_seek(in, 0) >= 0 && found;
}

static EVP_PKEY *read_key(const char *path, struct str pass, char *why, size_t size)
{
	BIO *in = BIO_new_file(path, "r");
	bool there = in && has_key(in);
	EVP_PKEY *key = there ? PEM_read_bio_PrivateKey(in, NULL, on_passphrase, &pass) : NULL;

	if (!in)
		fault(why, size, path, strerror(errno));
	else if (!there)
		fault(why, size, path, "there is no PEM private key in it");
	else if (!key)
		fault(why, size, path, pass.len ? "the passphrase is not the right one" :
		      "the key is encrypted (see ca-passphrase-file), or damaged");
	BIO_free(in);
	return key;
}

static bool may_sign(const struct authority *a, const char *path, char *why, size_t size)
{
	if (X509_check_private_key(a->cert, a->key) != 1)
		return fault(why, size, path, "the private key is of another certificate");
	if (X509_check_ca(a->cert) != 1 || !(X509_get_key_usage(a->cert) & KU_KEY_CERT_SIGN))
		return fault(why, size, path, "this certificate may not sign others");
	if (X509_cmp_current_time(X509_get0_notAfter(a->cert)) < 0)
		return fault(why, size, path, "this certificate has expired");
	return true;
}

struct authority *authority_open(const char *cert_file, const char *key_file,
				 struct str passphrase, char *why, size_t why_size)
{
	struct authority *a = calloc(1, sizeof(*a));

	ERR_clear_error();
	if (!a) {
		fault(why, why_size, cert_file, "out of memory");
		return NULL;
	}
	a->cert = read_cert(cert_file, why, why_size);
	a->key = a->cert ? read_key(key_file, passphrase, why, why_size) : NULL;
	if (a->key && may_sign(a, cert_file, why, why_size))
		return a;
	authority_close(a);
	return NULL;
}

void authority_close(struct authority *a)
{
	if (!a)
		return;
	X509_free(a->cert);
	EVP_PKEY_free(a->key);
	free(a);
}
