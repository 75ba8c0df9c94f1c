/* sandbox: see the header. */
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>
#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

#include "ground/log.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

bool sandbox_is_off(void)
{
#ifdef SANITIZED
	return true;
#else
	return false;
#endif
}

/* -- another user ------------------------------------------------------------------ */

int sandbox_drop_root(const struct config *c)
{
	const char *name = c->user.at;
	struct passwd *p;

	if (!c->user.len)
		return 0;
	if (geteuid() != 0) {
		log_error(NULL, "user %s: only root can become another user", name);
		return EX_NOPERM;
	}
	p = getpwnam(name);
	if (!p) {
		log_error(NULL, "user %s: there is no such user", name);
		return EX_NOUSER;
	}
	if (initgroups(name, p->pw_gid) != 0 || setgid(p->pw_gid) != 0 ||
	    setuid(p->pw_uid) != 0 || setuid(0) == 0) {
		log_error(NULL, "user %s: %s", name, strerror(errno));
		return EX_NOPERM;
	}
	prctl(PR_SET_DUMPABLE, 0);	/* a change of user resets it */
	return 0;
}

/* -- Landlock: files ------------------------------------------------------------------ */

static const uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
static const uint64_t writing = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
	LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_SOCK;

static uint64_t handled_by(int abi)
{
	uint64_t all = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (abi >= 2)
		all |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		all |= LANDLOCK_ACCESS_FS_TRUNCATE;
	return all;
}

static void allow(int ruleset, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr beneath = { .allowed_access = access };

	beneath.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (beneath.parent_fd < 0)
		return;
	syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
	close(beneath.parent_fd);
}

/* The directory of a log: a rotation makes a new file there. */
static void allow_log(int ruleset, struct str path, uint64_t access)
{
	char *copy;

	if (!path.len || str_eq(path, STR("-")) || str_eq(path, STR("off")))
		return;
	copy = strdup(path.at);
	if (copy)
		allow(ruleset, dirname(copy), access);
	free(copy);
}

static bool lock_files(const struct config *c)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr = { .handled_access_fs = handled_by(abi) };
	uint64_t all = reading | writing | (abi >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
	int ruleset;
	bool done;

	if (abi < 1)
		return false;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
	if (ruleset < 0)
		return false;
	allow(ruleset, "/", reading);
	allow(ruleset, "/dev/null", all & ~LANDLOCK_ACCESS_FS_READ_DIR &
	      ~LANDLOCK_ACCESS_FS_MAKE_REG & ~LANDLOCK_ACCESS_FS_REMOVE_FILE &
	      ~LANDLOCK_ACCESS_FS_MAKE_SOCK);
	allow(ruleset, c->spool_dir.at, all);
	allow_log(ruleset, c->access_log, all);
	allow_log(ruleset, c->error_log, all);
	done = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
	close(ruleset);
	return done;
}

/* -- seccomp: system calls ------------------------------------------------------------- */

#ifdef HAVE_SECCOMP
static const char *const calls[] = {
	/* octets */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev",
	"sendfile", "splice", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg",
	"sendmmsg",
	/* sockets */
	"socketpair", "connect", "accept", "accept4", "bind", "listen", "getsockname",
	"getpeername", "getsockopt", "setsockopt", "shutdown", "close", "close_range",
	/* waiting */
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
	"epoll_pwait2", "poll", "ppoll", "select", "pselect6", "pipe", "pipe2", "eventfd2",
	"timerfd_create", "timerfd_settime", "futex", "futex_waitv", "nanosleep",
	"clock_nanosleep", "restart_syscall", "wait4", "waitid",
	/* files */
	"open", "openat", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs",
	"lseek", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64",
	"unlink", "unlinkat", "ftruncate", "fallocate", "fsync", "fdatasync", "fcntl", "flock",
	"dup", "dup2", "dup3", "ioctl", "umask", "getcwd", "memfd_create", "fadvise64",
	/* memory */
	"mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "mlock", "munlock", "membarrier",
	/* threads and signals */
	"clone", "clone3", "set_robust_list", "get_robust_list", "set_tid_address", "rseq",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "rt_sigsuspend",
	"sigaltstack", "tgkill", "kill", "exit", "exit_group", "prctl", "arch_prctl",
	"sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam",
	"sched_getscheduler", "getcpu", "gettid",
	/* facts */
	"getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getgroups", "uname",
	"sysinfo", "getrandom", "clock_gettime", "clock_getres", "gettimeofday", "time", "times",
	"getrlimit", "prlimit64", "getrusage", "capget",
};

static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };

static bool limit_calls(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	bool ok = filter != NULL;

	for (size_t i = 0; ok && i < sizeof calls / sizeof *calls; i++) {
		int number = seccomp_syscall_resolve_name(calls[i]);

		if (number != __NR_SCMP_ERROR)
			ok = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0) == 0 ||
			     number < 0;	/* not on this architecture */
	}
	for (size_t i = 0; ok && i < sizeof families / sizeof *families; i++)
		ok = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				      SCMP_CMP(0, SCMP_CMP_EQ, (scmp_datum_t)families[i], 0)) == 0;
	ok = ok && seccomp_load(filter) == 0;
	seccomp_release(filter);
	return ok;
}
#else
static bool limit_calls(void)
{
	return false;
}
#endif

void sandbox_enter(const struct config *c)
{
	bool files, system_calls;

	if (sandbox_is_off() || !c->sandbox)
		return;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		log_notice(NULL, "no sandbox: %s", strerror(errno));
		return;
	}
	files = lock_files(c);
	system_calls = limit_calls();
	if (!files)
		log_notice(NULL, "this kernel has no Landlock: files are not locked");
	if (!system_calls)
		log_notice(NULL, "no seccomp filter: system calls are not limited");
}
