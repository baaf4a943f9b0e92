package rpm

// mergeable are directories that may be links to others: Fedora's UsrMove and
// Unify_bin_and_sbin, and what rpm-ostree keeps in /var.
func mergeable() []string {
	return []string{
		"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr/sbin", "/usr/bin", "/usr/lib64",
		"/opt", "/srv", "/home", "/root", "/usr/local", "/var/run", "/var/lock",
	}
}
