package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// IndexOf says which layer of an image, counted from the lowest as 0, the lower
// directory where is, in a root of lowers lower directories over an image of layers
// layers. ok is false for what is no layer of the image: the upper directory, and what
// Docker puts between it and the image. Any other difference between the two numbers
// leaves it untold.
func IndexOf(where Where, lowers, layers int) (fromBottom int, ok bool) {
	if where.Upper || where.Index < 0 || where.Index >= lowers {
		return 0, false
	}
	if lowers != layers && lowers != layers+1 {
		return 0, false
	}
	fromBottom = lowers - 1 - where.Index
	return fromBottom, fromBottom < layers
}

// initSuffix ends the name of the directory that Docker's overlay2 makes for every
// container, below the upper one.
const initSuffix = "-init/diff"

// Key is the same for roots made of the same image, whatever the container wrote; empty
// if nothing is known of the image. The upper directory does not count, nor the one that
// Docker makes for each container.
func Key(upper string, lower []string) string {
	if len(lower) > 0 && strings.HasSuffix(lower[0], initSuffix) {
		lower = lower[1:]
	}
	if len(lower) == 0 {
		return ""
	}
	h := sha256.New()
	for _, name := range lower {
		h.Write([]byte(strconv.Itoa(len(name)) + ":" + name))
	}
	return hex.EncodeToString(h.Sum(nil))
}
