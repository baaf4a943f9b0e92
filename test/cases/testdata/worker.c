/*
 * A daemon that does more after its start than daemon.c, whose agreement it
 * keeps. It performs the steps given as arguments in order:
 *
 *	open LIB	dlopen(3) and keep
 *	openns LIB	dlmopen(3) into a new namespace and keep
 *	openall DIR	dlopen(3) and keep every file in DIR
 *	ready .		print READY now and DONE and the PID when all is done
 *	await FILE	wait until FILE exists
 *	child .		go on in a child, which the parent outlives and reaps
 *	leave .		go on in a child whose parent ends
 *	chroot DIR	chroot(2)
 *	pivot DIR	pivot_root(2) in a mount namespace of its own
 *	shared FILE	map FILE, made here, as code shared and writable, and
 *			write to it for as long as it lives
 *	map FILE	map a page of FILE as code by hand, below what is loaded
 *	anonymous .	move the program's own code to anonymous memory
 *	script FILE	nothing: FILE is the script that is run
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIFELINE = 3, TICK_MS = 20, CODE_SIZE = 8192 };

/* What tells one build from another. */
const char *const worker_version = VERSION;

static int ready;
static char *code;

/* Sleeps for a while, in milliseconds, -1 for ever; ends with the lifeline. */
static void rest(int ms)
{
	struct pollfd p = { .fd = LIFELINE, .events = POLLIN };

	if (poll(&p, 1, ms) > 0)
		_exit(0);
}

static void live(void)
{
	if (ready)
		printf("DONE %d\n", (int)getpid());
	else
		printf("READY\n");
	for (;;) {
		rest(code ? TICK_MS : -1);
		if (code) {
			code[0]++;
			msync(code, CODE_SIZE, MS_SYNC);
		}
	}
}

static void keep(void *lib)
{
	if (!lib)
		errx(1, "%s", dlerror());
}

static void open_all(const char *dir)
{
	char name[4096];
	struct dirent *e;
	DIR *d = opendir(dir);

	if (!d)
		err(1, "%s", dir);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", dir, e->d_name);
		keep(dlopen(name, RTLD_NOW));
	}
	closedir(d);
}

static void go_on_in_child(int parent_stays)
{
	pid_t child = fork();

	if (child < 0)
		err(1, "fork");
	if (child == 0)
		return;
	if (!parent_stays)
		_exit(0);
	waitpid(child, NULL, 0);
	for (;;)
		rest(-1);
}

static void pivot(const char *dir)
{
	if (unshare(CLONE_NEWNS))
		err(1, "unshare");
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount(dir, dir, NULL, MS_BIND, NULL))
		err(1, "bind %s", dir);
	if (chdir(dir) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		err(1, "pivot to %s", dir);
}

static void share(const char *name)
{
	int fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0700);

	if (fd < 0 || ftruncate(fd, CODE_SIZE))
		err(1, "%s", name);
	code = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fd, 0);
	if (code == MAP_FAILED)
		err(1, "mmap %s", name);
	close(fd);
}

static void map(const char *name)
{
	int fd = open(name, O_RDONLY);

	if (fd < 0 || mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		err(1, "map %s", name);
	close(fd);
}

/* What programs do that want their code in huge pages. */
static void make_anonymous(void)
{
	uintptr_t start = 0, end = 0, here = (uintptr_t)make_anonymous;
	char line[4096];
	FILE *maps = fopen("/proc/self/maps", "re");
	void *copy;

	if (!maps)
		err(1, "/proc/self/maps");
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && start <= here && here < end)
			break;
	fclose(maps);
	copy = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (copy == MAP_FAILED)
		err(1, "mmap");
	memcpy(copy, (void *)start, end - start);
	if (mprotect(copy, end - start, PROT_READ | PROT_EXEC) ||
	    mremap(copy, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED, start) == MAP_FAILED)
		err(1, "move code");
}

static void step(const char *what, const char *arg)
{
	if (!strcmp(what, "open")) {
		keep(dlopen(arg, RTLD_NOW));
	} else if (!strcmp(what, "openns")) {
		keep(dlmopen(LM_ID_NEWLM, arg, RTLD_NOW));
	} else if (!strcmp(what, "openall")) {
		open_all(arg);
	} else if (!strcmp(what, "ready")) {
		ready = printf("READY\n");
	} else if (!strcmp(what, "await")) {
		while (access(arg, F_OK))
			rest(TICK_MS);
	} else if (!strcmp(what, "child") || !strcmp(what, "leave")) {
		go_on_in_child(*what == 'c');
	} else if (!strcmp(what, "chroot")) {
		if (chroot(arg) || chdir("/"))
			err(1, "chroot %s", arg);
	} else if (!strcmp(what, "pivot")) {
		pivot(arg);
	} else if (!strcmp(what, "shared")) {
		share(arg);
	} else if (!strcmp(what, "map")) {
		map(arg);
	} else if (!strcmp(what, "anonymous")) {
		make_anonymous();
	} else if (strcmp(what, "script")) {
		errx(2, "%s: no such step", what);
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i + 1 < argc; i += 2)
		step(argv[i], argv[i + 1]);
	live();
}
