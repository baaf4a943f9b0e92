// A statically linked daemon that keeps the agreement of daemon.c.
package main

import (
	"fmt"
	"os"
)

var version = "none"

func main() {
	if len(os.Args) > 1 {
		fmt.Println(version)
		return
	}
	fmt.Println("READY")
	_, _ = os.NewFile(3, "lifeline").Read(make([]byte, 1))
}
