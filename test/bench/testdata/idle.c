/*
 * idle LIB PIECES [WORD]: become a daemon, unless there is a WORD, load LIB, map
 * PIECES pages of it as code, each a mapping of its own, write the PID (a pid_t) to
 * descriptor 4, and live until descriptor 3 is closed at the other end.
 */
#define _DEFAULT_SOURCE
#include <dlfcn.h>
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char c;

	if (argc != 3 && argc != 4)
		errx(2, "usage: idle LIB PIECES [WORD]");
	/* A child of init, as daemons are: needrestart blames others' parents. */
	if (argc == 3 && daemon(0, 1))
		err(1, "daemon");
	if (!dlopen(argv[1], RTLD_NOW))
		errx(1, "%s", dlerror());
	long page = sysconf(_SC_PAGESIZE);
	long pieces = atol(argv[2]);
	int fd = open(argv[1], O_RDONLY);
	/* Neighbours of the same offset do not merge (vma_merge in mm/vma.c). */
	char *at = mmap(NULL, (pieces + 1) * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || at == MAP_FAILED)
		err(1, "%s", argv[1]);
	for (long i = 0; i < pieces; i++)
		if (mmap(at + i * page, page, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
			err(1, "piece %ld", i);
	close(fd);
	pid_t pid = getpid();
	if (write(4, &pid, sizeof(pid)) != sizeof(pid))
		err(1, "write");
	return read(3, &c, 1) != 0;
}
