/* A library whose content differs with VERSION and stays equal in size. */
const char *lib_version(void)
{
	return VERSION;
}
