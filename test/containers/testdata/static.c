/* The only file of an image: linked statically, it lives until it is told to end. */
#include <signal.h>
#include <unistd.h>

/* What tells one build from another. */
const char *const static_version = VERSION;

static void end(int sig)
{
	(void)sig;
	_exit(0);
}

int main(void)
{
	signal(SIGTERM, end);
	for (;;)
		pause();
}
