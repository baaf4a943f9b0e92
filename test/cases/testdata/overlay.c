/*
 * Runs a program with an overlay as its root, in a mount namespace that has
 * nothing else:
 *
 *	overlay mount LOWER UPPER WORK MERGED PROGRAM ARG...
 *		makes the overlay at MERGED
 *	overlay join PID copy|share PROGRAM ARG...
 *		uses the one of process PID, in a copy of its namespace or in
 *		the same
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static void unshare_mounts(void)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		err(1, "unshare");
}

static void make(char **arg)
{
	char options[3 * 4096];

	unshare_mounts();
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", arg[0], arg[1], arg[2]);
	if (mount("overlay", arg[3], "overlay", 0, options))
		err(1, "mount overlay %s", options);
	/* pivot_root(2): "." for both stacks the old root on the new. */
	if (chdir(arg[3]) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		err(1, "pivot to %s", arg[3]);
}

static void join(const char *pid, int copy)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "/proc/%s/ns/mnt", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNS))
		err(1, "%s", name);
	if (copy)
		unshare_mounts();
}

int main(int argc, char **argv)
{
	if (argc > 6 && !strcmp(argv[1], "mount")) {
		make(argv + 2);
		argv += 6;
	} else if (argc > 4 && !strcmp(argv[1], "join")) {
		join(argv[2], !strcmp(argv[3], "copy"));
		argv += 4;
	} else {
		errx(2, "usage: overlay mount LOWER UPPER WORK MERGED PROGRAM ARG... | join PID copy|share PROGRAM ARG...");
	}
	execv(argv[0], argv);
	err(1, "%s", argv[0]);
}
