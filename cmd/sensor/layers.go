package main

import (
	"fmt"
	"strings"

	"github.com/patchsensor/patchsensor/sensor"
)

// maxInstruction is how many columns of the instruction that made a layer are shown
// where no terminal sets a limit: one may be a script of its own. JSON has all of it.
const maxInstruction = 80

// layerText is "3 sha256:abcdef123456 (RUN apt-get install …)".
func layerText(l *sensor.Layer) string {
	text := words(fmt.Sprint(l.Index), digestText(l.Digest))
	if made := instruction(l.CreatedBy); made != "" {
		text += " (" + made + ")"
	}
	return text
}

// A digest is shown by as many digits as people use, and one of another form than
// ALGORITHM:HEX by maxDigest columns.
const (
	shortDigest = 12
	maxDigest   = 24
)

// digestText is a digest as people tell layers apart, safe to show.
func digestText(digest string) string {
	algorithm, digits, ok := strings.Cut(digest, ":")
	if ok && len(digits) > shortDigest && strings.Trim(digits, "0123456789abcdef") == "" {
		digest = algorithm + ":" + digits[:shortDigest]
	}
	return cut(escape(digest), maxDigest)
}

// instruction is one of a Dockerfile on one line, safe to show. Continued lines bring
// much white space, and builders write the shell and themselves into the history: the
// classic one "/bin/sh -c COMMAND" and "/bin/sh -c #(nop)  COPY …" (moby's
// builder/dockerfile/dispatchers.go), BuildKit "RUN /bin/sh -c COMMAND # buildkit".
func instruction(createdBy string) string {
	text := strings.TrimSuffix(strings.Join(strings.Fields(createdBy), " "), " # buildkit")
	if rest, ok := strings.CutPrefix(text, shell+"#(nop) "); ok {
		text = rest
	} else if rest, ok := strings.CutPrefix(strings.TrimPrefix(text, "RUN "), shell); ok {
		text = "RUN " + rest
	}
	return cut(escape(text), maxInstruction)
}

const shell = "/bin/sh -c "

// layers draws the stack that a container's root is, with the stale files on the
// layers that they run from and what replaces them on those where it stands.
func (e *evidence) layers(w *sensor.ExplainedWorkload) {
	if len(w.Layers) == 0 {
		return
	}
	longest := 0
	for i := range w.Layers {
		longest = max(longest, columns(escape(layerName(&w.Layers[i]))))
	}
	e.printf("\n  %s\n", styled{bold, "Layers, topmost first:"})
	for i := range w.Layers {
		l := &w.Layers[i]
		name := layerName(l)
		text := instruction(l.CreatedBy)
		if l.Writable {
			text = "what was changed in this container"
		}
		if text != "" {
			text = pad(longest-columns(escape(name))) + "  " + text
		}
		e.line("    ", plain, name+text)
		for _, path := range l.Files {
			e.line("        runs  ", yellow, path)
		}
		for _, path := range l.Newer {
			e.line("        now   ", green, path)
		}
	}
}

// layerName is what tells a layer from the others of its container.
func layerName(l *sensor.ExplainedLayer) string {
	if l.Writable {
		return "writable"
	}
	return words(fmt.Sprintf("%-3d", l.Index), digestText(l.Digest))
}

// line prints text behind a head, cut to what is left of the terminal's width.
func (e *evidence) line(head string, s style, text string) {
	text = escape(text)
	if e.width > 0 {
		text = cut(text, max(e.width-columns(head), 1))
	}
	e.printf("%s%s\n", head, styled{s, text})
}
