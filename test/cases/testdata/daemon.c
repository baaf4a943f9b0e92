/*
 * A daemon to be looked at. It performs the steps given as arguments in order,
 * prints READY, and lives until its lifeline, descriptor 3, is closed at the
 * other end. Steps:
 *
 *	open LIB	dlopen(3) and keep
 *	openclose LIB	dlopen(3) and dlclose(3)
 *	jit FILE	map FILE, made here, as code, and unlink it
 *	chroot DIR	chroot(2)
 *	memfd FILE	continue as a copy of the program FILE held in a memfd
 *	orphan		leave the leader a zombie, live on in another thread
 *
 * On SIGUSR1 it forks and prints FORKED and the child's PID.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LIFELINE = 3 };

/* What tells one build from another. */
const char *const daemon_version = VERSION;

extern char **environ;
static volatile sig_atomic_t fork_wanted;

static void want_fork(int sig)
{
	(void)sig;
	fork_wanted = 1;
}

static void live(void)
{
	char c;

	printf("READY\n");
	for (;;) {
		ssize_t n = read(LIFELINE, &c, 1);

		if (n == 0 || (n < 0 && errno != EINTR))
			_exit(0);
		if (!fork_wanted)
			continue;
		fork_wanted = 0;
		pid_t child = fork();
		if (child < 0)
			err(1, "fork");
		if (child > 0)
			printf("FORKED %d\n", (int)child);
	}
}

static void *outlive(void *leader)
{
	pthread_join(*(pthread_t *)leader, NULL);
	live();
	return NULL;
}

static void orphan(void)
{
	static pthread_t leader;
	pthread_t thread;

	leader = pthread_self();
	if (pthread_create(&thread, NULL, outlive, &leader))
		errx(1, "pthread_create");
	pthread_exit(NULL);
}

static void *open_lib(const char *name)
{
	void *lib = dlopen(name, RTLD_NOW);

	if (!lib)
		errx(1, "%s", dlerror());
	return lib;
}

static void jit(const char *name)
{
	static const char code[] = { (char)0xc3 }; /* ret */
	int fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0700);

	if (fd < 0 || write(fd, code, sizeof(code)) != sizeof(code))
		err(1, "%s", name);
	if (mmap(NULL, sizeof(code), PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		err(1, "mmap %s", name);
	close(fd);
	if (unlink(name))
		err(1, "unlink %s", name);
}

static void become_memfd(const char *program, char **argv)
{
	char buf[65536];
	ssize_t n;
	int from = open(program, O_RDONLY | O_CLOEXEC);
	int to = memfd_create("daemon", MFD_CLOEXEC);

	if (from < 0 || to < 0)
		err(1, "%s", program);
	while ((n = read(from, buf, sizeof(buf))) > 0)
		if (write(to, buf, n) != n)
			err(1, "write");
	fexecve(to, argv, environ);
	err(1, "fexecve");
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = want_fork };

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGUSR1, &sa, NULL);
	for (int i = 1; i < argc; i++) {
		const char *step = argv[i];

		if (!strcmp(step, "orphan"))
			orphan();
		if (++i == argc)
			errx(2, "%s: argument missing", step);
		if (!strcmp(step, "open")) {
			open_lib(argv[i]);
		} else if (!strcmp(step, "openclose")) {
			dlclose(open_lib(argv[i]));
		} else if (!strcmp(step, "jit")) {
			jit(argv[i]);
		} else if (!strcmp(step, "chroot")) {
			if (chroot(argv[i]) || chdir("/"))
				err(1, "chroot %s", argv[i]);
		} else if (!strcmp(step, "memfd")) {
			become_memfd(argv[i], argv + i);
		} else {
			errx(2, "%s: no such step", step);
		}
	}
	live();
}
