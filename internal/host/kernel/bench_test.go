package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os/exec"
	"testing"
)

// BenchmarkIdentifyFile reads images of a real one's size: 53 MB, in some 10 MB when packed
// by xz or zstd, and the notes stand behind the first 23 MB, as in Debian 12's. The lz4 of
// the tests packs nothing; Debian's own, 14 MB, takes 20 times as long.
func BenchmarkIdentifyFile(b *testing.B) {
	kernel := makeELF(binary.LittleEndian, 64, 23_000_000)
	words := make([][]byte, 4096)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range words {
		words[i] = make([]byte, 2+random.IntN(24))
		for j := range words[i] {
			words[i][j] = byte(random.Uint32())
		}
	}
	word := func() []byte { return words[min(random.IntN(len(words)), random.IntN(len(words)))] }
	for at := 4096; at < 22_999_900; {
		at += copy(kernel[at:], word())
	}
	for len(kernel) < 53_000_000 {
		kernel = append(kernel, word()...)
	}
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
