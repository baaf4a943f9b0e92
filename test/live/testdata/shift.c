/*
 * A daemon that changes itself in ways that nothing tells of, or not enough. It
 * keeps the agreement of actor.c. Commands:
 *
 *	open LIB	dlopen(3) and keep
 *	retire		the main thread ends and leaves a zombie; another one goes on
 *	relay MS	from now on whoever waits for commands hands on to a new
 *			thread and ends, every MS milliseconds
 *	split LIB	take the right to execute from the last page of LIB's code
 *	cut LIB		unmap that page
 *	move LIB	move all of LIB's code to another address
 *	chroot DIR	chroot(2)
 *	pivot DIR	pivot_root(2) in a mount namespace of its own
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LIFELINE = 3, PAGE = 4096 };

/* What tells one build from another. */
const char *const shift_version = VERSION;

static int relay = -1;

static void *serve(void *arg);

static void hand_on(void)
{
	pthread_attr_t detached;
	pthread_t next;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	errno = pthread_create(&next, &detached, serve, NULL);
	if (errno)
		err(1, "pthread_create");
}

/* The code of a library: the first of its mappings that can be executed. */
static void find_code(const char *lib, uintptr_t *start, uintptr_t *end)
{
	char line[8192], rights[8];
	FILE *maps = fopen("/proc/thread-self/maps", "re");

	if (!maps)
		err(1, "/proc/thread-self/maps");
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, lib) && sscanf(line, "%lx-%lx %7s", start, end, rights) == 3 && !strcmp(rights, "r-xp")) {
			fclose(maps);
			return;
		}
	errx(1, "%s has no code here", lib);
}

static void shift(const char *how, const char *lib)
{
	uintptr_t start, end;

	find_code(lib, &start, &end);
	if (end - start < 2 * PAGE)
		errx(1, "%s has too little code", lib);
	if (!strcmp(how, "split")) {
		if (mprotect((void *)(end - PAGE), PAGE, PROT_READ))
			err(1, "mprotect");
	} else if (!strcmp(how, "cut")) {
		if (munmap((void *)(end - PAGE), PAGE))
			err(1, "munmap");
	} else {
		void *to = mmap(NULL, end - start, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (to == MAP_FAILED ||
		    mremap((void *)start, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
			err(1, "mremap");
	}
}

static void pivot(const char *dir)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		err(1, "unshare");
	if (mount(dir, dir, NULL, MS_BIND | MS_REC, NULL))
		err(1, "bind %s", dir);
	/* pivot_root(2): "." for both stacks the old root on the new. */
	if (chdir(dir) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		err(1, "pivot to %s", dir);
}

static void obey(const char *line)
{
	char how[16], name[4096];

	if (sscanf(line, "relay %d", &relay) == 1) {
		/* By whoever waits next. */
	} else if (sscanf(line, "%15s %4095s", how, name) != 2) {
		errx(2, "%s: no such command", line);
	} else if (!strcmp(how, "open")) {
		if (!dlopen(name, RTLD_NOW))
			errx(1, "%s", dlerror());
	} else if (!strcmp(how, "split") || !strcmp(how, "cut") || !strcmp(how, "move")) {
		shift(how, name);
	} else if (!strcmp(how, "chroot")) {
		if (chroot(name) || chdir("/"))
			err(1, "chroot %s", name);
	} else if (!strcmp(how, "pivot")) {
		pivot(name);
	} else {
		errx(2, "%s: no such command", line);
	}
	printf("OK\n");
}

static void *serve(void *arg)
{
	char line[8192];
	size_t len = 0;

	for (;;) {
		struct pollfd p = { .fd = LIFELINE, .events = POLLIN };
		ssize_t n;

		if (poll(&p, 1, len ? -1 : relay) == 0)
			break;
		n = read(LIFELINE, line + len, 1);
		/* Not exit(3): the code of libraries may not be where they think it is. */
		if (n == 0 || (n < 0 && errno != EINTR))
			_exit(0);
		if (n < 0)
			continue;
		if (line[len] != '\n') {
			if (++len == sizeof(line))
				errx(2, "command too long");
			continue;
		}
		line[len] = 0;
		len = 0;
		if (!strcmp(line, "retire")) {
			printf("OK\n");
			break;
		}
		obey(line);
	}
	hand_on();
	return NULL;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("READY\n");
	serve(NULL);
	/* The main thread alone, which returning from here would not be. */
	syscall(SYS_exit, 0);
}
