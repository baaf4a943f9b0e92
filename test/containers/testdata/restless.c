/*
 * Changes a package database under whoever reads it: the file that the first argument
 * names is in turn a regular file of many packages, a symbolic link to the second
 * argument, a FIFO, a directory, and nothing. It lives until it is told to end.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void end(int sig)
{
	(void)sig;
	_exit(0);
}

static void fill(const char *name, int packages)
{
	FILE *f = fopen(name, "w");

	if (!f)
		err(1, "%s", name);
	for (int i = 0; i < packages; i++)
		fprintf(f, "Package: p%d\nStatus: install ok installed\nArchitecture: all\nVersion: %d\n\n", i, i);
	if (fclose(f))
		err(1, "%s", name);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		errx(2, "usage: restless FILE TARGET");
	signal(SIGTERM, end);
	for (unsigned n = 0;; n++) {
		const char *name = argv[1];

		if (remove(name) && errno != ENOENT)
			err(1, "%s", name);
		switch (n % 5) {
		case 0:
			fill(name, 2000);
			/* Longer and shorter again, in place. */
			if (truncate(name, 100) || truncate(name, 1 << 24))
				err(1, "%s", name);
			break;
		case 1:
			if (symlink(argv[2], name))
				err(1, "%s", name);
			break;
		case 2:
			if (mkfifo(name, 0644))
				err(1, "%s", name);
			break;
		case 3:
			if (mkdir(name, 0755))
				err(1, "%s", name);
			break;
		}
		usleep(200);
	}
}
