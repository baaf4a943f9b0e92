package main

import (
	"strings"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/sensor"
)

func TestLayerText(t *testing.T) {
	const digest = "sha256:abcdef1234567890abcdef1234567890abcdef1234567890abcdef1234567890"
	for want, l := range map[string]sensor.Layer{
		"3 sha256:abcdef123456 (RUN apt-get install -y nginx)": {Digest: digest, Index: 3, CreatedBy: "RUN /bin/sh -c apt-get\n\tinstall  -y nginx # buildkit"},
		"0 sha256:abcdef123456 (RUN a; b)":                     {Digest: digest, CreatedBy: "/bin/sh -c a;\n\tb"},
		"1 sha256:abcdef123456 (COPY file:1 in /)":             {Digest: digest, Index: 1, CreatedBy: "/bin/sh -c #(nop)  COPY file:1 in / "},
		"2 sha256:abcdef123456 (RUN [\"/bin/x\"])":             {Digest: digest, Index: 2, CreatedBy: "RUN [\"/bin/x\"]"},
		"2 sha256:abcdef123456 (RUN set -x)":                   {Digest: digest, Index: 2, CreatedBy: "RUN set -x"},
		"4 sha256:abcdef123456":                                {Digest: digest, Index: 4},
		"5 (bazel build ...)":                                  {Index: 5, CreatedBy: "bazel build ..."},
		"6 sha256:abc":                                         {Index: 6, Digest: "sha256:abc"},
		`7 sha256:\x1b[31mxxxxxxxx…`:                           {Index: 7, Digest: "sha256:\x1b[31m" + strings.Repeat("x", 99)},
	} {
		if got := layerText(&l); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The stack takes the width that is there, whatever the layers hold.
func TestLayersOnTerminal(t *testing.T) {
	for _, name := range []string{"container", "hostile"} {
		for _, width := range []int{20, 40, 80, 0} {
			x := &sensor.Explanation{}
			if err := (answers{"testdata/answers", name}).read("explanation", x); err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			s := &screen{newPrinter(&b, false), width}
			(&evidence{x, false, time.UTC, s}).layers(&x.Workloads[0])
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")[2:]
			want := 0
			for _, l := range x.Workloads[0].Layers {
				want += 1 + len(l.Files) + len(l.Newer)
			}
			if len(lines) != want {
				t.Errorf("%s: %d lines, want %d", name, len(lines), want)
			}
			for _, line := range lines {
				if n := columns(line); width > 0 && n > width {
					t.Errorf("%s: %d columns: a line of %d: %q", name, width, n, line)
				}
				if escape(line) != line {
					t.Errorf("%s: %q is not safe", name, line)
				}
			}
		}
	}
}

func FuzzLayerText(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, s)
	}
	f.Add("sha256:00112233445566", "RUN /bin/sh -c x # buildkit")
	f.Fuzz(func(t *testing.T, digest, createdBy string) {
		text := layerText(&sensor.Layer{Digest: digest, CreatedBy: createdBy})
		if r, bad := hidden(text); bad {
			t.Fatalf("%q holds %U", text, r)
		}
		if n := columns(text); n > len("0  ()")+maxDigest+maxInstruction {
			t.Fatalf("%q has %d columns", text, n)
		}
	})
}
