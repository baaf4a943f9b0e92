// Package track knows what runs.
package track
