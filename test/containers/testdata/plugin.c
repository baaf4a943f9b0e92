const char *plugin_version(void) { return VERSION; }
