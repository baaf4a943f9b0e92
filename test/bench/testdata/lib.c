/* A library whose content differs with VERSION. */
const char *lib_version(void)
{
	return VERSION;
}
