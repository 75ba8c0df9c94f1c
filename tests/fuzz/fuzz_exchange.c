/* fuzz_exchange: whole exchanges by script: a worker in this thread, two clients
 * and as many origin connections as it opens, with a clock that the script moves.
 *
 * Input: a list of operations, see enum op; the high half of an operation's octet
 * says whose it is. Templates make whole messages that carry a number in a field
 * (whose name the input cannot know), and a body made from that number: so both
 * ends can tell whether what looks whole is whole, and whose it is.
 *
 * What has to hold: both ends hear nothing but well-formed messages; what is
 * complete is complete, and its own; a replay repeats its request; every
 * exchange ends in time, in an answer or a visible break; nothing stays behind.
 * (P13) */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ground/buf.h"
#include "ground/log.h"
#include "stage.h"
#include "strict.h"
#include "worker/clients.h"
#include "worker/session.h"
#include "worker/transaction.h"
#include "worker/worker.h"

enum op {
	OP_RAW,				/* n, n octets: into the queue */
	OP_REQUEST,			/* kind, size: a template into the queue */
	OP_ANSWER,			/* kind, size */
	OP_SEND,			/* all that is in the queue */
	OP_SEND_SOME,			/* n */
	OP_FIN,
	OP_RESET,
	OP_TURN,			/* n: turns of the worker */
	OP_CLOCK,			/* n: forward, see jumps */
	OP_DEAF,			/* reads no more, or again */
	OP_OTHER,			/* a new client in this place */
	OP_DOOR,			/* the origin refuses connections, or takes them again */
	OPS
};

enum {
	CLIENTS = 2, SERVERS = 12, MESSAGES = 64, NOTES = 64,
	OCTETS_MOST = 2 << 20,		/* queued in a run */
	SEND_ROOM = 16384, TURNS = 4, WAITS = 60, WAIT_MS = 400 * 1000, LOOKUP_MS = 5000,
	BODY_MEMORY = 16384,
};

__attribute__((noreturn, format(printf, 1, 2)))
static void broken(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

/* An exchange as the proxy saw it end. */
struct note {
	enum method_kind kind;
	uint16_t status;
};

struct client {
	struct actor actor;
	uint64_t session;
	struct note notes[NOTES];
	unsigned notes_n;
};

struct server {
	struct actor actor;
	bool raw;			/* said something that is of no template */
};

enum style { STYLE_NONE, STYLE_LENGTH, STYLE_CHUNKED, STYLE_TRAILER, STYLE_CLOSE, STYLE_ANNOUNCED };

/* A message made by a template. */
struct message {
	unsigned number;
	size_t size;			/* of its body */
	const struct server *from;	/* NULL: a client's */
	enum style style;
	size_t end;			/* of it in the queue of `from` */
	const char *copy;		/* its head when it first came to the origin */
	size_t copy_len;
	unsigned came;
};

static struct {
	struct config *config;
	struct spool spool;
	struct worker *worker;		/* one for all runs: it is large */
	int origin, entrance;		/* doors */
	uint16_t origin_port, entrance_port;
} house;

static struct run {
	const uint8_t *at, *end;
	struct worker *worker;
	struct client clients[CLIENTS];
	struct server servers[SERVERS];
	unsigned servers_n;
	struct message messages[MESSAGES];
	unsigned messages_n;
	char field[16];			/* carries the number of a message */
	size_t queued;
	uint64_t tunnels;		/* those of the runs before */
	bool shut;
} run;

/* --- templates --- */

struct template {
	const char *start, *fields;
	enum style style;
	const char *body;		/* NULL: made from the number */
};

#define EQ "Ms-Echo-Request: x y=\"1\"\r\n"

/* %s is the origin's host:port */
static const struct template requests[] = {
	{ "GET http://%s/a HTTP/1.1", "", STYLE_NONE, NULL },
	{ "HEAD http://%s/a HTTP/1.1", "", STYLE_NONE, NULL },
	{ "POST http://%s/a HTTP/1.1", "", STYLE_LENGTH, NULL },
	{ "POST /a HTTP/1.1", "", STYLE_CHUNKED, NULL },
	{ "PUT /a HTTP/1.1", "Expect: 100-continue\r\n", STYLE_LENGTH, NULL },
	{ "POST /a HTTP/1.1", "TE: trailers\r\nConnection: TE\r\n", STYLE_TRAILER, NULL },
	{ "GET /a HTTP/1.0", "", STYLE_NONE, NULL },
	{ "POST /a HTTP/1.0", "Connection: keep-alive\r\n", STYLE_LENGTH, NULL },
	{ "CONNECT %s HTTP/1.1", "", STYLE_NONE, NULL },
	{ "GET /a HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", STYLE_NONE, NULL },
	{ "PROPFIND /supply HTTP/1.1", "Cookie: a=b\r\n", STYLE_LENGTH, NULL },
	{ "POST /backoff HTTP/1.1", "", STYLE_LENGTH, NULL },
	{ "GET /a HTTP/1.1", "Authorization: NTLM TlRMTVNTUAAD\r\n", STYLE_NONE, NULL },
	{ "GET /learn HTTP/1.1", "Connection: close\r\n", STYLE_NONE, NULL },
	{ "OPTIONS * HTTP/1.1", "Max-Forwards: 3\r\n", STYLE_NONE, NULL },
	{ "GET /a HTTP/1.1", "Ms-Echo-Reply: own\r\nCookie: c=d\r\n", STYLE_NONE, NULL },
};

static const struct template answers[] = {
	{ "HTTP/1.1 200 OK", "", STYLE_LENGTH, NULL },
	{ "HTTP/1.1 200 OK", "", STYLE_CHUNKED, NULL },
	{ "HTTP/1.1 200 OK", "Trailer: X-T\r\n", STYLE_TRAILER, NULL },
	{ "HTTP/1.1 200 OK", "Connection: close\r\n", STYLE_CLOSE, NULL },
	{ "HTTP/1.0 200 OK", "", STYLE_CLOSE, NULL },
	{ "HTTP/1.1 449 Retry With", EQ, STYLE_LENGTH, NULL },
	{ "HTTP/1.1 449 Retry With", EQ "Connection: close\r\n", STYLE_CHUNKED, NULL },
	{ "HTTP/1.1 449 Retry With", "", STYLE_LENGTH, NULL },
	{ "HTTP/1.1 449 Retry With", EQ "Set-Cookie: s=1\r\nRetry-After: 1\r\n", STYLE_LENGTH, NULL },
	{ "HTTP/1.1 449 Retry With", "", STYLE_LENGTH, "{\"missing\":{\"token\":\"abc\"}}" },
	{ "HTTP/1.0 449 Retry With", EQ, STYLE_CLOSE, NULL },
	{ "HTTP/1.1 100 Continue", "", STYLE_NONE, NULL },
	{ "HTTP/1.1 103 Early Hints", "Link: </x>\r\n", STYLE_NONE, NULL },
	{ "HTTP/1.1 204 No Content", "", STYLE_NONE, NULL },
	{ "HTTP/1.1 304 Not Modified", "", STYLE_ANNOUNCED, NULL },
	{ "HTTP/1.1 101 Switching", "Connection: Upgrade\r\nUpgrade: websocket\r\n", STYLE_NONE, NULL },
	{ "HTTP/1.1 401 No", "WWW-Authenticate: NTLM TlRMTVNTUAAC\r\n", STYLE_LENGTH, NULL },
	{ "HTTP/1.1 449 Retry With", EQ "Persistent-Auth: true\r\n", STYLE_LENGTH, NULL },
	{ "HTTP/1.1 417 No", "", STYLE_LENGTH, NULL },
	{ "HTTP/1.1 200 OK", "", STYLE_ANNOUNCED, NULL },
};

static char body_octet(unsigned number, size_t i)
{
	return (char)(number * 37 + i * 11 + (i >> 8) * 5);
}

static size_t body_size(uint8_t n)
{
	return n < 128 ? n : (size_t)(n - 127) * 2500;
}

static void add_string(struct text *out, const char *s)
{
	text_add(out, s, strlen(s));
}

__attribute__((format(printf, 2, 3)))
static void add_printed(struct text *out, const char *fmt, ...)
{
	char room[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(room, sizeof room, fmt, ap);
	va_end(ap);
	add_string(out, room);
}

static void add_body(struct text *out, const struct message *m, const struct template *t)
{
	enum { PIECE = 3000 };
	char piece[PIECE];

	for (size_t at = 0, n; at < m->size; at += n) {
		n = m->size - at < PIECE ? m->size - at : PIECE;
		for (size_t i = 0; i < n; i++)
			piece[i] = t->body ? t->body[at + i] : body_octet(m->number, at + i);
		if (t->style == STYLE_CHUNKED || t->style == STYLE_TRAILER)
			add_printed(out, "%zx\r\n", n);
		text_add(out, piece, n);
		if (t->style == STYLE_CHUNKED || t->style == STYLE_TRAILER)
			add_string(out, "\r\n");
	}
}

static void add_message(struct text *out, struct message *m, const struct template *t)
{
	if (!t->body)
		add_printed(out, "%s: %u\r\n", run.field, m->number);
	switch (t->style) {
	case STYLE_NONE:
		add_string(out, "\r\n");
		return;
	case STYLE_ANNOUNCED:
		add_printed(out, "Content-Length: %zu\r\n\r\n", m->size);
		return;
	case STYLE_LENGTH:
		add_printed(out, "Content-Length: %zu\r\n\r\n", m->size);
		break;
	case STYLE_CHUNKED:
	case STYLE_TRAILER:
		add_string(out, "Transfer-Encoding: chunked\r\n\r\n");
		break;
	case STYLE_CLOSE:
		add_string(out, "\r\n");
		break;
	}
	add_body(out, m, t);
	if (t->style == STYLE_CHUNKED)
		add_string(out, "0\r\n\r\n");
	if (t->style == STYLE_TRAILER)
		add_string(out, "0\r\nX-T: trailing\r\n\r\n");
}

static void queue_template(struct actor *to, const struct server *from, uint8_t kind, uint8_t n)
{
	const struct template *t = from ? &answers[kind % (sizeof answers / sizeof *answers)] :
					  &requests[kind % (sizeof requests / sizeof *requests)];
	struct message *m = &run.messages[run.messages_n];
	size_t before = to->out.len;
	char host[32];

	if (run.messages_n == MESSAGES || run.queued > OCTETS_MOST)
		return;
	*m = (struct message){ .number = ++run.messages_n, .from = from,
			       .size = t->style == STYLE_NONE ? 0 :
				       t->body ? strlen(t->body) : body_size(n),
			       .style = t->style };
	snprintf(host, sizeof host, "127.0.0.1:%u", house.origin_port);
	add_printed(&to->out, t->start, host);
	add_string(&to->out, "\r\n");
	if (!from)
		add_printed(&to->out, "Host: %s\r\n", host);
	add_string(&to->out, t->fields);
	add_message(&to->out, m, t);
	m->end = to->out.len;
	run.queued += to->out.len - before;
}

/* --- turns --- */

static void hear_all(void)
{
	while (run.servers_n < SERVERS &&
	       actor_accept(&run.servers[run.servers_n].actor, house.origin))
		run.servers_n++;
	for (unsigned i = 0; i < run.servers_n; i++)
		actor_hear(&run.servers[i].actor);
	for (unsigned i = 0; i < CLIENTS; i++)
		actor_hear(&run.clients[i].actor);
}

static void turn(unsigned n)
{
	while (n--) {
		hear_all();
		worker_poll(run.worker);
	}
	hear_all();
}

static void note(void *arg, const struct transaction *t)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *c = &run.clients[i];

		if (c->session == t->session->id && c->notes_n < NOTES)
			c->notes[c->notes_n++] = (struct note){ t->request.kind, t->status };
	}
}

static void enter(struct client *c)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	struct session *s;
	int fd;

	if (c->session || !actor_dial(&c->actor, house.entrance_port))
		return;
	fd = accept4(house.entrance, (struct sockaddr *)&a, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		broken("the client's own door is shut");
	clients_enter((struct sockaddr *)&a, 0, 0);
	s = session_open(run.worker, fd, (struct sockaddr *)&a, len, NULL);
	if (!s)
		broken("no session");
	c->session = s->id;
}

/* --- the script --- */

static uint8_t next(void)
{
	return run.at < run.end ? *run.at++ : 0;
}

static void queue_raw(struct actor *a)
{
	size_t n = next(), left = (size_t)(run.end - run.at);

	n = n < left ? n : left;
	text_add(&a->out, run.at, n);
	run.at += n;
	run.queued += n;
}

static void jump(uint8_t n)
{
	static const uint32_t ms[] = { 1, 20, 260, 1100, 5000, 16000, 31000, 61000, 301000 };

	clock_jump(ms[n % (sizeof ms / sizeof *ms)]);
	turn(2);
}

static void toggle_door(void)
{
	hear_all();
	(run.shut ? door_again : door_shut)(house.origin);
	run.shut = !run.shut;
}

static void act(enum op op, struct actor *a, struct server *s)
{
	switch (op) {
	case OP_RAW:
		if (s)
			s->raw = true;
		queue_raw(a);
		return;
	case OP_REQUEST:
	case OP_ANSWER: {
		uint8_t kind = next();

		queue_template(a, s, kind, next());
		return;
	}
	case OP_SEND:
		actor_say(a, SIZE_MAX);
		return;
	case OP_SEND_SOME:
		actor_say(a, next());
		return;
	case OP_FIN:
		actor_fin(a);
		return;
	case OP_RESET:
		actor_hear(a);
		actor_reset(a);
		return;
	case OP_DEAF:
		a->deaf = !a->deaf;
		return;
	case OP_TURN:
	case OP_CLOCK:
	case OP_OTHER:
	case OP_DOOR:
	case OPS:
		return;
	}
}

static void step(void)
{
	uint8_t octet = next(), which = octet >> 5;
	enum op op = (octet & 15) % OPS;
	struct server *s = NULL;

	if (op == OP_TURN) {
		turn(1 + next() % 8);
	} else if (op == OP_CLOCK) {
		jump(next());
	} else if (op == OP_DOOR) {
		toggle_door();
	} else if (octet & 16) {
		hear_all();
		if (!run.servers_n)
			return;
		s = &run.servers[run.servers_n - 1 - which % run.servers_n];
		act(op, &s->actor, s);
	} else {
		enter(&run.clients[which % CLIENTS]);
		act(op, &run.clients[which % CLIENTS].actor, NULL);
	}
}

/* Time passes until nobody waits for anything. */
static void wait_for_end(void)
{
	struct worker *w = run.worker;

	for (unsigned i = 0; i < CLIENTS; i++)
		run.clients[i].actor.deaf = false;
	for (unsigned i = 0; i < SERVERS; i++)
		run.servers[i].actor.deaf = false;
	turn(TURNS);
	for (unsigned i = 0; i < WAITS && (w->sessions || w->net.deadlines.set); i++) {
		clock_jump(WAIT_MS);
		turn(TURNS);
	}
	if (w->sessions)
		broken("a session does not end: phase %d, %s", (int)w->sessions->phase,
		       w->sessions->transaction ?
		       exchange_state_name(w->sessions->transaction->exchange.state) : "");
	if (w->net.deadlines.set)
		broken("%u deadlines are still set", w->net.deadlines.set);
}

/* --- what was heard --- */

static struct message *message_of(const struct strict *m)
{
	const char *value;
	size_t len;
	unsigned n = 0;

	if (!strict_field(m, run.field, &value, &len))
		return NULL;
	while (len--)
		n = n * 10 + (unsigned)(*value++ - '0');
	return n && n <= run.messages_n ? &run.messages[n - 1] : NULL;
}

static void check_body(const struct message *m, size_t size, const struct strict *s)
{
	if (s->body != size)
		broken("message %u looks whole with %zu octets of %zu", m->number, s->body, size);
	for (size_t i = 0; i < size; i++)
		if (s->body_to[i] != body_octet(m->number, i))
			broken("message %u: octet %zu is not its own", m->number, i);
}

/* A response that looks whole to a client. */
static void check_whole(const struct strict *s)
{
	const struct message *m = message_of(s);

	/* A request's fields may come back, told by TRACE. */
	if (!m || !m->from || m->style == STYLE_ANNOUNCED || s->framing == STRICT_NONE)
		return;
	/* What was raw before it may be its start line, and make it one with a body. */
	if (m->style == STYLE_NONE && m->from->raw)
		return;
	if (m->style != STYLE_CLOSE) {
		check_body(m, m->size, s);
		return;
	}
	if (m->from->raw)
		return;
	if (!m->from->actor.fin)
		broken("message %u looks whole, but its end never came", m->number);
	if (m->from->actor.said <= m->end)
		check_body(m, m->size - (m->end - m->from->actor.said), s);
}

static enum strict_side side_of(enum method_kind kind)
{
	return kind == METHOD_HEAD ? STRICT_TO_HEAD :
	       kind == METHOD_CONNECT ? STRICT_TO_CONNECT : STRICT_RESPONSE;
}

/* The final response to one request, at *at. False: nothing to look at behind it. */
static bool check_answer(const struct client *c, const struct note *n, size_t *at, char *room)
{
	const struct actor *a = &c->actor;
	enum strict_verdict is;
	struct strict s = { .body_to = room };

	do {
		is = strict_read(&s, a->in.at + *at, a->in.len - *at, side_of(n->kind));
		if (is == STRICT_WRONG)
			broken("to a client: %s\n%.*s", s.wrong, (int)(a->in.len - *at),
			       a->in.at + *at);
		if (is == STRICT_WHOLE)
			*at += s.used;
	} while (is == STRICT_WHOLE && s.status < 200 && s.status != 101);
	if (is == STRICT_WHOLE || (s.framing == STRICT_CLOSE && s.head && a->eof))
		check_whole(&s);
	else if (!a->eof && !a->reset && !a->left)
		broken("a client still waits for its answer");
	return is == STRICT_WHOLE && s.status != 101 &&
	       !(n->kind == METHOD_CONNECT && s.status < 300);
}

static void check_client(const struct client *c)
{
	const struct actor *a = &c->actor;
	char *room = malloc(a->in.len + 1);
	size_t at = 0;
	bool more = true;

	if (c->session && !a->left && !a->eof && !a->reset)
		broken("a client's connection is still open");
	for (unsigned i = 0; more && i < c->notes_n; i++)
		more = c->notes[i].status && check_answer(c, &c->notes[i], &at, room);
	if (more && at < a->in.len && c->notes_n < NOTES)
		broken("octets to a client that belong to no exchange:\n%.*s",
		       (int)(a->in.len - at), a->in.at + at);
	free(room);
}

static unsigned challenges(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < run.servers_n; i++) {
		const struct text *t = &run.servers[i].actor.out;
		const char *at = t->at, *end = at ? at + t->len : NULL;

		while (at && (at = memmem(at, (size_t)(end - at), "449", 3))) {
			n++;
			at += 3;
		}
	}
	return n;
}

/* What a replay may say anew, and the blank line's own. */
static bool is_variable(const char *line, size_t len)
{
	static const char *const names[] = {
		"Ms-Echo-Reply:", "Cookie:", "Authorization:", "X-Form:",
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (len > strlen(names[i]) && strncasecmp(line, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static const char *next_line(const char *at, const char *end, size_t *len)
{
	while (at < end) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));

		*len = (size_t)((lf ? lf + 1 : end) - at);
		if (!is_variable(at, *len))
			return at;
		at += *len;
	}
	return NULL;
}

static void check_replay(const struct message *m, const struct strict *s)
{
	const char *a = m->copy, *a_end = a + m->copy_len, *b = s->text, *b_end = b + s->head;
	size_t n, k;

	while ((a = next_line(a, a_end, &n)) && (b = next_line(b, b_end, &k))) {
		if (n != k || memcmp(a, b, n) != 0)
			broken("sent first: %.*ssent again: %.*s", (int)n, a, (int)k, b);
		a += n;
		b += k;
	}
}

/* A whole request as the origin got it. */
static void check_request(const struct strict *s)
{
	struct message *m = message_of(s);
	bool idempotent = !strict_is_method(s, "POST");

	if (!m || m->from)
		return;
	if (s->framing != STRICT_NONE)
		check_body(m, m->size, s);
	if (m->came++)
		check_replay(m, s);
	else
		*m = (struct message){ .number = m->number, .size = m->size, .came = 1,
				       .copy = s->text, .copy_len = s->head };
	if (m->came > 1 + idempotent + challenges())
		broken("request %u was sent %u times", m->number, m->came);
}

static void check_server(const struct server *server)
{
	const struct actor *a = &server->actor;
	char *room = malloc(a->in.len + 1);

	for (size_t at = 0; at < a->in.len; ) {
		struct strict s = { .body_to = room };

		switch (strict_read(&s, a->in.at + at, a->in.len - at, STRICT_REQUEST)) {
		case STRICT_WHOLE:
			check_request(&s);
			break;
		case STRICT_SHORT:
			break;
		case STRICT_WRONG:
			broken("to an origin: %s\n%.*s", s.wrong, (int)(a->in.len - at),
			       a->in.at + at);
		}
		at += s.used;
	}
	free(room);
}

static void check_all(void)
{
	const struct worker *w = run.worker;

	for (unsigned i = 0; i < CLIENTS; i++)
		check_client(&run.clients[i]);
	if (run.tunnels == w->counters.n[COUNT_TUNNELS])
		for (unsigned i = 0; i < run.servers_n; i++)
			check_server(&run.servers[i]);
	if (w->counters.clients || clients_in_all() || w->counters.sessions_busy)
		broken("clients %u, busy %u", (unsigned)w->counters.clients,
		       (unsigned)w->counters.sessions_busy);
	if (w->net.opened != w->net.closed)
		broken("%llu connections are still open",
		       (unsigned long long)(w->net.opened - w->net.closed));
	if (block_held())
		broken("%zu octets of blocks are held", block_held());
	if (house.spool.used || house.spool.files)
		broken("the spool holds %llu octets in %u files",
		       (unsigned long long)house.spool.used, (unsigned)house.spool.files);
}

/* --- life --- */

static void write_config(char *text, size_t size)
{
	snprintf(text, size,
		 "origin = \"http://127.0.0.1:%u\"\nbody-memory = %d\nbody-limit = 100k\n"
		 "drain-limit = 400k\nconnect-ports = \"1-65535\"\nvia = \"fuzz\"\n"
		 "access-log = off\nhosts-file = \"/dev/null\"\ndns-servers = \"127.0.0.1\"\n"
		 "rule \"a\" { path = \"/supply*\" answer = { supply, echo }\n"
		 " supply \"X-Form\" { from = \"body:/missing/token\" } }\n"
		 "rule \"b\" { path = \"/backoff*\" answer = { backoff } }\n"
		 "rule \"c\" { path = \"/learn*\" learn = true }\n",
		 house.origin_port, BODY_MEMORY);
}

static void open_house(void)
{
	char text[1024], path[64], *err;
	const char *why;
	int fd = memfd_create("fuzz.conf", MFD_CLOEXEC);

	signal(SIGPIPE, SIG_IGN);		/* as run does: a splice has no flag for it */
	house.origin = door_open(&house.origin_port, 0);
	house.entrance = door_open(&house.entrance_port, SEND_ROOM);
	write_config(text, sizeof text);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	house.config = config_load(path, NULL, 0, &err);
	close(fd);
	if (!house.config)
		broken("%s", err);
	house.spool = (struct spool){ .dir = "/tmp", .total = 1 << 20 };
	log_threshold = LEVEL_ERROR;
	house.worker = worker_new(0, house.config, &house.spool, NULL, 0, &why);
	if (!house.worker)
		broken("%s", why);
	house.worker->watch = note;
}

static int free_descriptor(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

/* A lookup that nobody waits for any more goes on until the name server's time
 * is up. */
static void wait_for_lookups(int fd)
{
	for (unsigned i = 0; i < WAITS && free_descriptor() != fd; i++) {
		clock_jump(LOOKUP_MS);
		turn(TURNS);
	}
}

static void begin(const uint8_t *data, size_t size)
{
	static const struct learn_options few = { 16, 600 * 1000, 20, 30 * 1000 };
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ data[i]) * 16777619u;
	run = (struct run){ .at = data, .end = data + size, .worker = house.worker,
			    .tunnels = house.worker->counters.n[COUNT_TUNNELS] };
	snprintf(run.field, sizeof run.field, "x-%08x", hash);
	for (unsigned i = 0; i < CLIENTS; i++)
		run.clients[i].actor.fd = -1;
	srandom(1);
	learn_free(house.worker->learn);
	house.worker->learn = learn_new(&few);
	clock_freeze();
	clock_turn();
}

/* What may be used again is let go as well: descriptors are counted next. */
static void end(void)
{
	if (run.shut)
		toggle_door();
	for (unsigned i = 0; i < CLIENTS; i++)
		actor_clear(&run.clients[i].actor);
	for (unsigned i = 0; i < run.servers_n; i++)
		actor_clear(&run.servers[i].actor);
	net_free(&run.worker->net);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd;

	if (!house.config)
		open_house();
	fd = free_descriptor();
	begin(data, size);
	while (run.at < run.end)
		step();
	wait_for_end();
	check_all();
	end();
	wait_for_lookups(fd);
	clock_thaw();
	if (free_descriptor() != fd)
		broken("descriptors stay open");
	return 0;
}
