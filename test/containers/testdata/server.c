/*
 * What runs in the lab's containers: it loads the libraries that its arguments name,
 * in order, and lives until it is told to end. As the first process of a container it
 * is told by SIGTERM, which it therefore has to catch.
 */
#include <dlfcn.h>
#include <err.h>
#include <signal.h>
#include <unistd.h>

static void end(int sig)
{
	(void)sig;
	_exit(0);
}

int main(int argc, char **argv)
{
	signal(SIGTERM, end);
	for (int i = 1; i < argc; i++)
		if (!dlopen(argv[i], RTLD_NOW))
			errx(1, "%s", dlerror());
	for (;;)
		pause();
}
