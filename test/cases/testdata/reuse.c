/*
 * reuse LIB PROGRAM ARG... lets two kinds of process take turns under one PID:
 * a fork of itself, which has LIB mapped, and a fresh PROGRAM. It prints READY
 * and then the PID, and ends, with its children, when its lifeline, descriptor
 * 3, is closed at the other end.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIFELINE = 3 };

static int alive(void)
{
	struct pollfd p = { .fd = LIFELINE, .events = POLLIN };

	return poll(&p, 1, 0) == 0;
}

/* fork(2) with a chosen PID: set_tid in clone(2). */
static pid_t fork_as(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&pid,
		.set_tid_size = 1,
	};

	return syscall(SYS_clone3, &args, sizeof(args));
}

static void turn(pid_t pid, char **program)
{
	pid_t child = fork_as(pid);

	if (child < 0 && errno != EEXIST)
		err(1, "clone3");
	if (child == 0) {
		char c;

		if (program) {
			if (dup2(open("/dev/null", O_WRONLY), 1) < 0)
				_exit(1);
			execv(program[0], program);
			_exit(1);
		}
		_exit(read(LIFELINE, &c, 1) != 0);
	}
	usleep(200 + rand() % 3000);
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	pid_t pid;

	if (argc < 3)
		errx(2, "usage: reuse LIB PROGRAM ARG...");
	if (!dlopen(argv[1], RTLD_NOW))
		errx(1, "%s", dlerror());
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	printf("READY\n%d\n", (int)pid);
	fflush(stdout);
	while (alive()) {
		turn(pid, NULL);
		turn(pid, argv + 2);
	}
	return 0;
}
