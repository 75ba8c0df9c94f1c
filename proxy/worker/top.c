/* top: the terminal. Plain escape sequences that every terminal of
 * this century knows; the screen is another one, so that what stood there stays. */
#include "worker/top.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

#include "worker/inquiry.h"
#include "worker/top_view.h"

enum { EVERY_MS = 1000, CONTROL_C = 3 };

/* NULL: no answer, or none that is understood. */
static json_t *ask(struct str admin)
{
	struct inquiry i = inquiry_make(admin, "/stats.json");
	json_error_t error;
	json_t *stats = i.status == 200 ? json_loadb(i.body, i.len, 0, &error) : NULL;

	inquiry_free(&i);
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
		fprintf(stderr, "retrywith top: there is no %s; say nothing more\n", argv[1]);
		return EX_USAGE;
	}
	if (!inquiry_has_address(c->admin, "top"))
		return EX_USAGE;
	return isatty(STDOUT_FILENO) ? watch(c->admin) : look_once(c->admin);
}
