/* demo: `retrywith demo-origin`, an origin that challenges on purpose. Every
 * variation of 449 is a path of it, so that all can be tried without an IIS.
 * It says what it received, and keeps nothing but a few counts. */
#ifndef WORKER_DEMO_H
#define WORKER_DEMO_H

/* argv[0] is the subcommand's name. Serves until TERM or INT; returns the exit
 * status: 0, EX_USAGE, EX_UNAVAILABLE. */
int demo_main(int argc, char **argv);

#endif
