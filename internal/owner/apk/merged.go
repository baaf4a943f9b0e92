package apk

// mergeable are directories that may be links to others, as Alpine's merged /usr has them.
func mergeable() []string {
	return []string{"/usr/sbin", "/usr/lib64", "/bin", "/sbin", "/lib", "/lib64"}
}
