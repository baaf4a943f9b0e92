/*
 * Runs a program in a mount namespace of its own:
 *
 *	enter pivot ROOT PROGRAM ARG...		with ROOT as its root, and
 *						/proc and /sys mounted
 *	enter bind FROM ONTO PROGRAM ARG...	with FROM bound onto ONTO
 */
#define _GNU_SOURCE
#include <err.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static void bind_onto(const char *from, const char *onto)
{
	if (mount(from, onto, NULL, MS_BIND | MS_REC, NULL))
		err(1, "bind %s onto %s", from, onto);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		errx(2, "usage: enter pivot ROOT PROGRAM ARG... | bind FROM ONTO PROGRAM ARG...");
	if (unshare(CLONE_NEWNS))
		err(1, "unshare");
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		err(1, "make mounts private");
	if (!strcmp(argv[1], "pivot")) {
		bind_onto(argv[2], argv[2]);
		/* pivot_root(2): "." for both stacks the old root on the new. */
		if (chdir(argv[2]) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH))
			err(1, "pivot to %s", argv[2]);
		if (mount("proc", "/proc", "proc", 0, NULL) || mount("sysfs", "/sys", "sysfs", 0, NULL))
			err(1, "mount /proc and /sys");
	} else {
		bind_onto(argv[2], argv[3]);
		argv++;
	}
	execv(argv[3], argv + 3);
	err(1, "%s", argv[3]);
}
