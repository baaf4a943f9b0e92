/* A library with several pages of code; its content differs with VERSION. */
const char *wide_version(void)
{
	return VERSION;
}

__asm__(".text\n.balign 4096\n.skip 16384\n");
