/*
 * crowd FILE...: map each FILE as code, write the PID (a pid_t) to descriptor 4, and
 * live until descriptor 3 is closed at the other end. Linked statically it has nothing
 * else mapped but itself.
 */
#include <err.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char c;

	for (int i = 1; i < argc; i++) {
		int fd = open(argv[i], O_RDONLY);

		if (fd < 0 || mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
			err(1, "%s", argv[i]);
		close(fd);
	}
	pid_t pid = getpid();
	if (write(4, &pid, sizeof(pid)) != sizeof(pid))
		err(1, "write");
	return read(3, &c, 1) != 0;
}
