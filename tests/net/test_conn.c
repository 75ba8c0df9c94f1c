/* conn: over socket pairs and loopback, plain and TLS. Each side tells its events
 * as letters: U up, R readable, W writable, D down. */
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>

#include "certs.h"

enum { ROOM = 1 << 20 };

struct side {
	struct conn *c;
	char said[64];			/* its events */
	bool reads;			/* takes what comes */
	char *got;			/* what it read */
	size_t got_n;
	bool eof, failed;
	const char *send;		/* what is left to write */
	size_t send_n;
	/* Called within each event before anything else; true: that is all. */
	bool (*within)(struct side *s, enum conn_event ev);
	struct side *other;
};

static struct side a, b;

static void take_all(struct side *s)
{
	struct iovec room[2];
	enum io io;
	size_t n;

	do {
		size_t half = (ROOM - s->got_n) / 2;

		assert_true(half > 0);
		room[0] = (struct iovec){ s->got + s->got_n, half };
		room[1] = (struct iovec){ s->got + s->got_n + half, half };
		io = conn_read(s->c, room, s->got_n % 2 ? 1 : 2, &n);
		s->got_n += n;
	} while (io == IO_DONE);
	s->eof |= io == IO_EOF;
	s->failed |= io == IO_FAILED;
	if (io == IO_EOF || io == IO_FAILED)
		conn_pause(s->c);
}

static void push(struct side *s)
{
	size_t put, half = s->send_n / 2;
	struct iovec v[2] = { { (char *)s->send, half }, { (char *)s->send + half, s->send_n - half } };

	if (conn_write(s->c, v, 2, &put) != IO_DONE) {
		s->failed = true;
		s->send_n = 0;
		return;
	}
	s->send += put;
	s->send_n -= put;
	assert_true(s->send_n == 0 || conn_write_waits(s->c));
}

static void hear(void *owner, struct conn *c, enum conn_event ev)
{
	struct side *s = owner;

	assert_ptr_equal(c, s->c);
	assert_false(conn_is_dead(c));
	if (strlen(s->said) < sizeof(s->said) - 1)
		strncat(s->said, &"URWD"[ev], 1);
	if (s->within && s->within(s, ev))
		return;
	if (ev == CONN_READABLE && s->reads)
		take_all(s);
	if (ev == CONN_WRITABLE && s->send_n)
		push(s);
}

static void check_said(struct side *s, const char *want)
{
	assert_string_equal(s->said, want);
	s->said[0] = '\0';
}

static int begin(void **state)
{
	loop_open();
	a = (struct side){ .reads = true, .other = &b, .got = malloc(ROOM) };
	b = (struct side){ .reads = true, .other = &a, .got = malloc(ROOM) };
	return 0;
}

static int end(void **state)
{
	conn_close(a.c);
	conn_close(b.c);
	free(a.got);
	free(b.got);
	loop_close();
	return 0;
}

/* Two conns, joined by a pair of unix sockets. */
static void join(int room)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	for (int i = 0; i < 2 && room; i++)
		setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	a.c = conn_accept(&net, fd[0], hear, &a);
	b.c = conn_accept(&net, fd[1], hear, &b);
	assert_true(a.c && b.c);
}

/* Two conns over TCP: a dialled, b accepted. */
static void dial(void)
{
	struct door d;
	int fd;

	assert_true(door_open(&d, 1, 0, 5));
	a.c = conn_dial(&net, (struct sockaddr *)&d.at, sizeof(d.at), hear, &a);
	assert_non_null(a.c);
	TURN_UNTIL(*a.said);
	check_said(&a, "U");
	fd = accept4(d.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	b.c = conn_accept(&net, fd, hear, &b);
	door_close(&d);
}

static struct tls_ctx *client_ctx, *server_ctx;

static void secure(const char *name)
{
	assert_true(conn_secure(a.c, client_ctx, str_of(name)));
	assert_true(conn_secure(b.c, server_ctx, STR_NONE));
	assert_string_equal(a.said, "");	/* never from within the call */
}

static void join_securely(int room)
{
	join(room);
	secure("good.test");
	TURN_UNTIL(*a.said && *b.said);
	check_said(&a, "U");
	check_said(&b, "U");
}

static const char *pattern(void)
{
	static char at[ROOM];
	uint32_t x = 1;

	if (!at[0])
		for (size_t i = 0; i < ROOM; i++)
			at[i] = (char)((x = x * 1664525u + 1013904223u) >> 24);
	at[0] = 'p';
	return at;
}

static void say(struct side *s, const char *text)
{
	s->send = text;
	s->send_n = strlen(text);
	push(s);
	assert_int_equal(s->send_n, 0);
}

static void check_got(struct side *s, const char *text)
{
	assert_int_equal(s->got_n, strlen(text));
	assert_memory_equal(s->got, text, s->got_n);
	s->got_n = 0;
}

/* -- reading and writing ------------------------------------------------------------ */

static void test_talk(void **state)
{
	join(0);
	turn();
	check_said(&a, "");			/* accepted conns have nothing to say */
	assert_true(conn_is_plain(a.c));
	assert_null(conn_peer(a.c));
	assert_null(conn_tls(a.c));
	assert_string_equal(conn_detail(a.c), "");
	say(&a, "hello");
	assert_false(conn_write_waits(a.c));
	turn();
	check_said(&b, "R");
	check_got(&b, "hello");
	say(&b, "and you");
	turn();
	check_got(&a, "and you");
	turn();
	check_said(&a, "R");			/* no WRITABLE without a short write */
	check_said(&b, "");
	assert_int_equal(conn_write(a.c, NULL, 0, &(size_t){ 9 }), IO_DONE);
}

static void test_reading_is_level_triggered(void **state)
{
	char room[2];
	size_t n;

	join(0);
	b.reads = false;
	say(&a, "abc");
	turn();
	turn();
	turn();
	check_said(&b, "RRR");
	assert_int_equal(conn_read(b.c, &(struct iovec){ room, 2 }, 1, &n), IO_DONE);
	assert_int_equal(n, 2);
	turn();
	check_said(&b, "R");			/* there is more */
	assert_int_equal(conn_read(b.c, &(struct iovec){ room, 2 }, 1, &n), IO_DONE);
	assert_int_equal(n, 1);
	assert_int_equal(conn_read(b.c, &(struct iovec){ room, 2 }, 1, &n), IO_WANT_READ);
	assert_int_equal(n, 0);
	turn();
	check_said(&b, "");
}

static void test_pause(void **state)
{
	join(0);
	conn_pause(b.c);
	conn_pause(b.c);
	say(&a, "abc");
	turn_quiet();
	check_said(&b, "");
	conn_resume(b.c);
	conn_resume(b.c);
	turn();
	check_said(&b, "R");
	check_got(&b, "abc");
	conn_pause(b.c);
	conn_close(a.c);
	turn_quiet();
	check_said(&b, "");			/* not even the end */
	conn_resume(b.c);
	turn();
	assert_true(b.eof);
}

/* Both are ready in the same turn, and the first one to hear pauses the other. */
static bool pause_other(struct side *s, enum conn_event ev)
{
	conn_pause(s->other->c);
	return false;
}

static void test_pause_of_one_that_is_ready(void **state)
{
	join(0);
	a.within = b.within = pause_other;
	say(&a, "to b");
	say(&b, "to a");
	turn();
	turn();
	assert_int_equal(strlen(a.said) + strlen(b.said), 1);
	a.within = b.within = NULL;
	conn_resume(a.c);
	conn_resume(b.c);
	turn();
	check_got(&a, "to a");
	check_got(&b, "to b");
}

/* Octets, and an end, are seen before they are heard. */
static void test_quiet(void **state)
{
	join(0);
	assert_true(conn_is_quiet(a.c));
	say(&b, "x");
	assert_false(conn_is_quiet(a.c));
	turn();
	check_got(&a, "x");
	assert_true(conn_is_quiet(a.c));
	conn_shut(b.c);
	assert_false(conn_is_quiet(a.c));
}

static unsigned news;

static bool look_at_other(struct side *s, enum conn_event ev)
{
	news += conn_has_news(s->other->c);
	return false;
}

/* Both are ready in the same turn: the first to hear knows of the other. */
static void test_news(void **state)
{
	join(0);
	a.within = b.within = look_at_other;
	news = 0;
	say(&a, "to b");
	turn();
	assert_int_equal(news, 0);
	say(&a, "to b");
	say(&b, "to a");
	assert_false(conn_has_news(a.c) || conn_has_news(b.c));
	turn();
	assert_int_equal(news, 1);
	assert_false(conn_has_news(a.c) || conn_has_news(b.c));
}

static void transfer(size_t n)
{
	a.send = pattern();
	a.send_n = n;
	push(&a);
	assert_int_not_equal(a.send_n, 0);	/* short, or the test is none */
	assert_true(conn_write_waits(a.c));
	conn_pause(b.c);
	turn_quiet();
	assert_true(strlen(a.said) <= 2);	/* no room, no event */
	conn_resume(b.c);
	TURN_UNTIL(b.got_n == n);
	assert_memory_equal(b.got, pattern(), n);
	turn_quiet();
	assert_false(conn_write_waits(a.c));
	a.said[0] = '\0';
	turn_quiet();
	check_said(&a, "");			/* WRITABLE came once per short write */
}

static void test_short_writes(void **state)
{
	join(4096);
	transfer(500000);
}

static void test_short_writes_over_tls(void **state)
{
	join_securely(4096);
	transfer(500000);
}

static void test_write_in_many_pieces(void **state)
{
	struct iovec v[16];
	size_t put;

	join(0);
	for (int i = 0; i < 16; i++)
		v[i] = (struct iovec){ (char *)pattern() + i * 10, 10 };
	assert_int_equal(conn_write(a.c, v, 16, &put), IO_DONE);
	assert_int_equal(put, 160);
	turn();
	assert_int_equal(b.got_n, 160);
	assert_memory_equal(b.got, pattern(), 160);
}

/* -- ends --------------------------------------------------------------------------- */

static void test_half_close(void **state)
{
	bool tls = *(bool *)*state;

	if (tls)
		join_securely(0);
	else
		join(0);
	say(&a, "last words");
	conn_shut(a.c);
	TURN_UNTIL(b.eof);
	check_got(&b, "last words");
	say(&b, "an answer");			/* and reading goes on */
	TURN_UNTIL(a.got_n);
	check_got(&a, "an answer");
	conn_close(b.c);
	TURN_UNTIL(a.eof);
	assert_false(a.failed);
}

/* A TLS stream that just stops was cut: not an end. */
static void test_cut_off(void **state)
{
	join_securely(0);
	say(&a, "incomplete");
	TURN_UNTIL(b.got_n);
	shutdown(conn_fd(a.c), SHUT_WR);
	TURN_UNTIL(b.failed);
	assert_false(b.eof);
}

static void test_abort(void **state)
{
	dial();
	say(&b, "some of it");
	conn_abort(b.c);
	TURN_UNTIL(a.failed);
	assert_false(a.eof);			/* a reset, not an end */
	say(&a, "");
	a.send_n = 1;
	push(&a);
	assert_true(a.failed);
}

static void test_writing_to_one_who_left(void **state)
{
	size_t put = 9;

	join(0);
	conn_close(b.c);
	assert_int_equal(conn_write(a.c, &(struct iovec){ "x", 1 }, 1, &put), IO_FAILED);
	assert_int_equal(put, 0);
	assert_false(conn_write_waits(a.c));
}

static void test_a_dead_one_does_nothing(void **state)
{
	char room[4];
	struct iovec v = { room, 4 };
	size_t n;

	join(0);
	conn_close(a.c);
	assert_true(conn_is_dead(a.c));
	assert_int_equal(conn_fd(a.c), -1);
	conn_close(a.c);
	conn_abort(a.c);
	conn_shut(a.c);
	conn_pause(a.c);
	conn_resume(a.c);
	assert_int_equal(conn_read(a.c, &v, 1, &n), IO_FAILED);
	assert_int_equal(conn_write(a.c, &v, 1, &n), IO_FAILED);
	assert_int_equal(conn_write_file(a.c, 0, 0, 1, &n), IO_FAILED);
	assert_int_equal(conn_pipe_in(a.c, 1, &n), IO_FAILED);
	assert_int_equal(conn_pipe_out(b.c, a.c, &n), IO_FAILED);
	conn_close(NULL);
	conn_abort(NULL);
	turn();
	check_said(&a, "");
	assert_int_equal(net.closed, 1);
	a.c = NULL;				/* buried */
}

/* -- the end within every event ----------------------------------------------------- */

static enum conn_event when;
static void (*how)(struct conn *c);

static bool end_both(struct side *s, enum conn_event ev)
{
	if (ev != when)
		return false;
	how(s->c);
	if (s->other->c)
		how(s->other->c);
	assert_true(conn_is_dead(s->c));
	return true;
}

static void test_end_within(void **state)
{
	static void (*const hows[])(struct conn *) = { conn_close, conn_abort };

	for (int i = 0; i < 8; i++) {
		bool tls = i & 2;

		a.got_n = b.got_n = 0;
		a.within = b.within = NULL;
		when = i & 4 ? CONN_READABLE : CONN_WRITABLE;
		how = hows[i & 1];
		if (tls)
			join_securely(4096);
		else
			join(4096);
		a.within = b.within = end_both;
		a.send = pattern();
		a.send_n = 100000;
		push(&a);
		say(&b, "so that both are ready");
		TURN_UNTIL(net.closed == 2 * ((uint64_t)i + 1));
		turn_quiet();
		/* it was the last event of its side, and the other side is silent too */
		assert_true(strlen(a.said) + strlen(b.said) >= 1);
		a.said[0] = b.said[0] = '\0';
		turn_quiet();
		check_said(&a, "");
		check_said(&b, "");
	}
	a.c = b.c = NULL;
}

static void test_end_within_up(void **state)
{
	struct door d;

	assert_true(door_open(&d, 1, 0, 5));
	when = CONN_UP;
	how = conn_close;
	a.within = end_both;
	a.c = conn_dial(&net, (struct sockaddr *)&d.at, sizeof(d.at), hear, &a);
	TURN_UNTIL(net.closed == 1);
	turn_quiet();
	check_said(&a, "U");
	door_close(&d);
	/* and within the second UP, of a handshake */
	a.c = b.c = NULL;
	a.within = NULL;
	join(0);
	secure("good.test");
	a.within = b.within = end_both;
	TURN_UNTIL(net.closed == 3);
	turn_quiet();
	assert_int_equal(strlen(a.said) + strlen(b.said), 1);
	a.c = b.c = NULL;
}

static void test_end_within_down(void **state)
{
	join(0);
	secure("other.test");
	when = CONN_DOWN;
	how = conn_close;
	a.within = b.within = end_both;
	TURN_UNTIL(net.closed == 2);
	turn_quiet();
	assert_int_equal(strlen(a.said) + strlen(b.said), 1);
	a.c = b.c = NULL;
}

/* The memory of a buried conn serves the next one, which hears its own only. */
static bool replace_other(struct side *s, enum conn_event ev)
{
	conn_close(s->other->c);
	s->within = NULL;
	return true;
}

static void test_memory_is_used_again(void **state)
{
	struct conn *was;

	join(0);
	a.within = b.within = replace_other;
	say(&a, "to b");
	say(&b, "to a");
	turn();					/* one of them closed the other */
	assert_int_equal(net.closed, 1);
	conn_close(a.c);
	conn_close(b.c);
	was = net.dying;
	turn();
	assert_int_equal(net.closed, 2);
	a.within = b.within = NULL;
	a.said[0] = b.said[0] = '\0';
	join(0);
	assert_true(a.c == was || b.c == was);
	turn_quiet();
	check_said(&a, "");
	check_said(&b, "");
	say(&a, "new");
	turn();
	check_got(&b, "new");
}

static void hear_no_more(void *owner, struct conn *c, enum conn_event ev)
{
	strcat(owner, "x");
}

static bool hand_over(struct side *s, enum conn_event ev)
{
	static char heard[8];

	memset(heard, 0, sizeof(heard));
	conn_adopt(s->c, hear_no_more, heard);
	s->got = memcpy(s->got, &(char *){ heard }, sizeof(char *));
	return true;
}

static void test_adopt(void **state)
{
	char *heard;

	join(0);
	b.within = hand_over;
	say(&a, "x");
	turn();
	turn();
	check_said(&b, "R");
	memcpy(&heard, b.got, sizeof(heard));
	assert_string_equal(heard, "x");
}

/* -- dialling ----------------------------------------------------------------------- */

static void test_dial(void **state)
{
	int on = 0;
	socklen_t len = sizeof(on);

	dial();
	assert_int_equal(conn_peer(a.c)->sa_family, AF_INET);
	assert_int_equal(((const struct sockaddr_in *)conn_peer(a.c))->sin_addr.s_addr,
			 htonl(0x7f000001));
	assert_int_equal(getsockopt(conn_fd(a.c), IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	assert_true(on);
	assert_true(fcntl(conn_fd(a.c), F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(conn_fd(a.c), F_GETFL) & O_NONBLOCK);
	say(&a, "hello");
	TURN_UNTIL(b.got_n);
	check_got(&b, "hello");
	check_said(&a, "");			/* UP was told once, and no WRITABLE */
}

static void test_dial_refused(void **state)
{
	struct door d;

	assert_true(door_open(&d, 1, 0, 5));
	door_close(&d);
	a.c = conn_dial(&net, (struct sockaddr *)&d.at, sizeof(d.at), hear, &a);
	if (!a.c) {
		assert_int_equal(errno, ECONNREFUSED);
		return;
	}
	TURN_UNTIL(*a.said);
	turn_quiet();
	check_said(&a, "D");
	assert_int_equal(conn_why(a.c), WHY_REFUSED);
}

static void test_dial_that_cannot_begin(void **state)
{
	struct sockaddr_in nowhere = { .sin_family = AF_INET, .sin_port = htons(9),
				       .sin_addr.s_addr = INADDR_BROADCAST };
	struct sockaddr odd = { .sa_family = 250 };
	struct rlimit was, none = { 0, 0 };

	assert_null(conn_dial(&net, (struct sockaddr *)&nowhere, sizeof(nowhere), hear, &a));
	assert_int_not_equal(errno, 0);
	assert_null(conn_dial(&net, &odd, sizeof(odd), hear, &a));
	assert_int_equal(errno, EAFNOSUPPORT);
	getrlimit(RLIMIT_NOFILE, &was);
	none.rlim_max = was.rlim_max;
	setrlimit(RLIMIT_NOFILE, &none);
	assert_null(conn_dial(&net, (struct sockaddr *)&nowhere, sizeof(nowhere), hear, &a));
	assert_int_equal(errno, EMFILE);
	setrlimit(RLIMIT_NOFILE, &was);
	turn_quiet();
	check_said(&a, "");
}

/* R147 */
static void test_reasons(void **state)
{
	static const struct { int err; enum why why; } row[] = {
		{ ECONNREFUSED, WHY_REFUSED }, { ENETUNREACH, WHY_UNROUTABLE },
		{ EHOSTUNREACH, WHY_UNROUTABLE }, { EADDRNOTAVAIL, WHY_UNROUTABLE },
		{ EAFNOSUPPORT, WHY_UNROUTABLE }, { ETIMEDOUT, WHY_CONNECT_TIMEOUT },
		{ EMFILE, WHY_OVERLOADED }, { ENFILE, WHY_OVERLOADED },
		{ EACCES, WHY_CONNECT_FAILED }, { ECONNRESET, WHY_CONNECT_FAILED },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		assert_int_equal(conn_why_errno(row[i].err), row[i].why);
}

static void test_dial_given_up(void **state)
{
	struct door d;

	assert_true(door_open(&d, 1, 0, 5));
	a.c = conn_dial(&net, (struct sockaddr *)&d.at, sizeof(d.at), hear, &a);
	conn_close(a.c);
	turn_quiet();
	check_said(&a, "");
	a.c = NULL;
	door_close(&d);
}

/* -- TLS ---------------------------------------------------------------------------- */

static void test_tls_talk(void **state)
{
	join_securely(0);
	assert_false(conn_is_plain(a.c));
	assert_non_null(conn_tls(a.c));
	say(&a, "hello");
	TURN_UNTIL(b.got_n);
	check_got(&b, "hello");
	say(&b, "and you");
	TURN_UNTIL(a.got_n);
	check_got(&a, "and you");
}

/* Session tickets are no words of the peer's. */
static void test_tls_quiet(void **state)
{
	char octet;

	join(0);
	secure("good.test");
	TURN_UNTIL(*b.said || (*a.said && recv(conn_fd(a.c), &octet, 1, MSG_PEEK | MSG_DONTWAIT) == 1));
	conn_pause(a.c);
	TURN_UNTIL(*b.said);
	assert_int_equal(recv(conn_fd(a.c), &octet, 1, MSG_PEEK | MSG_DONTWAIT), 1);
	assert_true(conn_is_quiet(a.c));
	say(&b, "x");
	assert_false(conn_is_quiet(a.c));
}

/* What was said together with the end of the handshake, or is decrypted already,
 * is told though the kernel has nothing more. */
static bool speak_at_once(struct side *s, enum conn_event ev)
{
	if (ev == CONN_UP)
		say(s, "first words");
	return false;
}

static void test_tls_first_words(void **state)
{
	join(0);
	a.within = b.within = speak_at_once;
	secure("good.test");
	TURN_UNTIL(a.got_n && b.got_n);
	check_got(&a, "first words");
	check_got(&b, "first words");
}

static bool read_one(struct side *s, enum conn_event ev)
{
	size_t n;

	if (ev == CONN_READABLE &&
	    conn_read(s->c, &(struct iovec){ s->got + s->got_n, 1 }, 1, &n) == IO_DONE)
		s->got_n += n;
	if (s->got_n % 7 == 3)			/* waits inside while we do not listen */
		conn_pause(s->c);
	return true;
}

static void test_tls_small_bites(void **state)
{
	join_securely(0);
	b.within = read_one;
	say(&a, "a record of many octets");
	for (int i = 0; i < 4; i++) {
		size_t had = b.got_n;

		conn_resume(b.c);
		TURN_UNTIL(b.got_n > had);
		turn_quiet();
	}
	assert_int_equal(b.got_n, 23);
	check_got(&b, "a record of many octets");
}

static void test_tls_refused(void **state)
{
	join(0);
	secure("other.test");
	TURN_UNTIL(*a.said && *b.said);
	turn_quiet();
	check_said(&a, "D");
	check_said(&b, "D");
	assert_int_equal(tls_why(conn_tls(a.c)), WHY_TLS_CERTIFICATE);
	assert_non_null(strstr(conn_detail(a.c), "mismatch"));
}

static void test_tls_refused_after_a_dial(void **state)
{
	dial();
	secure("other.test");
	TURN_UNTIL(*a.said);
	check_said(&a, "D");
	assert_int_equal(conn_why(a.c), WHY_TLS_CERTIFICATE);
}

static void test_tls_peer_leaves(void **state)
{
	join(0);
	assert_true(conn_secure(a.c, client_ctx, STR("good.test")));
	turn();
	conn_close(b.c);
	TURN_UNTIL(*a.said);
	check_said(&a, "D");
	turn_quiet();
	check_said(&a, "");
}

/* -- octets that were read too early ---------------------------------------------------- */

static void test_unread(void **state)
{
	join(0);
	conn_pause(b.c);
	say(&a, "ghi");
	assert_true(conn_unread(b.c, STR("def")));
	assert_true(conn_unread(b.c, STR("abc")));
	assert_true(conn_unread(b.c, STR("")));
	turn_quiet();
	check_said(&b, "");			/* paused is paused */
	assert_false(conn_has_pipe(b.c));	/* they are not in the kernel */
	conn_resume(b.c);
	TURN_UNTIL(b.got_n == 9);
	check_got(&b, "abcdefghi");
	assert_true(conn_has_pipe(b.c));
	b.within = read_one;
	assert_true(conn_unread(b.c, STR("in small bites")));
	for (int i = 0; i < 20 && b.got_n < 14; i++) {
		conn_resume(b.c);
		turn();
	}
	check_got(&b, "in small bites");
	conn_resume(b.c);
	assert_true(conn_unread(b.c, STR("never read")));
}

/* The beginning of a handshake was taken for something else. */
static void test_unread_before_tls(void **state)
{
	static char hello[4096];
	ssize_t n;

	join(0);
	conn_pause(b.c);
	assert_true(conn_secure(a.c, client_ctx, STR("good.test")));
	turn_quiet();
	n = read(conn_fd(b.c), hello, sizeof(hello));
	assert_true(n > 5);
	assert_true(conn_unread(b.c, (struct str){ hello, (size_t)n }));
	assert_true(conn_secure(b.c, server_ctx, STR_NONE));
	TURN_UNTIL(*a.said && *b.said);
	check_said(&a, "U");
	say(&a, "hello");
	TURN_UNTIL(b.got_n);
	check_got(&b, "hello");
}

/* -- files -------------------------------------------------------------------------- */

static int file_of(size_t n)
{
	FILE *f = tmpfile();
	int fd;

	assert_non_null(f);
	assert_int_equal(fwrite(pattern(), 1, n, f), n);
	fflush(f);
	fd = dup(fileno(f));
	fclose(f);
	return fd;
}

static void test_files(void **state)
{
	static const struct { bool tls; int room; size_t at, len; } row[] = {
		{ false, 0, 0, 1 }, { false, 0, 7, 20000 }, { false, 4096, 0, 300000 },
		{ true, 0, 0, 1 }, { true, 0, 7, 20000 }, { true, 4096, 0, 300000 },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		size_t done = 0, put;
		int fd = file_of(row[i].at + row[i].len);

		if (row[i].tls)
			join_securely(row[i].room);
		else
			join(row[i].room);
		b.got_n = 0;
		for (int n = 0; done < row[i].len && n < TURNS_MOST; n++) {
			assert_int_equal(conn_write_file(a.c, fd, (off_t)(row[i].at + done),
							 row[i].len - done, &put), IO_DONE);
			done += put;
			if (conn_write_waits(a.c))
				TURN_UNTIL(!conn_write_waits(a.c));
		}
		TURN_UNTIL(b.got_n == row[i].len);
		assert_memory_equal(b.got, pattern() + row[i].at, row[i].len);
		/* beyond its end: never a short replay that looks whole */
		assert_int_equal(conn_write_file(a.c, fd, (off_t)(row[i].at + row[i].len), 5, &put),
				 IO_FAILED);
		close(fd);
		conn_close(a.c);
		conn_close(b.c);
		turn();
		a.said[0] = b.said[0] = '\0';
	}
	a.c = b.c = NULL;
}

/* -- pipes: p -> q, and r -> s ------------------------------------------------------ */

static struct side p, q;

static void join_lines(int room)
{
	int fd[2];

	join(room);				/* a writes, b is spliced from */
	b.reads = false;
	conn_pause(b.c);
	p = (struct side){ .other = &q };
	q = (struct side){ .other = &p, .reads = true, .got = malloc(ROOM) };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	if (room)
		setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	p.c = conn_accept(&net, fd[0], hear, &p);
	q.c = conn_accept(&net, fd[1], hear, &q);
}

static void part_lines(void)
{
	conn_close(p.c);
	conn_close(q.c);
	free(q.got);
}

static void test_pipe(void **state)
{
	size_t n;

	join_lines(0);
	assert_int_equal(conn_in_pipe(b.c), 0);
	assert_int_equal(conn_pipe_out(b.c, p.c, &n), IO_DONE);	/* nothing waits */
	assert_int_equal(conn_pipe_in(b.c, 100, &n), IO_WANT_READ);
	assert_int_equal(n, 0);
	say(&a, "abcdef");
	assert_int_equal(conn_pipe_in(b.c, 4, &n), IO_DONE);
	assert_int_equal(n, 4);
	assert_int_equal(conn_pipe_in(b.c, 100, &n), IO_DONE);
	assert_int_equal(n, 2);
	assert_int_equal(conn_in_pipe(b.c), 6);
	assert_int_equal(conn_pipe_out(b.c, p.c, &n), IO_DONE);
	assert_int_equal(n, 6);
	assert_int_equal(conn_in_pipe(b.c), 0);
	turn();
	check_got(&q, "abcdef");
	conn_close(a.c);
	assert_int_equal(conn_pipe_in(b.c, 100, &n), IO_EOF);
	part_lines();
}

static void pump(void)
{
	size_t n;
	enum io in = IO_DONE;

	while (in == IO_DONE) {
		in = conn_pipe_in(b.c, ROOM, &n);
		assert_int_not_equal(in, IO_FAILED);
		assert_int_equal(conn_pipe_out(b.c, p.c, &n), IO_DONE);
		if (conn_in_pipe(b.c)) {
			assert_true(conn_write_waits(p.c));
			return;
		}
	}
}

static void test_pipe_of_a_slow_one(void **state)
{
	size_t n, in = 0;
	enum io io;

	join_lines(4096);
	a.send = pattern();
	a.send_n = 900000;
	push(&a);
	/* the receiver takes nothing: the pipe fills, and says so */
	for (int i = 0; i < TURNS_MOST && conn_in_pipe(b.c) < 1 << 17; i++) {
		io = conn_pipe_in(b.c, ROOM, &n);
		in += n;
		assert_int_equal(conn_in_pipe(b.c), in);
		turn();
		if (io == IO_WANT_WRITE && !a.send_n)
			break;
	}
	assert_true(in > 4096);
	conn_pause(q.c);
	assert_int_equal(conn_pipe_out(b.c, p.c, &n), IO_DONE);
	assert_true(n < in);			/* short is no error ... */
	assert_true(conn_write_waits(p.c));	/* ... and WRITABLE comes to p */
	conn_resume(q.c);
	TURN_UNTIL(*p.said);
	check_said(&p, "W");
	TURN_UNTIL((pump(), q.got_n == 900000));
	assert_memory_equal(q.got, pattern(), 900000);
	part_lines();
}

static void test_pipe_to_one_who_left(void **state)
{
	unsigned fds;
	size_t n;

	join_lines(0);
	say(&a, "lost");
	assert_int_equal(conn_pipe_in(b.c, 100, &n), IO_DONE);
	conn_close(q.c);
	assert_int_equal(conn_pipe_out(b.c, p.c, &n), IO_FAILED);
	assert_int_equal(conn_in_pipe(b.c), 4);
	/* A pipe with somebody's octets in it is closed, an empty one kept. */
	fds = count_fds();
	conn_close(b.c);
	assert_int_equal(count_fds(), fds - 3);
	assert_null(net.pipes);
	turn();
	b.c = NULL;
	part_lines();
	turn();
	conn_close(a.c);
	join_lines(0);
	assert_true(conn_has_pipe(b.c));
	fds = count_fds();
	conn_close(b.c);
	assert_int_equal(count_fds(), fds - 1);
	assert_non_null(net.pipes);
	assert_true(conn_has_pipe(a.c));	/* the same again */
	assert_null(net.pipes);
	turn();
	b.c = NULL;
	part_lines();
}

static void test_no_pipe_to_be_had(void **state)
{
	struct rlimit was, none = { 0, 0 };
	size_t n;

	join_lines(0);
	say(&a, "still there");
	getrlimit(RLIMIT_NOFILE, &was);
	none.rlim_max = was.rlim_max;
	setrlimit(RLIMIT_NOFILE, &none);
	errno = 0;
	assert_int_equal(conn_pipe_in(b.c, 100, &n), IO_FAILED);
	assert_int_equal(errno, EMFILE);
	assert_false(conn_has_pipe(b.c));
	setrlimit(RLIMIT_NOFILE, &was);
	b.reads = true;				/* copying works: nothing was lost */
	conn_resume(b.c);
	turn();
	check_got(&b, "still there");
	part_lines();
}

/* -- a long talk, at random, against what was said ---------------------------------- */

static uint32_t dice(uint32_t sides)
{
	static uint32_t seed = 7;

	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % sides;
}

static bool nibble(struct side *s, enum conn_event ev)
{
	size_t n, most = 1 + dice(5000);

	if (most > ROOM - s->got_n)
		most = ROOM - s->got_n;
	if (ev == CONN_READABLE && most &&
	    conn_read(s->c, &(struct iovec){ s->got + s->got_n, most }, 1, &n) == IO_DONE)
		s->got_n += n;
	if (ev == CONN_WRITABLE)
		s->eof = true;			/* may write again */
	if (dice(3) == 0)
		conn_pause(s->c);
	return true;
}

static size_t offer(struct side *s, size_t at)
{
	size_t put, n = 1 + dice(20000);

	if (n > ROOM - at)
		n = ROOM - at;
	assert_int_equal(conn_write(s->c, &(struct iovec){ (char *)pattern() + at, n }, 1, &put), IO_DONE);
	if (put < n)
		s->eof = false;
	return at + put;
}

static void test_long_talk(void **state)
{
	enum { MUCH = ROOM - 1 };
	size_t said_a = 0, said_b = 0;

	if (*(bool *)*state)
		join_securely(8192);
	else
		join(8192);
	a.within = b.within = nibble;
	a.eof = b.eof = true;
	for (int i = 0; (a.got_n < MUCH || b.got_n < MUCH) && i < 200000; i++) {
		if (a.eof && said_a < MUCH)
			said_a = offer(&a, said_a);
		if (b.eof && said_b < MUCH)
			said_b = offer(&b, said_b);
		turn();
		if (dice(2))
			conn_resume(a.c);
		if (dice(2))
			conn_resume(b.c);
	}
	assert_true(a.got_n >= MUCH && b.got_n >= MUCH);
	assert_memory_equal(a.got, pattern(), MUCH);
	assert_memory_equal(b.got, pattern(), MUCH);
}

static int open_all(void **state)
{
	certs_open("DNS:good.test");
	client_ctx = certs_context(TLS_CLIENT);
	server_ctx = certs_context(TLS_SERVER);
	return 0;
}

static int close_all(void **state)
{
	tls_ctx_free(client_ctx);
	tls_ctx_free(server_ctx);
	certs_close();
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)
#define TEST_WITH(fn, what) { #fn " " #what, fn, begin, end, &(what) }

int main(void)
{
	static bool plain = false, tls = true;
	const struct CMUnitTest tests[] = {
		TEST(test_talk), TEST(test_reading_is_level_triggered), TEST(test_pause),
		TEST(test_pause_of_one_that_is_ready), TEST(test_quiet), TEST(test_news),
		TEST(test_short_writes),
		TEST(test_short_writes_over_tls), TEST(test_write_in_many_pieces),
		TEST_WITH(test_half_close, plain), TEST_WITH(test_half_close, tls),
		TEST(test_cut_off), TEST(test_abort), TEST(test_writing_to_one_who_left),
		TEST(test_a_dead_one_does_nothing), TEST(test_end_within),
		TEST(test_end_within_up), TEST(test_end_within_down),
		TEST(test_memory_is_used_again), TEST(test_adopt), TEST(test_dial),
		TEST(test_dial_refused), TEST(test_dial_that_cannot_begin),
		TEST(test_reasons), TEST(test_dial_given_up), TEST(test_tls_talk), TEST(test_tls_first_words),
		TEST(test_tls_quiet),
		TEST(test_tls_small_bites), TEST(test_tls_refused),
		TEST(test_tls_refused_after_a_dial), TEST(test_tls_peer_leaves),
		TEST(test_unread), TEST(test_unread_before_tls),
		TEST(test_files), TEST(test_pipe), TEST(test_pipe_of_a_slow_one),
		TEST(test_pipe_to_one_who_left), TEST(test_no_pipe_to_be_had),
		TEST_WITH(test_long_talk, plain), TEST_WITH(test_long_talk, tls),
	};

	return cmocka_run_group_tests_name("conn", tests, open_all, close_all);
}
