/* login: see the header. One checking thread serves the process; it is started
 * by the first question. Questions and answers are lists under one mutex; a
 * worker's own eventfd tells it that an answer is there. */
#include "worker/login.h"

#include <crypt.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "ground/clock.h"

enum {
	CREDENTIALS_MOST = 1024,
	REMEMBERED = 256, REMEMBER_MS = 60 * 1000,
	DIGEST = 32,
	WAITING_MOST = 256,		/* questions of one worker: the rest is refused */
};

/* What a user nobody knows is checked against, so that it takes as long. */
static const char nobody[] = "$6$retrywith.nobody$"
	"Gl7RwqIWmvZq6LMRZ0nzzZ6rS2yBDbI2zv0wd0Fjq8jBf4dTQZp9n6bJ0i2o0cU4z3bC4h7mJcUq5oQ3yS0m0.";

struct user {
	struct user *next;
	const char *name, *hash;
	char text[];
};

struct htpasswd {
	uint64_t serial;		/* tells one loading from the next */
	struct user *users;
	const char *slowest;		/* a hash like those of the file */
};

struct known {
	unsigned char digest[DIGEST];
	uint64_t until_ms;
};

struct login {
	struct event *ear;
	int ear_fd;
	unsigned waiting;
	unsigned char key[DIGEST];
	struct known known[REMEMBERED];
	struct login_wait *answered;	/* under the mutex */
};

struct login_wait {
	struct login_wait *next;
	struct login *login;		/* NULL: cancelled */
	login_fn *fn;
	void *owner;
	bool ok;
	unsigned char digest[DIGEST];
	char hash[CRYPT_OUTPUT_SIZE];
	char password[CREDENTIALS_MOST];
};

/* -- the file -------------------------------------------------------------------- */

/* bcrypt, SHA-crypt, scrypt, yescrypt. Not DES, whose hashes look like any text:
 * a password that somebody wrote here in clear would be taken for one. */
static bool is_strong(const char *hash)
{
	static const char *const known[] = { "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$7$", "$y$",
					     "$gy$" };

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strncmp(hash, known[i], strlen(known[i])))
			return crypt_checksalt(hash) != CRYPT_SALT_INVALID;
	return false;
}

static bool add_user(struct htpasswd *h, struct str line)
{
	struct str name, hash;
	struct user *u;
	char *at;

	if (!str_cut(line, ':', &name, &hash) || !name.len || !hash.len ||
	    hash.len >= CRYPT_OUTPUT_SIZE)
		return false;
	u = malloc(sizeof *u + line.len + 2);
	if (!u)
		return false;
	at = u->text;
	memcpy(at, name.at, name.len);
	at[name.len] = '\0';
	u->name = at;
	at += name.len + 1;
	memcpy(at, hash.at, hash.len);
	at[hash.len] = '\0';
	u->hash = at;
	if (!is_strong(u->hash)) {
		free(u);
		return false;
	}
	u->next = h->users;
	h->users = u;
	h->slowest = u->hash;
	return true;
}

static bool read_lines(struct htpasswd *h, FILE *f, const char *path, char *why, size_t size)
{
	char line[1024];
	unsigned n = 0;

	while (fgets(line, sizeof line, f)) {
		struct str s = { line, strcspn(line, "\r\n") };

		n++;
		if (!s.len || s.at[0] == '#')
			continue;
		if (!add_user(h, s)) {
			snprintf(why, size, "%s:%u: not USER:HASH with a hash of bcrypt, SHA-crypt or yescrypt "
				 "(make one with `htpasswd -B` or `mkpasswd`)", path, n);
			explicit_bzero(line, sizeof line);
			return false;
		}
	}
	explicit_bzero(line, sizeof line);
	return true;
}

struct htpasswd *htpasswd_load(const char *path, char *why, size_t size)
{
	static _Atomic uint64_t serial;
	struct htpasswd *h = calloc(1, sizeof *h);
	FILE *f = fopen(path, "re");
	bool ok;

	if (!h || !f) {
		snprintf(why, size, "%s: %s", path, strerror(errno));
		free(h);
		if (f)
			fclose(f);
		return NULL;
	}
	h->serial = ++serial;
	h->slowest = nobody;
	ok = read_lines(h, f, path, why, size);
	fclose(f);
	if (ok)
		return h;
	htpasswd_free(h);
	return NULL;
}

void htpasswd_free(struct htpasswd *h)
{
	if (!h)
		return;
	while (h->users) {
		struct user *u = h->users;

		h->users = u->next;
		free(u);
	}
	free(h);
}

/* Every name is compared, whole, so that time tells nothing about which exist. */
static const char *hash_of(const struct htpasswd *h, struct str name, bool *known)
{
	const char *found = h->slowest;

	*known = false;
	for (const struct user *u = h->users; u; u = u->next)
		if (strlen(u->name) == name.len &&
		    CRYPTO_memcmp(u->name, name.at, name.len) == 0) {
			found = u->hash;
			*known = true;
		}
	return found;
}

/* -- the checking thread ------------------------------------------------------------ */

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t more;
	struct login_wait *first, **last;
	bool started;
} queue = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, NULL, false };

static bool matches(const struct login_wait *w)
{
	struct crypt_data *data = calloc(1, sizeof *data);
	const char *made;
	bool same;

	if (!data)
		return false;
	made = crypt_r(w->password, w->hash, data);
	same = made && strlen(made) == strlen(w->hash) &&
	       CRYPTO_memcmp(made, w->hash, strlen(made)) == 0;
	explicit_bzero(data, sizeof *data);
	free(data);
	return same;
}

static void wait_free(struct login_wait *w)
{
	explicit_bzero(w, sizeof *w);
	free(w);
}

static void hand_back(struct login_wait *w)
{
	uint64_t one = 1;

	if (!w->login) {
		wait_free(w);
		return;
	}
	w->next = w->login->answered;
	w->login->answered = w;
	if (write(w->login->ear_fd, &one, sizeof one) < 0)
		return;			/* full: it will be woken anyway */
}

static void *check_all(void *arg)
{
	pthread_setname_np(pthread_self(), "login");
	pthread_mutex_lock(&queue.mutex);
	for (;;) {
		struct login_wait *w = queue.first;

		if (!w) {
			pthread_cond_wait(&queue.more, &queue.mutex);
			continue;
		}
		queue.first = w->next;
		if (!queue.first)
			queue.last = &queue.first;
		pthread_mutex_unlock(&queue.mutex);
		w->ok = matches(w) && w->ok;
		explicit_bzero(w->password, sizeof w->password);
		pthread_mutex_lock(&queue.mutex);
		hand_back(w);
	}
	return NULL;
}

static bool enqueue(struct login_wait *w)
{
	pthread_t thread;
	bool ok = true;

	pthread_mutex_lock(&queue.mutex);
	if (!queue.started) {
		queue.last = &queue.first;
		ok = queue.started = pthread_create(&thread, NULL, check_all, NULL) == 0;
		if (ok)
			pthread_detach(thread);
	}
	if (ok) {
		w->next = NULL;
		*queue.last = w;
		queue.last = &w->next;
		pthread_cond_signal(&queue.more);
	}
	pthread_mutex_unlock(&queue.mutex);
	return ok;
}

/* -- a worker's side -------------------------------------------------------------------- */

static void digest_of(const struct login *l, const struct htpasswd *h, struct str credentials,
		      unsigned char out[DIGEST])
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	unsigned n = DIGEST;

	memset(out, 0, DIGEST);
	if (!c || !EVP_DigestInit_ex(c, EVP_sha256(), NULL) ||
	    !EVP_DigestUpdate(c, l->key, sizeof l->key) || 
	    !EVP_DigestUpdate(c, &h->serial, sizeof h->serial) ||
	    !EVP_DigestUpdate(c, credentials.at, credentials.len) ||
	    !EVP_DigestFinal_ex(c, out, &n))
		memset(out, 0, DIGEST);
	EVP_MD_CTX_free(c);
}

static struct known *slot_of(struct login *l, const unsigned char digest[DIGEST])
{
	return &l->known[digest[0] % REMEMBERED];
}

static void hear(evutil_socket_t fd, short what, void *arg)
{
	struct login *l = arg;
	struct login_wait *w;
	uint64_t n;

	if (read(fd, &n, sizeof n) < 0)
		return;
	pthread_mutex_lock(&queue.mutex);
	while ((w = l->answered)) {
		l->answered = w->next;
		pthread_mutex_unlock(&queue.mutex);
		if (w->login)
			l->waiting--;
		if (w->ok) {
			struct known *k = slot_of(l, w->digest);

			memcpy(k->digest, w->digest, DIGEST);
			k->until_ms = clock_ms() + REMEMBER_MS;
		}
		if (w->login)
			w->fn(w->owner, w->ok);
		wait_free(w);
		pthread_mutex_lock(&queue.mutex);
	}
	pthread_mutex_unlock(&queue.mutex);
}

struct login *login_new(struct event_base *base)
{
	struct login *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	l->ear_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->ear_fd >= 0)
		l->ear = event_new(base, l->ear_fd, EV_READ | EV_PERSIST, hear, l);
	if (l->ear && event_add(l->ear, NULL) == 0 && getrandom(l->key, DIGEST, 0) == DIGEST)
		return l;
	login_free(l);
	return NULL;
}

void login_free(struct login *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&queue.mutex);
	while (l->answered) {
		struct login_wait *w = l->answered;

		l->answered = w->next;
		wait_free(w);
	}
	pthread_mutex_unlock(&queue.mutex);
	if (l->ear)
		event_free(l->ear);
	if (l->ear_fd >= 0)
		close(l->ear_fd);
	explicit_bzero(l, sizeof *l);
	free(l);
}

void login_cancel(struct login_wait *w)
{
	pthread_mutex_lock(&queue.mutex);
	w->login->waiting--;
	w->login = NULL;
	pthread_mutex_unlock(&queue.mutex);
}

/* "Basic BASE64": the decoded octets in room, NUL-terminated; their length, or 0. */
static size_t decode(struct str value, char room[CREDENTIALS_MOST])
{
	struct str scheme, text;
	int n;

	if (!str_cut(value, ' ', &scheme, &text) || !str_eq_nocase(scheme, STR("Basic")))
		return 0;
	text = str_trim(text);
	if (text.len % 4 || text.len > (CREDENTIALS_MOST - 4) / 3 * 4 || !text.len)
		return 0;
	n = EVP_DecodeBlock((unsigned char *)room, (const unsigned char *)text.at, (int)text.len);
	if (n <= 0)
		return 0;
	while (text.len && text.at[text.len - 1] == '=') {
		text.len--;
		n--;
	}
	room[n] = '\0';
	return memchr(room, '\0', (size_t)n) ? 0 : (size_t)n;
}

static struct login_wait *wait_new(const struct htpasswd *h, const char *decoded, size_t n)
{
	struct login_wait *w = calloc(1, sizeof *w);
	struct str name, password;

	if (!w)
		return NULL;
	if (!str_cut((struct str){ decoded, n }, ':', &name, &password)) {
		free(w);
		return NULL;
	}
	snprintf(w->hash, sizeof w->hash, "%s", hash_of(h, name, &w->ok));
	memcpy(w->password, password.at, password.len);
	return w;
}

enum login_verdict login_check(struct login *l, const struct htpasswd *h, struct str credentials,
			       login_fn *fn, void *owner, struct login_wait **wait)
{
	char decoded[CREDENTIALS_MOST];
	unsigned char digest[DIGEST];
	struct known *k;
	struct login_wait *w;
	size_t n;

	if (!credentials.len)
		return LOGIN_NO;
	digest_of(l, h, credentials, digest);
	k = slot_of(l, digest);
	if (k->until_ms > clock_ms() && CRYPTO_memcmp(k->digest, digest, DIGEST) == 0)
		return LOGIN_YES;
	n = decode(credentials, decoded);
	w = n && l->waiting < WAITING_MOST ? wait_new(h, decoded, n) : NULL;
	explicit_bzero(decoded, sizeof decoded);
	if (!w)
		return LOGIN_NO;
	w->login = l;
	w->fn = fn;
	w->owner = owner;
	memcpy(w->digest, digest, DIGEST);
	if (!enqueue(w)) {
		wait_free(w);
		return LOGIN_NO;
	}
	l->waiting++;
	*wait = w;
	return LOGIN_WAIT;
}
