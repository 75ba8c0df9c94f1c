/* hosts: see hosts.h. The text is kept as it is, in lower case, and searched for
 * the name; only the lines with hits are taken apart. That is fast enough for
 * block lists of some megabytes, and needs no index to be kept in step. */
#include "net/hosts.h"

#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { HOSTS_MOST = 16 << 20 };		/* octets; a longer file is cut there */

struct hosts {
	char *path;
	char *text;
	size_t len;
	struct timespec changed;	/* as of the text */
	off_t size;
	ino_t inode;
};

struct hosts *hosts_new(const char *path)
{
	struct hosts *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->path = strdup(path);
	if (h->path)
		return h;
	free(h);
	return NULL;
}

void hosts_free(struct hosts *h)
{
	if (!h)
		return;
	free(h->path);
	free(h->text);
	free(h);
}

static size_t read_all(int fd, char *at, size_t size)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, at + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	return len;
}

static void load(struct hosts *h, const struct stat *st)
{
	size_t size = st->st_size < HOSTS_MOST ? (size_t)st->st_size : HOSTS_MOST;
	int fd = open(h->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	free(h->text);
	h->text = fd >= 0 ? malloc(size + 1) : NULL;
	h->len = h->text ? read_all(fd, h->text, size) : 0;
	if (fd >= 0)
		close(fd);
	for (size_t i = 0; i < h->len; i++)
		h->text[i] = str_lower(h->text[i]);
	h->changed = st->st_mtim;
	h->size = st->st_size;
	h->inode = st->st_ino;
}

static void refresh(struct hosts *h)
{
	struct stat st;

	if (stat(h->path, &st) != 0 || !S_ISREG(st.st_mode)) {
		h->len = 0;
		h->size = -1;
		return;
	}
	if (!h->text || st.st_size != h->size || st.st_ino != h->inode ||
	    st.st_mtim.tv_sec != h->changed.tv_sec || st.st_mtim.tv_nsec != h->changed.tv_nsec)
		load(h, &st);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of a line, which ends at its comment. */
static struct str next_word(struct str *line)
{
	struct str word;

	while (line->len > 0 && is_blank(*line->at))
		*line = str_from(*line, 1);
	word = str_first(*line, 0);
	while (line->len > 0 && !is_blank(*line->at) && *line->at != '#') {
		word.len++;
		*line = str_from(*line, 1);
	}
	return word;
}

static void take_line(struct str line, struct str name, struct addresses *out)
{
	struct address found;
	struct str word;

	if (!address_parse(next_word(&line), 0, &found))
		return;
	do {
		word = next_word(&line);
	} while (word.len > 0 && !str_eq(word, name));
	if (word.len > 0 && out->n < ADDRESSES_MOST)
		out->at[out->n++] = found;
}

/* The line around `at`; *end is where the next one begins. */
static struct str line_around(const struct hosts *h, const char *at, const char **end)
{
	const char *last = h->text + h->len;
	const char *from = memrchr(h->text, '\n', (size_t)(at - h->text));
	const char *to = memchr(at, '\n', (size_t)(last - at));

	from = from ? from + 1 : h->text;
	*end = to ? to + 1 : last;
	return (struct str){ from, (size_t)((to ? to : last) - from) };
}

bool hosts_find(struct hosts *h, struct str name, struct addresses *out)
{
	char lower[256];
	const char *at, *end;

	out->n = 0;
	if (name.len == 0 || name.len > sizeof(lower))
		return false;
	for (size_t i = 0; i < name.len; i++)
		lower[i] = str_lower(name.at[i]);
	name.at = lower;
	refresh(h);
	at = h->len > 0 ? memmem(h->text, h->len, lower, name.len) : NULL;
	while (at) {
		take_line(line_around(h, at, &end), name, out);
		at = memmem(end, (size_t)(h->text + h->len - end), lower, name.len);
	}
	return out->n > 0;
}
