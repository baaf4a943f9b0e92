/*
 * storm PROGRAM SECONDS: execute PROGRAM again and again, one after another, and
 * print how often that was.
 */
#define _GNU_SOURCE
#include <err.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

int main(int argc, char **argv)
{
	char *child[] = { argv[1], NULL };
	struct timespec now, end;
	long count = 0;

	if (argc != 3)
		errx(2, "usage: storm PROGRAM SECONDS");
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += atol(argv[2]);
	do {
		pid_t pid;

		/* By vfork: posix_spawn(3). */
		if (posix_spawn(&pid, argv[1], NULL, NULL, child, environ))
			err(1, "%s", argv[1]);
		if (waitpid(pid, NULL, 0) != pid)
			err(1, "waitpid");
		count++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
	printf("%ld\n", count);
	return 0;
}
