package dpkg

// mergeable are directories that may be links to others (usr-merge, Debian DEP 17, and the
// TC's decision in bug 978636).
func mergeable() []string {
	return []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libo32", "/libx32"}
}
