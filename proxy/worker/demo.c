/* demo: an origin that challenges on purpose. One thread, one loop, plain
 * events; requests are read by the house's own reader. Each row of `variations`
 * says what a path of it wants, how it asks, and with which quirks; the rest
 * of the file is a small server that knows of no path.
 *
 * It is no model of a server: it has no timeouts, and it believes its guests.
 * A whole server in one file, for who wants to read one, is longer than a room
 * should be. */

#include "worker/demo.h"

#include <sys/socket.h>

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "worker/report.h"
#include "worker/variation.h"
#include "ground/arena.h"
#include "ground/buf.h"
#include "ground/clock.h"
#include "ground/str.h"

enum {
	INBOX = 65536,			/* octets; also the longest head */
	LATE_MS = 300,
	DRIP_MS = 200,
	DRIP_OCTETS = 100,
	LINGER_MS = 2000,
};

static const struct reader_limits limits = {
	.head = INBOX - 1, .line = 16384, .fields = 200,
	.extensions = 4096, .trailer = 16384,
};

enum scene {
	SCENE_HEAD,			/* waiting for a request */
	SCENE_BODY,			/* reading its body */
	SCENE_PAUSE,			/* the answer waits for the timer */
	SCENE_DRIP,			/* a part of the answer does */
	SCENE_LINGER,			/* all is said: swallow until the guest leaves */
};

struct demo {
	struct event_base *base;
	struct event *door, *term, *intr;
	struct guest *guests;
	bool verbose;
};

/* One connection. */
struct guest {
	struct demo *demo;
	struct guest *prev, *next;
	int fd;
	enum scene scene;
	struct event *in, *out, *timer;
	struct buf inbox;
	struct evbuffer *outbox, *held;	/* held: what SCENE_DRIP keeps back */
	struct arena *arena;		/* of one request */
	struct reader *reader;
	struct request request;
	const struct variation *variation;
	EVP_MD_CTX *digest;
	uint64_t length;		/* of the body so far */
	unsigned requests;		/* on this connection */
	bool satisfied;			/* the request has all that was asked for */
	bool answered;			/* early */
	bool close;			/* after the answer */
	bool left;			/* the guest has ended its stream */
};

struct reply {
	unsigned status;
	const char *phrase, *type;
	struct evbuffer *fields, *body;
	unsigned quirks;
};

/* Answers. */

static void write_chunks(struct evbuffer *out, struct evbuffer *body)
{
	char room[20];

	while (evbuffer_get_length(body) > 0) {
		size_t n = evbuffer_get_length(body) < 1000 ? evbuffer_get_length(body) : 1000;
		struct str line = chunk_line(room, n);

		evbuffer_add(out, line.at, line.len);
		evbuffer_remove_buffer(body, out, n);
		evbuffer_add_printf(out, "\r\n");
	}
	evbuffer_add_printf(out, "0\r\n\r\n");
}

static void write_head(struct guest *g, const struct reply *r, bool chunked)
{
	clock_turn();
	evbuffer_add_printf(g->outbox, "HTTP/1.%d %u %s\r\nDate: %s\r\nServer: demo-origin\r\n",
			    r->quirks & OLD ? 0 : 1, r->status, r->phrase, clock_date());
	evbuffer_add_buffer(g->outbox, r->fields);
	if (evbuffer_get_length(r->body) > 0)
		evbuffer_add_printf(g->outbox, "Content-Type: %s\r\n", r->type);
	if (chunked)
		evbuffer_add_printf(g->outbox, "Transfer-Encoding: chunked\r\n");
	else
		evbuffer_add_printf(g->outbox, "Content-Length: %zu\r\n",
				    evbuffer_get_length(r->body));
	if (!(r->quirks & OLD))
		evbuffer_add_printf(g->outbox, "Connection: %s\r\n",
				    g->close ? "close" : "keep-alive");
	evbuffer_add_printf(g->outbox, "\r\n");
}

/* The part that is sent now; the rest waits for the timer or never comes. */
static void write_part(struct guest *g, const struct reply *r)
{
	evbuffer_remove_buffer(r->body, g->outbox, DRIP_OCTETS);
	if (r->quirks & FINAL_SLOW)
		evbuffer_add_buffer(g->held, r->body);
}

static void send_reply(struct guest *g, const struct reply *r)
{
	bool chunked = (r->quirks & CHUNKED) && g->request.minor > 0;

	g->close = g->close || !g->request.keep || (r->quirks & (CLOSING | FINAL_SHORT));
	write_head(g, r, chunked);
	if (g->demo->verbose)
		fprintf(stderr, "demo-origin: %.*s %.*s: %u\n", STR_FMT(g->request.method),
			STR_FMT(g->request.target), r->status);
	if (g->request.kind == METHOD_HEAD)
		return;
	if (chunked)
		write_chunks(g->outbox, r->body);
	else if (r->quirks & (FINAL_SLOW | FINAL_SHORT))
		write_part(g, r);
	else
		evbuffer_add_buffer(g->outbox, r->body);
}

static void make_challenge(struct guest *g, struct reply *r)
{
	r->status = 449;
	r->phrase = "Retry With";
	r->quirks = g->variation->quirks & (CLOSING | OLD | CHUNKED);
	g->variation->ask(&g->request, r->fields, r->body);
	variation_filler(r->body, g->variation->filler);
	if (g->variation->quirks & JSON)
		r->type = "application/json";
}

static void make_page(struct guest *g, struct reply *r)
{
	variation_list(r->body);
	if (!(r->quirks & FINAL_MISSING))
		return;
	r->status = 404;
	r->phrase = "Not Found";
}

static void make_final(struct guest *g, struct reply *r)
{
	const struct headers *fields = &g->request.fields;

	r->quirks = g->variation->quirks &
		    (CHUNKED | FINAL_SLOW | FINAL_SHORT | FINAL_MISSING | FINAL_INDEX);
	if (r->quirks & FINAL_INDEX) {
		make_page(g, r);
		return;
	}
	if ((g->variation->quirks & FINAL_LOGIN) && !headers_find(fields, HEADER_AUTHORIZATION)) {
		r->status = 401;
		r->phrase = "Unauthorized";
		evbuffer_add_printf(r->fields, "WWW-Authenticate: Basic realm=\"demo\"\r\n");
	}
	if (g->variation->quirks & FINAL_REDIRECT) {
		r->status = 302;
		r->phrase = "Found";
		evbuffer_add_printf(r->fields, "Location: /plain\r\n");
	}
	r->type = "application/json";
	report_write(&(struct report){
		.request = &g->request, .digest = g->digest, .length = g->length,
		.requests = g->requests, .arena = g->arena }, r->body);
}

static void next_request(struct guest *g)
{
	arena_reset(g->arena);
	memset(&g->request, 0, sizeof(g->request));
	g->reader = reader_of_requests(g->arena, &limits, &g->request);
	g->answered = false;
	g->scene = SCENE_HEAD;
}

static void wait_ms(struct guest *g, enum scene scene, unsigned ms)
{
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	g->scene = scene;
	event_add(g->timer, &tv);
}

/* The answer is out, or will be: what now? */
static void after_answer(struct guest *g, bool early)
{
	if (evbuffer_get_length(g->held) > 0)
		wait_ms(g, SCENE_DRIP, DRIP_MS);
	else if (g->close)
		wait_ms(g, SCENE_LINGER, LINGER_MS);
	else if (early)
		g->answered = true;
	else
		next_request(g);
}

static void answer(struct guest *g, bool early)
{
	struct reply r = {
		.status = 200, .phrase = "OK", .type = "text/plain",
		.fields = evbuffer_new(), .body = evbuffer_new(),
	};

	if (g->satisfied)
		make_final(g, &r);
	else
		make_challenge(g, &r);
	send_reply(g, &r);
	evbuffer_free(r.fields);
	evbuffer_free(r.body);
	after_answer(g, early);
}

static void refuse(struct guest *g)
{
	const char *text = why_text(reader_why(g->reader));
	unsigned status = why_status(reader_why(g->reader));

	evbuffer_add_printf(g->outbox, "HTTP/1.1 %u Refused\r\nContent-Length: %zu\r\n"
			    "Content-Type: text/plain\r\nConnection: close\r\n\r\n%s\n",
			    status, strlen(text) + 1, text);
	g->close = true;
	wait_ms(g, SCENE_LINGER, LINGER_MS);
}

/* One guest's events. */

static void heard_head(struct guest *g)
{
	unsigned quirks;

	g->requests++;
	g->length = 0;
	EVP_DigestInit_ex(g->digest, EVP_sha256(), NULL);
	g->variation = variation_of(g->request.url.path);
	g->satisfied = g->variation->satisfied(&g->request);
	g->scene = SCENE_BODY;
	quirks = g->variation->quirks;
	if (!g->satisfied && ((quirks & EARLY) ||
			      ((quirks & EARLY_IF_EXPECTED) && g->request.expects_continue)))
		answer(g, true);
	else if (g->request.expects_continue)
		evbuffer_add_printf(g->outbox, "HTTP/1.1 100 Continue\r\n\r\n");
}

static void heard_all(struct guest *g)
{
	if (g->answered)
		next_request(g);
	else if (!g->satisfied && (g->variation->quirks & LATE))
		wait_ms(g, SCENE_PAUSE, LATE_MS);
	else
		answer(g, false);
}

/* One step of the reader; false: it needs more octets. */
static bool guest_step(struct guest *g)
{
	struct str span = STR_NONE;
	size_t used = 0;
	enum step step;

	if (g->scene == SCENE_LINGER) {
		buf_used(&g->inbox, buf_unread(&g->inbox).len);
		return false;
	}
	step = reader_feed(g->reader, buf_unread(&g->inbox), &used, &span);
	if (step == STEP_BODY) {
		EVP_DigestUpdate(g->digest, span.at, span.len);
		g->length += span.len;
	}
	buf_used(&g->inbox, used);
	switch (step) {
	case STEP_HEAD:
		heard_head(g);
		break;
	case STEP_END:
		heard_all(g);
		break;
	case STEP_BAD:
		refuse(g);
		break;
	case STEP_BODY:
	case STEP_MORE:
		break;
	}
	return step != STEP_MORE;
}

/* May octets of the guest be looked at now? Pipelined requests wait until the
 * answer before them is with the kernel. */
static bool guest_listens(const struct guest *g)
{
	switch (g->scene) {
	case SCENE_HEAD:
		return evbuffer_get_length(g->outbox) == 0;
	case SCENE_BODY:
	case SCENE_LINGER:
		return true;
	case SCENE_PAUSE:
	case SCENE_DRIP:
		return false;
	}
	return false;
}

static void guest_free(struct guest *g)
{
	event_add(g->demo->door, NULL);		/* a descriptor is free again */
	*(g->prev ? &g->prev->next : &g->demo->guests) = g->next;
	if (g->next)
		g->next->prev = g->prev;
	if (g->in)
		event_free(g->in);
	if (g->out)
		event_free(g->out);
	if (g->timer)
		event_free(g->timer);
	if (g->outbox)
		evbuffer_free(g->outbox);
	if (g->held)
		evbuffer_free(g->held);
	EVP_MD_CTX_free(g->digest);
	arena_free(g->arena);
	buf_give(&g->inbox);
	close(g->fd);
	free(g);
}

static bool guest_flush(struct guest *g)
{
	while (evbuffer_get_length(g->outbox) > 0)
		if (evbuffer_write(g->outbox, g->fd) <= 0)
			return errno == EAGAIN;
	if (g->scene == SCENE_LINGER)
		shutdown(g->fd, SHUT_WR);
	return true;
}

/* After anything happened: take in what may be taken in, send what there is,
 * and wait for the right things. The guest may be gone afterwards. */
static void guest_turn(struct guest *g)
{
	bool alive;

	do
		alive = guest_flush(g);
	while (alive && guest_listens(g) && guest_step(g));
	if (!alive || (g->left && guest_listens(g) && !evbuffer_get_length(g->outbox))) {
		guest_free(g);
		return;
	}
	if (guest_listens(g) && !g->left)
		event_add(g->in, NULL);
	else
		event_del(g->in);
	if (evbuffer_get_length(g->outbox) > 0)
		event_add(g->out, NULL);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct guest *g = arg;
	struct iovec room;
	ssize_t n;

	buf_compact(&g->inbox);
	room = buf_room(&g->inbox);
	n = read(fd, room.iov_base, room.iov_len);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		guest_free(g);
		return;
	}
	g->left = n == 0;
	buf_filled(&g->inbox, (size_t)n);
	guest_turn(g);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	guest_turn(arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct guest *g = arg;

	switch (g->scene) {
	case SCENE_PAUSE:
		answer(g, false);
		break;
	case SCENE_DRIP:
		evbuffer_remove_buffer(g->held, g->outbox, DRIP_OCTETS);
		after_answer(g, false);
		break;
	case SCENE_HEAD:
	case SCENE_BODY:
	case SCENE_LINGER:
		guest_free(g);
		return;
	}
	guest_turn(g);
}

static void guest_new(struct demo *d, int fd)
{
	struct guest *g = calloc(1, sizeof(*g));

	if (!g) {
		close(fd);
		return;
	}
	g->demo = d;
	g->next = d->guests;
	if (g->next)
		g->next->prev = g;
	d->guests = g;
	g->fd = fd;
	g->in = event_new(d->base, fd, EV_READ | EV_PERSIST, on_readable, g);
	g->out = event_new(d->base, fd, EV_WRITE, on_writable, g);
	g->timer = evtimer_new(d->base, on_timer, g);
	g->outbox = evbuffer_new();
	g->held = evbuffer_new();
	g->digest = EVP_MD_CTX_new();
	g->arena = arena_new(16384, 8 * INBOX);
	if (!g->in || !g->out || !g->timer || !g->outbox || !g->held || !g->digest ||
	    !g->arena || !buf_grow(&g->inbox, INBOX)) {
		guest_free(g);
		return;
	}
	next_request(g);
	event_add(g->in, NULL);
}

/* The door. */

static void on_knock(evutil_socket_t door, short what, void *arg)
{
	struct demo *d = arg;
	int fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0)
		guest_new(d, fd);
	else if (errno == EMFILE || errno == ENFILE)
		event_del(d->door);	/* until somebody leaves */
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	event_base_loopbreak(arg);
}

/* ADDR:PORT, [ADDR]:PORT; numbers only. */
static struct addrinfo *address_of(const char *text)
{
	static const struct addrinfo numbers = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM
	};
	struct addrinfo *found = NULL;
	const char *colon = strrchr(text, ':');
	char *host = colon ? strndup(text, (size_t)(colon - text)) : NULL;
	size_t len = host ? strlen(host) : 0;

	errno = EINVAL;
	if (len > 1 && host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		memmove(host, host + 1, len - 1);
	}
	if (len == 0 || getaddrinfo(host, colon + 1, &numbers, &found) != 0)
		found = NULL;
	free(host);
	return found;
}

static int door_open(const char *text)
{
	struct addrinfo *at = address_of(text);
	int one = 1, fd, saved;

	if (!at)
		return -1;
	fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd >= 0 && (bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, 512) < 0)) {
		saved = errno;
		close(fd);
		errno = saved;
		fd = -1;
	}
	freeaddrinfo(at);
	return fd;
}

/* People and scripts wait for this line. */
static void door_tell(int fd)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	char host[64], port[8];

	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&at, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	printf(at.ss_family == AF_INET6 ? "demo-origin: listening on http://[%s]:%s\n" :
	       "demo-origin: listening on http://%s:%s\n", host, port);
	fflush(stdout);
}

static int serve(struct demo *d, int door)
{
	d->base = event_base_new();
	if (!d->base)
		return EX_OSERR;
	d->door = event_new(d->base, door, EV_READ | EV_PERSIST, on_knock, d);
	d->term = evsignal_new(d->base, SIGTERM, on_signal, d->base);
	d->intr = evsignal_new(d->base, SIGINT, on_signal, d->base);
	event_add(d->door, NULL);
	event_add(d->term, NULL);
	event_add(d->intr, NULL);
	signal(SIGPIPE, SIG_IGN);
	door_tell(door);
	event_base_dispatch(d->base);
	while (d->guests)
		guest_free(d->guests);
	block_sweep();
	event_free(d->door);
	event_free(d->term);
	event_free(d->intr);
	event_base_free(d->base);
	return EX_OK;
}

static void usage(FILE *out)
{
	fprintf(out, "usage: retrywith demo-origin [--listen ADDR:PORT] [--verbose]\n\n"
		"An origin that answers 449 on purpose; / lists how. --listen defaults to\n"
		"127.0.0.1:8449, port 0 takes a free one; --verbose shows each request.\n");
}

int demo_main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct demo demo = { .verbose = false };
	const char *at = "127.0.0.1:8449";
	int door, c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "l:vh", options, NULL)) != -1) {
		if (c == 'l') {
			at = optarg;
		} else if (c == 'v') {
			demo.verbose = true;
		} else {
			usage(c == 'h' ? stdout : stderr);
			return c == 'h' ? EX_OK : EX_USAGE;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return EX_USAGE;
	}
	door = door_open(at);
	if (door < 0) {
		fprintf(stderr, "demo-origin: cannot listen on %s: %s\n", at, strerror(errno));
		return EX_UNAVAILABLE;
	}
	c = serve(&demo, door);
	close(door);
	return c;
}
