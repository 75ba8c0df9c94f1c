/* ticket: see the header. Handshakes are rare beside the lock's few instructions. */
#include "net/ticket.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

enum { IV = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept {
	struct ticket_key key;
	time_t born;			/* 0: there is none */
} newest, before;

static bool is_within(const struct kept *k, time_t now, time_t most)
{
	return k->born && now >= k->born && now - k->born < most;
}

static bool renew(time_t now)
{
	struct kept made = { .born = now };
	bool fine = RAND_bytes(made.key.name, sizeof(made.key.name)) == 1 &&
		    RAND_priv_bytes(made.key.cipher, sizeof(made.key.cipher)) == 1 &&
		    RAND_priv_bytes(made.key.mac, sizeof(made.key.mac)) == 1;

	if (fine) {
		before = newest;
		newest = made;
	}
	OPENSSL_cleanse(&made, sizeof(made));
	return fine;
}

bool ticket_seal(time_t now, struct ticket_key *out)
{
	bool fine;

	pthread_mutex_lock(&lock);
	fine = is_within(&newest, now, TICKET_SECONDS) || renew(now);
	if (fine)
		*out = newest.key;
	pthread_mutex_unlock(&lock);
	return fine;
}

enum ticket ticket_open(time_t now, const unsigned char name[TICKET_NAME], struct ticket_key *out)
{
	const struct kept *all[] = { &newest, &before };
	enum ticket found = TICKET_UNKNOWN;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < 2; i++) {
		if (!is_within(all[i], now, 2 * TICKET_SECONDS) ||
		    memcmp(all[i]->key.name, name, TICKET_NAME) != 0)
			continue;
		*out = all[i]->key;
		found = is_within(all[i], now, TICKET_SECONDS) ? TICKET_FRESH : TICKET_OLD;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

static bool use_mac(EVP_MAC_CTX *mac, struct ticket_key *k)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof(k->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int seal(unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
		struct ticket_key *k)
{
	if (!ticket_seal(time(NULL), k) || RAND_bytes(iv, IV) != 1)
		return 0;		/* the handshake goes on without a ticket */
	memcpy(name, k->name, TICKET_NAME);
	return EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv) == 1 &&
	       use_mac(mac, k) ? 1 : -1;
}

/* OpenSSL's numbers: 0 no such key, 1 good, 2 good and to be renewed. */
static int open_with(const unsigned char *name, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, struct ticket_key *k)
{
	enum ticket found = ticket_open(time(NULL), name, k);

	if (found == TICKET_UNKNOWN)
		return 0;
	if (!use_mac(mac, k) ||
	    EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv) != 1)
		return -1;
	return found == TICKET_OLD ? 2 : 1;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, int sealing)
{
	struct ticket_key k;
	int ret = sealing ? seal(name, iv, cipher, mac, &k)
			  : open_with(name, iv, cipher, mac, &k);

	OPENSSL_cleanse(&k, sizeof(k));
	return ret;
}

bool ticket_use(struct ssl_ctx_st *ctx)
{
	return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) == 1;
}
