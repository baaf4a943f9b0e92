//go:build cgo

package main

// With this the program is one with cgo.

import "C"
