/*
 * A daemon that does what it is told while it runs. It prints READY, reads
 * commands from its lifeline, descriptor 3, one a line, answers each with a line,
 * and ends when the lifeline is closed at the other end. Commands:
 *
 *	open LIB	dlopen(3) and keep
 *	close LIB	dlclose(3) what open opened
 *	hold FILE	open FILE for reading and keep the descriptor; its number
 *	fork		fork a child that lives as long as the lifeline; its PID
 *	exec PROGRAM	execve(2) PROGRAM in its place, which prints READY anew
 *	map N FILE	N children, one after another, that map what was held as
 *			code and end; their PIDs
 *	load N FILE PROGRAM	the same, but each executes PROGRAM, an actor, to
 *			dlopen(3) what was held by its descriptor
 *	run N FILE	the same, but each executes what was held, as fexecve(3)
 *	spawn N PROGRAM	the same, but each executes PROGRAM
 *	prefork N MS	for MS milliseconds keep N children, which end at once,
 *			and reap them; how many there were
 *
 * Started with an argument it loads the library of that name and ends.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIFELINE = 3, MOST = 64 };

/* What tells one build from another. */
const char *const actor_version = VERSION;

extern char **environ;

static struct {
	char name[4096];
	void *lib;
	int fd;
} kept[MOST];

static int slot(const char *name)
{
	for (int i = 0; i < MOST; i++) {
		if (!kept[i].name[0])
			snprintf(kept[i].name, sizeof(kept[i].name), "%s", name);
		if (!strcmp(kept[i].name, name))
			return i;
	}
	errx(1, "%s: too many names", name);
}

static void *load(const char *name)
{
	void *lib = dlopen(name, RTLD_NOW);

	if (!lib)
		errx(1, "%s", dlerror());
	return lib;
}

/* Lives until the other end of the lifeline is closed, and reads nothing of it. */
static void outlive(void)
{
	struct pollfd p = { .fd = LIFELINE };

	while (poll(&p, 1, -1) < 0 || !(p.revents & POLLHUP))
		;
	_exit(0);
}

static void map(int fd)
{
	struct stat st;

	if (fstat(fd, &st) || mmap(NULL, st.st_size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		_exit(1);
	_exit(0);
}

static void reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		errx(1, "child %d ended with %#x", (int)pid, status);
}

/* N children, one after another, that do what a command says. */
static void children(const char *command, int n, const char *file, const char *program)
{
	int held = strcmp(command, "spawn") ? kept[slot(file)].fd : -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", held);
	printf("DONE");
	for (int i = 0; i < n; i++) {
		char *load_argv[] = { (char *)program, path, NULL };
		char *run_argv[] = { (char *)file, "", NULL };
		pid_t pid;

		if (!strcmp(command, "spawn")) {
			if (posix_spawn(&pid, file, NULL, NULL, run_argv, environ))
				err(1, "%s", file);
		} else if ((pid = fork()) < 0) {
			err(1, "fork");
		} else if (!pid) {
			if (!strcmp(command, "map"))
				map(held);
			if (!strcmp(command, "load"))
				execv(program, load_argv);
			else
				fexecve(held, run_argv, environ);
			_exit(1);
		}
		reap(pid);
		printf(" %d", (int)pid);
	}
	printf("\n");
}

static void prefork(int n, int ms)
{
	struct timespec now, end;
	int count = 0, alive = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += ms / 1000;
	end.tv_nsec += ms % 1000 * 1000000L;
	for (;;) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec))
			break;
		while (alive < n) {
			pid_t pid = fork();

			if (pid < 0)
				err(1, "fork");
			if (!pid) {
				usleep(1000 * (count % 20));
				_exit(0);
			}
			alive++;
			count++;
		}
		if (wait(NULL) > 0)
			alive--;
	}
	while (alive > 0 && wait(NULL) > 0)
		alive--;
	printf("DONE %d\n", count);
}

static void obey(char *line)
{
	char name[4096], program[4096];
	char *argv[] = { name, NULL };
	int n, ms;

	if (sscanf(line, "open %4095s", name) == 1) {
		kept[slot(name)].lib = load(name);
		printf("OK\n");
	} else if (sscanf(line, "close %4095s", name) == 1) {
		printf(dlclose(kept[slot(name)].lib) ? "FAILED\n" : "OK\n");
	} else if (sscanf(line, "hold %4095s", name) == 1) {
		/* Not close-on-exec: children are to inherit it. */
		if ((kept[slot(name)].fd = open(name, O_RDONLY)) < 0)
			err(1, "%s", name);
		printf("DONE %d\n", kept[slot(name)].fd);
	} else if (!strcmp(line, "fork")) {
		pid_t pid = fork();

		if (pid < 0)
			err(1, "fork");
		if (!pid)
			outlive();
		printf("DONE %d\n", (int)pid);
	} else if (sscanf(line, "exec %4095s", name) == 1) {
		execv(name, argv);
		err(1, "%s", name);
	} else if (sscanf(line, "map %d %4095s", &n, name) == 2) {
		children("map", n, name, NULL);
	} else if (sscanf(line, "load %d %4095s %4095s", &n, name, program) == 3) {
		children("load", n, name, program);
	} else if (sscanf(line, "run %d %4095s", &n, name) == 2) {
		children("run", n, name, NULL);
	} else if (sscanf(line, "spawn %d %4095s", &n, name) == 2) {
		children("spawn", n, name, NULL);
	} else if (sscanf(line, "prefork %d %d", &n, &ms) == 2) {
		prefork(n, ms);
	} else {
		errx(2, "%s: no such command", line);
	}
}

int main(int argc, char **argv)
{
	char line[8300];
	size_t len = 0;

	if (argc > 1) {
		if (argv[1][0])
			load(argv[1]);
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("READY\n");
	for (;;) {
		/* A byte at a time: what follows a command may be for who comes by exec. */
		ssize_t n = read(LIFELINE, line + len, 1);

		if (n == 0 || (n < 0 && errno != EINTR))
			return 0;
		if (n < 0)
			continue;
		if (line[len] != '\n') {
			if (++len == sizeof(line))
				errx(2, "command too long");
			continue;
		}
		line[len] = 0;
		len = 0;
		obey(line);
	}
}
