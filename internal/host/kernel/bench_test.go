package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os/exec"
	"testing"
)

// BenchmarkIdentifyFile reads images of a real one's size: 53 MB of which the notes stand
// behind the first 23, in some 10 MB when packed, as Debian 12's are. What is behind the
// notes must not cost anything.
func BenchmarkIdentifyFile(b *testing.B) {
	kernel := makeELF(binary.LittleEndian, 64, 23_000_000)
	words := make([][]byte, 4096)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range words {
		words[i] = make([]byte, 4+random.IntN(24))
		for j := range words[i] {
			words[i][j] = byte(random.Uint32())
		}
	}
	for at := 4096; at < 23_000_000-16; {
		at += copy(kernel[at:], words[min(random.IntN(len(words)), random.IntN(len(words)))])
	}
	kernel = append(kernel, kernel[4096:]...)
	run := func(name string, args ...string) []byte {
		cmd := exec.Command(name, args...)
		cmd.Stdin = bytes.NewReader(kernel)
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		return out
	}
	for name, packed := range map[string][]byte{
		"xz":   run("xz", "-1", "--check=crc32", "--x86", "--lzma2=preset=1,dict=32MiB", "-c"),
		"zstd": run("zstd", "-q", "-3", "--long=27", "-c"),
		"gzip": run("gzip", "-1", "-c"),
		"lz4":  packLZ4(b, kernel),
	} {
		b.Run(name, func(b *testing.B) {
			root := makeRoot(b, map[string]string{"boot/vmlinuz": string(makeBzImage(packed))})
			b.ReportAllocs()
			for b.Loop() {
				if img, err := IdentifyFile(context.Background(), root, "boot/vmlinuz"); err != nil || img.BuildID != testID {
					b.Fatal(img, err)
				}
			}
			b.ReportMetric(float64(len(packed))/1e6, "MB-packed")
		})
	}
}
