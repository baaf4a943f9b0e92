/*
 * loop COUNT PROGRAM LIB: COUNT times fork, execute PROGRAM, which loads LIB and
 * ends. Prints the seconds that took and the seconds of processor time that it and
 * its children took.
 *
 * loop LIB: be such a PROGRAM.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double cpu(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	struct timespec from, to;

	if (argc == 2)
		return !dlopen(argv[1], RTLD_NOW);
	if (argc != 4)
		errx(2, "usage: loop COUNT PROGRAM LIB");
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (long i = atol(argv[1]); i > 0; i--) {
		int status;
		pid_t pid = fork();

		if (pid < 0)
			err(1, "fork");
		if (!pid) {
			execl(argv[2], argv[2], argv[3], NULL);
			_exit(127);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			errx(1, "child ended with %#x", status);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%.6f %.6f\n", to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9, cpu(RUSAGE_SELF) + cpu(RUSAGE_CHILDREN));
	return 0;
}
