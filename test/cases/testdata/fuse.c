/*
 * fuse LIB DIR STALL PROGRAM ARG... mounts at DIR, in a mount namespace of its
 * own, a file system that holds a copy of LIB under the name "lib", and runs
 * PROGRAM there. A child serves the file system (linux/fuse.h) and gives no
 * answer while the file STALL exists. It ends, and with it all waiting, when the
 * lifeline, descriptor 3, is closed at the other end, or when it has been silent
 * for MAX_SILENCE_MS.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LIFELINE = 3, TICK_MS = 10, MAX_SILENCE_MS = 30000, FILE_NODE = 2, MAX_FILE = 1 << 20 };

static int device;
static char content[MAX_FILE];
static ssize_t size;

static void reply(const struct fuse_in_header *to, int error, const void *data, size_t n)
{
	static char buf[sizeof(struct fuse_out_header) + MAX_FILE];
	struct fuse_out_header head = { .len = sizeof(head) + n, .error = error, .unique = to->unique };

	memcpy(buf, &head, sizeof(head));
	memcpy(buf + sizeof(head), data, n);
	if (write(device, buf, head.len) < 0 && errno != ENOENT)
		_exit(1);
}

static struct fuse_attr attributes(uint64_t node)
{
	struct fuse_attr a = { .ino = node, .nlink = 1, .mtime = 1000000, .ctime = 1000000, .blksize = 4096 };

	a.mode = node == FILE_NODE ? S_IFREG | 0755 : S_IFDIR | 0755;
	a.size = node == FILE_NODE ? size : 0;
	return a;
}

static void answer(const struct fuse_in_header *in)
{
	const void *arg = in + 1;

	switch (in->opcode) {
	case FUSE_INIT: {
		struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_readahead = 65536, .max_write = 65536 };

		reply(in, 0, &out, sizeof(out));
		break;
	}
	case FUSE_LOOKUP: {
		struct fuse_entry_out out = { .nodeid = FILE_NODE, .attr = attributes(FILE_NODE) };

		if (strcmp(arg, "lib"))
			reply(in, -ENOENT, "", 0);
		else
			reply(in, 0, &out, sizeof(out));
		break;
	}
	case FUSE_GETATTR: {
		struct fuse_attr_out out = { .attr = attributes(in->nodeid) };

		reply(in, 0, &out, sizeof(out));
		break;
	}
	case FUSE_OPEN:
	case FUSE_OPENDIR: {
		struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE };

		reply(in, 0, &out, sizeof(out));
		break;
	}
	case FUSE_READ: {
		const struct fuse_read_in *r = arg;
		ssize_t left = (ssize_t)r->offset < size ? size - (ssize_t)r->offset : 0;

		reply(in, 0, content + r->offset, left < (ssize_t)r->size ? left : (ssize_t)r->size);
		break;
	}
	case FUSE_RELEASE:
	case FUSE_FLUSH:
		reply(in, 0, "", 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		reply(in, -ENOSYS, "", 0);
	}
}

static void serve(const char *stall)
{
	static union {
		struct fuse_in_header head;
		char bytes[MAX_FILE];
	} request;
	struct pollfd p[] = { { .fd = LIFELINE, .events = POLLIN }, { .fd = device, .events = POLLIN } };

	int silent = 0;

	/* Requests that are not read can be given up by who waits for them. */
	while (silent < MAX_SILENCE_MS) {
		if (!access(stall, F_OK)) {
			silent += TICK_MS;
			if (poll(p, 1, TICK_MS) > 0)
				return;
			continue;
		}
		silent = 0;
		if (poll(p, 2, TICK_MS) <= 0)
			continue;
		if (p[0].revents)
			return;
		if (access(stall, F_OK) && read(device, &request, sizeof(request)) > 0)
			answer(&request.head);
		else if (errno == ENODEV)
			return;
	}
}

int main(int argc, char **argv)
{
	char options[128];
	pid_t child;
	int fd;

	if (argc < 5)
		errx(2, "usage: fuse LIB DIR STALL PROGRAM ARG...");
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (size = read(fd, content, sizeof(content))) <= 0)
		err(1, "%s", argv[1]);
	device = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (device < 0)
		err(1, "/dev/fuse");
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		err(1, "unshare");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
	if (mount("lab", argv[2], "fuse.lab", MS_NODEV | MS_NOSUID, options))
		err(1, "mount %s", argv[2]);
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		/* The mounts, and so the names of what is served, are the program's. */
		close(1);
		serve(argv[3]);
		_exit(0);
	}
	execv(argv[4], argv + 4);
	err(1, "%s", argv[4]);
}
