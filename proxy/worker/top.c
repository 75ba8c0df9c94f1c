/* top: the terminal and the asking. Plain escape sequences that every terminal of
 * this century knows; the screen is another one, so that what stood there stays. */
#include "worker/top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

#include "worker/top_view.h"
#include "worker/value.h"

enum { EVERY_MS = 1000, PATIENCE_S = 5, ANSWER_MOST = 8 << 20, CONTROL_C = 3 };

/* -- asking ------------------------------------------------------------------------------ */

static int reach(const struct sockaddr_storage *to, socklen_t len)
{
	static const struct timeval patience = { PATIENCE_S, 0 };
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (const struct sockaddr *)to, len) == 0)
		return fd;
	close(fd);
	return -1;
}

/* All that it says until it closes; NUL-terminated, malloc'ed. */
static char *read_all(int fd, size_t *size)
{
	size_t room = 1 << 16;
	char *all = malloc(room);
	ssize_t got = 1;

	for (*size = 0; all && got > 0 && *size < ANSWER_MOST; *size += (size_t)got) {
		char *wider = *size + 1 < room ? all : realloc(all, room *= 2);

		if (!wider)
			break;
		all = wider;
		got = recv(fd, all + *size, room - *size - 1, 0);
		if (got <= 0)
			break;
	}
	if (all)
		all[*size] = '\0';
	return all;
}

static json_t *understand(const char *all, size_t size)
{
	const char *body = all ? strstr(all, "\r\n\r\n") : NULL;
	json_error_t error;

	if (!body || strncmp(all, "HTTP/1.1 200 ", 13) != 0)
		return NULL;
	body += 4;
	return json_loadb(body, size - (size_t)(body - all), 0, &error);
}

/* NULL: no answer, or none that is understood. */
static json_t *ask(struct str admin)
{
	static const char request[] =
		"GET /stats.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	struct sockaddr_storage to = { 0 };
	socklen_t len = sizeof to;
	json_t *stats = NULL;
	size_t size;
	char *all;
	int fd = value_address(admin, &to, &len) ? reach(&to, len) : -1;

	if (fd < 0)
		return NULL;
	if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0) {
		all = read_all(fd, &size);
		stats = understand(all, size);
		free(all);
	}
	close(fd);
	return stats;
}

/* -- the terminal ---------------------------------------------------------------------------- */

static volatile sig_atomic_t told_to_end;

static void on_signal(int sig)
{
	told_to_end = sig != SIGWINCH || told_to_end;
}

static void hear_signals(void)
{
	static const int ours[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH };
	struct sigaction a = { .sa_handler = on_signal };

	sigemptyset(&a.sa_mask);
	for (unsigned i = 0; i < sizeof ours / sizeof *ours; i++)
		sigaction(ours[i], &a, NULL);
}

/* Keys come one by one and unseen. False: there is no keyboard. */
static bool take_keyboard(struct termios *before)
{
	struct termios t;

	if (tcgetattr(STDIN_FILENO, before) != 0)
		return false;
	t = *before;
	t.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 0;
	return tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

static struct top_size size_now(void)
{
	struct winsize w;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 1 && w.ws_col)
		return (struct top_size){ w.ws_row - 1u, w.ws_col };
	return (struct top_size){ 23, 80 };
}

/* Each line anew and what was behind it away: no flicker. */
static void draw(const char *text)
{
	struct str left = str_of(text), line;

	fputs("\033[H", stdout);
	while (str_cut(left, '\n', &line, &left))
		printf("%.*s\033[K\n", STR_FMT(line));
	fputs("\033[J", stdout);
	fflush(stdout);
}

static void draw_stats(struct str admin)
{
	json_t *stats = ask(admin);
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return;
	if (stats)
		top_view(stats, size_now(), out);
	else
		fprintf(out, "no answer from %.*s, trying again\n", STR_FMT(admin));
	if (fclose(out) == 0)
		draw(text);
	free(text);
	json_decref(stats);
}

/* False: the person has seen enough. */
static bool wait_for_key(bool keyboard)
{
	struct pollfd p = { .fd = keyboard ? STDIN_FILENO : -1, .events = POLLIN };
	char key;

	if (poll(&p, 1, EVERY_MS) <= 0)
		return true;
	return read(STDIN_FILENO, &key, 1) == 1 && key != 'q' && key != 'Q' && key != CONTROL_C;
}

static int watch(struct str admin)
{
	struct termios before;
	bool keyboard = take_keyboard(&before);

	hear_signals();
	fputs("\033[?1049h\033[?25l", stdout);	/* another screen, no cursor */
	do
		draw_stats(admin);
	while (wait_for_key(keyboard) && !told_to_end);
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	if (keyboard)
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
	return 0;
}

static int look_once(struct str admin)
{
	json_t *stats = ask(admin);

	if (!stats) {
		fprintf(stderr, "retrywith top: no answer from %.*s\n", STR_FMT(admin));
		return EX_UNAVAILABLE;
	}
	top_view(stats, (struct top_size){ 0 }, stdout);
	json_decref(stats);
	return 0;
}

int top_main(struct config *c, int argc, char **argv)
{
	if (argc > 1) {
		fprintf(stderr, "retrywith top: what is %s?\n", argv[1]);
		return EX_USAGE;
	}
	if (!c->admin.len) {
		fprintf(stderr, "retrywith top: where? Say --admin ADDR:PORT or unix:PATH, as the "
			"running proxy has it\n");
		return EX_USAGE;
	}
	return isatty(STDOUT_FILENO) ? watch(c->admin) : look_once(c->admin);
}
