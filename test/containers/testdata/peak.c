/*
 * Runs a program and writes to a file the most memory that it had resident, in KiB.
 * It ends as the program does, and hands SIGQUIT on to it.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;

static void hand_on(int sig)
{
	kill(child, sig);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = hand_on };
	struct rusage usage;
	int status;
	FILE *out;

	if (argc < 3)
		errx(2, "usage: peak FILE PROGRAM [ARGUMENT...]");
	if ((child = fork()) < 0)
		err(1, "fork");
	if (!child) {
		execv(argv[2], argv + 2);
		err(1, "%s", argv[2]);
	}
	sigaction(SIGQUIT, &sa, NULL);
	while (wait4(child, &status, 0, &usage) < 0)
		if (errno != EINTR)
			err(1, "wait4");
	if (!(out = fopen(argv[1], "w")) || fprintf(out, "%ld\n", usage.ru_maxrss) < 0 || fclose(out))
		err(1, "%s", argv[1]);
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		kill(getpid(), WTERMSIG(status));
	}
	return WEXITSTATUS(status);
}
