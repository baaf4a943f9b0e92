package pacman

// mergeable are directories that may be links to others: Arch Linux merged /bin, /lib and
// /usr/sbin in 2012 and 2013.
func mergeable() []string {
	return []string{"/usr/sbin", "/usr/lib64", "/bin", "/sbin", "/lib", "/lib64"}
}
