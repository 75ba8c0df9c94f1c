/* main: arguments, and which subcommand gets them. Every option of the
 * configuration is a long option; the words in between are the subcommand and its
 * operands. What the program does is elsewhere: worker/run.h and its like. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <ares.h>
#include <confuse.h>
#include <event2/event.h>
#include <jansson.h>
#include <llhttp.h>
#include <openssl/crypto.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "worker/completion.h"
#include "worker/config.h"
#include "worker/match.h"
#include "worker/option.h"
#include "worker/run.h"
#include "worker/worker.h"
#include "worker/ca.h"
#ifdef WITH_CHECK
#include "worker/check.h"
#endif
#ifdef WITH_DEMO
#include "worker/demo.h"
#endif
#ifdef WITH_ENV
#include "worker/env.h"
#endif
#ifdef WITH_HEALTH
#include "worker/health.h"
#endif
#ifdef WITH_TOP
#include "worker/top.h"
#endif

enum task {
	TASK_COMMAND, TASK_TEST, TASK_PRINT,
	TASK_HELP, TASK_VERSION, TASK_SAMPLE, TASK_MAN, TASK_COMPLETION,
};

struct command;

/* What the command line asks for. */
struct call {
	const struct command *command;
	enum task task;
	const char *file;
	const char *shell;		/* of --completion; NULL: not said */
	struct config_override *override;
	unsigned override_n;
	char **argv;			/* of the subcommand; argv[0] is its name */
	int argc;
};

struct command {
	const char *name, *operands, *help;
	int (*fn)(const struct call *call);
	bool raw;			/* what follows is its own, options too */
	const char *more;		/* what may follow, for shell completion */
	const char *usage;		/* NULL: the whole program's */
};

/* NULL: said why. */
static struct config *load(const struct call *call)
{
	char *err;
	struct config *c = config_load(call->file, call->override, call->override_n, &err);

	if (!c) {
		fprintf(stderr, "%s\n", err);
		free(err);
	}
	return c;
}

/* --- the subcommands --- */

static int with_config(const struct call *call, int (*fn)(struct config *, int, char **))
{
	struct config *c = load(call);
	int status;

	if (!c)
		return EX_CONFIG;
	status = fn(c, call->argc, call->argv);
	config_release(c);
	return status;
}

/* run_main() takes the configuration over: a reload replaces it. */
static int command_run(const struct call *call)
{
	struct config *c;

	if (call->argc > 1) {
		fprintf(stderr, "retrywith run: there is no %s; say nothing more\n",
			call->argv[1]);
		return EX_USAGE;
	}
	c = load(call);
	return c ? run_main(c) : EX_CONFIG;
}

static int command_match(const struct call *call)
{
	return with_config(call, match_main);
}

#ifdef WITH_CHECK
static int command_check(const struct call *call)
{
	return with_config(call, check_main);
}
#endif

#ifdef WITH_CA
static int command_ca(const struct call *call)
{
	return with_config(call, ca_main);
}
#endif

#ifdef WITH_ENV
static int command_env(const struct call *call)
{
	return with_config(call, env_main);
}
#endif

#ifdef WITH_HEALTH
static int command_health(const struct call *call)
{
	return with_config(call, health_main);
}
#endif

#ifdef WITH_TOP
static int command_top(const struct call *call)
{
	return with_config(call, top_main);
}
#endif

#ifdef WITH_DEMO
static int command_demo(const struct call *call)
{
	return demo_main(call->argc, call->argv);
}
#endif

static const struct command commands[] = {
	{ "run", "", "serve (the default)", command_run, false, "", NULL },
#ifdef WITH_CHECK
	{ "check", "URL", "make one request, and tell what was asked and answered",
	  command_check, false, "--method --header --body", CHECK_USAGE },
#endif
	{ "match", "URL", "tell which rule applies to a request, and why", command_match, false,
	  "--method --user-agent", MATCH_USAGE },
#ifdef WITH_DEMO
	{ "demo-origin", "", "be a server that challenges on purpose", command_demo, true,
	  "--listen --verbose --help", NULL },
#endif
#ifdef WITH_CA
	{ "ca", "init|show", "make the local authority for intercept, or show it", command_ca,
	  false, "init show --permit --rsa", CA_USAGE },
#endif
#ifdef WITH_ENV
	{ "env", "", "print the proxy variables for a shell", command_env, false, "--shell",
	  ENV_USAGE },
#endif
#ifdef WITH_HEALTH
	{ "health", "[ready]", "ask a running proxy how it is", command_health, false, "ready",
	  HEALTH_USAGE },
#endif
#ifdef WITH_TOP
	{ "top", "", "watch a running proxy", command_top, false, "", TOP_USAGE },
#endif
};

enum { COMMANDS = sizeof(commands) / sizeof(*commands) };

static const struct command *command_find(const char *name)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* The command most like `name`, or NULL. */
static const char *command_suggest(const char *name)
{
	struct word words[COMMANDS + 1] = { { NULL, 0 } };

	for (unsigned i = 0; i < COMMANDS; i++)
		words[i].text = commands[i].name;
	return word_suggest(words, name);
}

/* --- what is printed --- */

/* Words that are no options of the configuration. */
struct flag {
	const char *words[3];		/* the first one is for completion */
	const char *shown, *help;	/* shown NULL: for packages, not for people */
	enum task task;
};

static const struct flag flags[] = {
	{ { "-t" }, "-t", "test the configuration and exit", TASK_TEST },
	{ { "-T" }, "-T", "print the effective configuration and exit", TASK_PRINT },
	{ { "-V", "-v", "--version" }, "-v, -V, --version",
	  "print the version, and those of libraries", TASK_VERSION },
	{ { "--help", "-h" }, "-h, --help", "print all options", TASK_HELP },
	{ { "-f", "--foreground" }, "-f, --foreground", "accepted; there is no other way",
	  TASK_COMMAND },
	{ { "--sample" }, "--sample", "print every option at its default, with comments",
	  TASK_SAMPLE },
	{ { "--man" }, "--man", "print retrywith.conf(5)", TASK_MAN },
	{ { "--completion" }, NULL, "print a script for bash or zsh", TASK_COMPLETION },
};

enum { FLAGS = sizeof(flags) / sizeof(*flags) };

static void print_help(void)
{
	printf("retrywith: a proxy that answers 449 Retry With\n\n"
	       "usage: retrywith [COMMAND] [-c FILE] [--OPTION VALUE ...]\n\n"
	       "Commands:\n");
	for (unsigned i = 0; i < COMMANDS; i++)
		printf("  %-11s %-21s%s\n", commands[i].name, commands[i].operands,
		       commands[i].help);
	printf("\nSwitches:\n  %-33sread the configuration from FILE\n", "-c FILE");
	for (unsigned i = 0; i < FLAGS; i++)
		if (flags[i].shown)
			printf("  %-33s%s\n", flags[i].shown, flags[i].help);
	config_print_help(stdout);
	printf("\nSee retrywith(8) and retrywith.conf(5).\n");
}

static void print_command_help(const struct command *command)
{
	printf("usage: retrywith [-c FILE] [--OPTION VALUE ...] %s\n\n"
	       "To %s. retrywith(8) tells more;\nretrywith --help lists the options of the "
	       "configuration.\n", command->usage, command->help);
}

static void print_version(void)
{
	char pcre2[64] = "";

	pcre2_config(PCRE2_CONFIG_VERSION, pcre2);
	printf("retrywith %s\n"
	       "libevent %s\nllhttp %d.%d.%d\n%s\nc-ares %s\nPCRE2 %s\njansson %s\n"
	       "libConfuse %s\n",
	       RETRYWITH_VERSION, event_get_version(), LLHTTP_VERSION_MAJOR,
	       LLHTTP_VERSION_MINOR, LLHTTP_VERSION_PATCH, OpenSSL_version(OPENSSL_VERSION),
	       ares_version(NULL), pcre2, JANSSON_VERSION, confuse_version);
}

static int print_completion(const char *shell)
{
	struct completion_word words[COMMANDS], switches[FLAGS];
	struct completion c = { words, switches, COMMANDS, 0 };

	for (unsigned i = 0; i < COMMANDS; i++)
		words[i] = (struct completion_word){ commands[i].name, commands[i].help,
						     commands[i].more };
	for (unsigned i = 0; i < FLAGS; i++)
		if (flags[i].shown && flags[i].task != TASK_COMMAND)
			switches[c.switches_n++] = (struct completion_word){
				flags[i].words[0], flags[i].help, "" };
	if (shell && completion_print(&c, shell, stdout))
		return 0;
	fprintf(stderr, "retrywith: --completion wants bash or zsh\n");
	return EX_USAGE;
}

/* --- the command line --- */

static int usage(const char *fmt, const char *what, const char *near)
{
	fprintf(stderr, "retrywith: ");
	fprintf(stderr, fmt, what);
	fprintf(stderr, "%s%s\nretrywith --help tells more.\n", near ? ", did you mean " : "",
		near ? near : "");
	return EX_USAGE;
}

static void override(struct call *call, const char *name, const char *value)
{
	call->override[call->override_n++] = (struct config_override){ name, value };
}

static bool is_switch_word(const char *word)
{
	static const char *const words[] = { "yes", "no", "true", "false", "on", "off" };

	for (size_t i = 0; word && i < sizeof(words) / sizeof(*words); i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return false;
}

/* The word behind a switch: its value? Where no command was named yet it is one
 * or the other, and what is neither is called a bad value. */
static bool is_switch_value(const struct call *call, const char *word)
{
	return is_switch_word(word) || (word && word[0] != '-' && !call->command &&
					!command_find(word));
}

/* Words that a long option took from argv, or 0: it is none of the configuration. */
static int take_long(struct call *call, char *name, char *next)
{
	char *equals = strchr(name, '=');
	bool takes_value;

	if (equals)
		*equals = '\0';
	if (config_knows(name, &takes_value)) {
		bool wants = takes_value || is_switch_value(call, next);

		if (!equals && takes_value && !next)
			return -1;
		override(call, name, equals ? equals + 1 : wants ? next : "yes");
		return equals || !wants ? 1 : 2;
	}
	if (!equals && strncmp(name, "no-", 3) == 0 && config_knows(name + 3, &takes_value) &&
	    !takes_value) {
		override(call, name + 3, "no");
		return 1;
	}
	if (equals)
		*equals = '=';
	return 0;
}

static const struct flag *flag_find(const char *word)
{
	for (unsigned i = 0; i < FLAGS; i++)
		for (unsigned k = 0; k < 3 && flags[i].words[k]; k++)
			if (strcmp(word, flags[i].words[k]) == 0)
				return &flags[i];
	return NULL;
}

static bool take_flag(struct call *call, const char *word, const char *next)
{
	const struct flag *flag = flag_find(word);

	if (!flag)
		return false;
	if (flag->task != TASK_COMMAND)
		call->task = flag->task;
	call->shell = next;
	return true;
}

static int take_word(struct call *call, char *word)
{
	if (call->command) {
		call->argv[call->argc++] = word;
		return 0;
	}
	call->command = command_find(word);
	if (!call->command)
		return usage("there is no command %s", word, command_suggest(word));
	call->argv[call->argc++] = word;
	return 0;
}

/* `-c FILE`, `-cFILE`, or an option of the configuration: the words it took, 0 when
 * it is neither, -1 when its value is missing. */
static int take_valued(struct call *call, char *word, char *next)
{
	if (word[0] == '-' && word[1] == 'c') {
		call->file = word[2] ? word + 2 : next;
		return call->file ? (word[2] ? 1 : 2) : -1;
	}
	return word[0] == '-' && word[1] == '-' ? take_long(call, word + 2, next) : 0;
}

static int unknown(struct call *call, char *word)
{
	const char *near = word[1] == '-' ? config_suggest(word + 2) : NULL;
	char meant[64];

	/* A subcommand may have options of its own; `run` has none. */
	if (call->command && call->command->fn != command_run)
		return take_word(call, word);
	snprintf(meant, sizeof(meant), "--%s", near ? near : "");
	return usage("there is no option %s", word, near ? meant : NULL);
}

/* What does not is the last word that counts. */
static bool needs_config(enum task task)
{
	return task == TASK_COMMAND || task == TASK_TEST || task == TASK_PRINT;
}

/* 0, or the exit status. */
static int parse(struct call *call, int argc, char **argv)
{
	for (int i = 1; i < argc && needs_config(call->task); i++) {
		bool raw = call->command && call->command->raw;
		int status = 0, taken;

		if (raw || argv[i][0] != '-' || argv[i][1] == '\0') {
			status = take_word(call, argv[i]);
		} else if (!take_flag(call, argv[i], argv[i + 1])) {
			taken = take_valued(call, argv[i], argv[i + 1]);
			if (taken < 0)
				return usage("%s wants a value", argv[i], NULL);
			if (taken == 0)
				status = unknown(call, argv[i]);
			else
				i += taken - 1;
		}
		if (status)
			return status;
	}
	return 0;
}

/* The files that it names, too. */
static bool test(const struct config *c, const char *name)
{
	char why[512] = "";

	if (!contexts_usable(c, why, sizeof(why)) || !ca_usable(c, why, sizeof(why))) {
		fprintf(stderr, "%s: %s\n", name, why);
		return false;
	}
	printf("%s: the configuration is good\n", name);
	return true;
}

static int test_or_print(const struct call *call)
{
	struct config *c = load(call);
	bool good = true;

	if (!c)
		return EX_CONFIG;
	if (call->task == TASK_PRINT)
		config_print(c, stdout);
	else
		good = test(c, call->file ? call->file : "retrywith");
	config_release(c);
	return good ? 0 : EX_CONFIG;
}

static int perform(const struct call *call)
{
	switch (call->task) {
	case TASK_COMMAND:
		return call->command->fn(call);
	case TASK_TEST:
	case TASK_PRINT:
		return test_or_print(call);
	case TASK_HELP:
		if (call->command->usage)
			print_command_help(call->command);
		else
			print_help();
		break;
	case TASK_VERSION:
		print_version();
		break;
	case TASK_SAMPLE:
		config_print_sample(stdout);
		break;
	case TASK_MAN:
		config_print_man(stdout);
		break;
	case TASK_COMPLETION:
		return print_completion(call->shell);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct call call = { .task = TASK_COMMAND };
	int status;

	call.override = calloc((size_t)argc + 1, sizeof(*call.override));
	call.argv = calloc((size_t)argc + 2, sizeof(*call.argv));
	if (!call.override || !call.argv)
		return EX_OSERR;
	status = parse(&call, argc, argv);
	if (!call.command) {
		call.command = &commands[0];
		call.argv[call.argc++] = (char *)commands[0].name;
	}
	if (status == 0)
		status = perform(&call);
	free(call.override);
	free(call.argv);
	if (fflush(stdout) != 0 && status == 0)
		status = 1;
	return status;
}
