/*
 * hostile USER MS: a process whose memory does not answer whoever reads in it by which
 * names it loaded its code: a page fault there waits forever (userfaultfd(2)). It
 * prints READY, runs as the user of that number, and ends when the lifeline,
 * descriptor 3, is closed at the other end. Every MS milliseconds, if that is not 0,
 * it maps its own program once more, so that it has to be looked at again.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LIFELINE = 3, PAGE = 4096 };

int main(int argc, char **argv)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register held = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct pollfd lifeline = { .fd = LIFELINE, .events = POLLIN };
	int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int user, ms;

	if (argc != 3)
		errx(2, "usage: hostile USER MS");
	user = atoi(argv[1]);
	ms = atoi(argv[2]);
	if (program < 0 || page == MAP_FAILED)
		err(1, "program and page");
	held.range.start = (uintptr_t)page;
	held.range.len = PAGE;
	/* As root: others may hold up but their own accesses, unless they are allowed more. */
	if (faults < 0 || ioctl(faults, UFFDIO_API, &api) || ioctl(faults, UFFDIO_REGISTER, &held))
		err(1, "userfaultfd");
	if (setgroups(0, NULL) || setresgid(user, user, user) || setresuid(user, user, user))
		err(1, "user %d", user);
	/* The second object of the dynamic loader's list. */
	_r_debug.r_map->l_next->l_name = page;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("READY\n");
	while (poll(&lifeline, 1, ms ? ms : -1) == 0)
		munmap(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, program, 0), PAGE);
	/* Not exit(3), which goes through that list. */
	_exit(0);
}
