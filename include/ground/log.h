/* log: the error log. One line per fault, with the prefix of who speaks and
 * what was being done. Lower floors return reasons; the session speaks.
 * Thread-safe: a line is one write(2). Control octets, and octets above 0x7e,
 * are written as \xHH, so nothing a peer sends can forge a line. */
#ifndef GROUND_LOG_H
#define GROUND_LOG_H

#include <stdarg.h>
#include <stdint.h>
#include "ground/str.h"

enum log_level { LEVEL_ERROR, LEVEL_WARN, LEVEL_NOTICE, LEVEL_INFO, LEVEL_DEBUG };

struct log_ctx {
	uint64_t id;			/* 0: no session */
	struct str who;			/* the client's address */
	const char *doing;		/* "sending the request", or NULL */
};

extern enum log_level log_threshold;

/* Where lines go: NULL is standard error; under systemd (JOURNAL_STREAM) lines
 * there carry a <N> priority prefix. False and errno when it cannot be opened. */
bool log_open(const char *path);
bool log_reopen(void);			/* the same path again, after a rotation */
__attribute__((format(printf, 3, 4)))
void log_line(enum log_level level, const struct log_ctx *ctx, const char *fmt, ...);
/* Escapes s into room (NUL-terminated, cut at size); returns room. */
char *log_escape(char *room, size_t size, struct str s);

#define log_error(ctx, ...) log_line(LEVEL_ERROR, (ctx), __VA_ARGS__)
#define log_warn(ctx, ...) log_line(LEVEL_WARN, (ctx), __VA_ARGS__)
#define log_notice(ctx, ...) log_line(LEVEL_NOTICE, (ctx), __VA_ARGS__)
#define log_info(ctx, ...) \
	do { if (log_threshold >= LEVEL_INFO) log_line(LEVEL_INFO, (ctx), __VA_ARGS__); } while (0)
#define log_debug(ctx, ...) \
	do { if (log_threshold >= LEVEL_DEBUG) log_line(LEVEL_DEBUG, (ctx), __VA_ARGS__); } while (0)

#endif
