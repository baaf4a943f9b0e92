/*
 * flock COUNT LIB...: COUNT processes that load each LIB and live until they are
 * killed.
 */
#include <dlfcn.h>
#include <err.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2)
		errx(2, "usage: flock COUNT LIB...");
	for (int i = atoi(argv[1]); i > 1; i--)
		if (fork() == 0)
			break;
	for (int i = 2; i < argc; i++)
		if (!dlopen(argv[i], RTLD_NOW))
			errx(1, "%s", dlerror());
	for (;;)
		pause();
}
