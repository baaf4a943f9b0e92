package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/patchsensor/patchsensor/internal/filter"
	"github.com/patchsensor/patchsensor/sensor"
)

// defaultConfig is read when --config names no other file.
const defaultConfig = "/etc/sensor/sensor.yaml"

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 1 << 20

// config is the configuration file; deploy/sensor.yaml describes each key.
type config struct {
	Exclude []entry `yaml:"exclude"`
	Source  entry   `yaml:"source"`
	Color   entry   `yaml:"color"`
	Root    entry   `yaml:"root"`
	Proc    entry   `yaml:"proc"`
	Sys     entry   `yaml:"sys"`
	Output  entry   `yaml:"output"`
	Socket  entry   `yaml:"socket"`
	// The runtimes that are asked about containers.
	RuntimeSockets []entry `yaml:"runtime_sockets"`
	Advisories     entry   `yaml:"advisories"`
	// From how much on a reboot is advised although restarts would do.
	RebootPercent entry `yaml:"reboot_percent"`

	// What "sensor run" alone needs.
	SocketMode     entry `yaml:"socket_mode"`
	SocketGroup    entry `yaml:"socket_group"`
	StateDir       entry `yaml:"state_dir"`
	Tier           entry `yaml:"tier"`
	RingBytes      entry `yaml:"ring_bytes"`
	Sweep          entry `yaml:"sweep"`
	Settle         entry `yaml:"settle"`
	Retention      entry `yaml:"retention"`
	RebootSentinel entry `yaml:"reboot_sentinel"`
	Metrics        entry `yaml:"metrics"`
}

// configKeys are the keys of config, for messages.
const configKeys = "exclude, source, color, root, proc, sys, output, socket, runtime_sockets, advisories, reboot_percent, socket_mode, socket_group, state_dir, tier, ring_bytes, " +
	"sweep, settle, retention, reboot_sentinel, metrics"

// entry is one value and the line on which it stands; line 0 means absent.
type entry struct {
	Value string
	Line  int
}

// UnmarshalYAML takes a scalar as its text, whatever YAML would make of it.
func (e *entry) UnmarshalYAML(n *yaml.Node) error {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: want one word or pattern here", n.Line)}}
	}
	e.Value, e.Line = n.Value, n.Line
	return nil
}

// loadConfig reads the file name. A default file that does not exist is an
// empty one; a named file must be there.
func loadConfig(name string) (*config, error) {
	file, explicit := name, true
	if file == "" {
		file, explicit = defaultConfig, false
	}
	fi, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !explicit:
		return &config{}, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, &usageError{err, "without --config, " + defaultConfig + " is read where it exists"}
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular() && file != os.DevNull:
		return nil, misuse("--config "+os.DevNull+" stands for an empty file", "%s: not a regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseConfig(f, file)
}

// parseConfig parses a configuration file. Each error names file and line.
func parseConfig(r io.Reader, name string) (*config, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxConfig {
		return nil, misuse("", "%s: larger than %d bytes", name, maxConfig)
	}
	c := &config{}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && err != io.EOF {
		return nil, &usageError{placed(name, err), "the keys are " + configKeys}
	}
	if err := dec.Decode(&yaml.Node{}); err != io.EOF {
		return nil, misuse("keep everything before the first \"---\"", "%s: more than one YAML document", name)
	}
	if err := c.check(name); err != nil {
		return nil, err
	}
	return c, nil
}

// placed turns yaml's errors ("yaml: line 3: …", or a list of "line 3: …")
// into one line "FILE:3: …" each.
func placed(name string, err error) error {
	var typed *yaml.TypeError
	texts := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	if errors.As(err, &typed) {
		texts = typed.Errors
	}
	var errs []error
	for _, text := range texts {
		if rest, ok := strings.CutPrefix(text, "line "); ok {
			if line, message, ok := strings.Cut(rest, ": "); ok {
				message = strings.TrimSuffix(message, " not found in type main.config")
				message = strings.Replace(message, "field ", "unknown key ", 1)
				errs = append(errs, fmt.Errorf("%s:%s: %s", name, line, message))
				continue
			}
		}
		errs = append(errs, fmt.Errorf("%s: %s", name, text))
	}
	return errors.Join(errs...)
}

// check holds the values against what the flags of the same names accept.
func (c *config) check(name string) error {
	for _, k := range []struct {
		key   string
		entry entry
		takes func(string) error
	}{
		{"source", c.Source, takes(oneOf(askSources()...))},
		{"color", c.Color, takes(oneOf(colorModes...))},
		{"output", c.Output, takes(oneOf(staleFormats...))},
		{"socket", c.Socket, takes(parseSocket)},
		{"advisories", c.Advisories, takes(parseAdvisoriesKey)},
		{"reboot_percent", c.RebootPercent, takes(parsePercent)},
		{"socket_mode", c.SocketMode, takes(parseMode)},
		{"socket_group", c.SocketGroup, takes(parseGroup)},
		{"state_dir", c.StateDir, takes(parseAbsolute)},
		{"tier", c.Tier, takes(oneOf(tiers...))},
		{"ring_bytes", c.RingBytes, takes(parseRing)},
		{"sweep", c.Sweep, takes(parseSweep)},
		{"settle", c.Settle, takes(parseSpan)},
		{"retention", c.Retention, takes(parseSpan)},
		{"reboot_sentinel", c.RebootSentinel, takes(parseSentinel)},
		{"metrics", c.Metrics, takes(parseAddress)},
	} {
		if k.entry.Line == 0 {
			continue
		}
		if err := k.takes(k.entry.Value); err != nil {
			return misuse("", "%s:%d: %s %q: %w", name, k.entry.Line, k.key, k.entry.Value, err)
		}
	}
	for _, e := range c.Exclude {
		if _, err := filter.ParseExclude([]string{e.Value}); err != nil {
			return &usageError{errors.New(name + ":" + strconv.Itoa(e.Line) + ": " + err.Error()), ""}
		}
	}
	for _, e := range c.RuntimeSockets {
		if _, err := parseRuntime(e.Value); err != nil {
			return misuse("", "%s:%d: runtime_sockets %q: %w", name, e.Line, e.Value, err)
		}
	}
	if i := slices.IndexFunc(c.RuntimeSockets, isNone); i >= 0 && len(c.RuntimeSockets) > 1 {
		return misuse("", "%s:%d: runtime_sockets: %q stands alone", name, c.RuntimeSockets[i].Line, sensor.NoRuntimes)
	}
	return nil
}

// looking is the configuration of who looks and asks nobody: that the running sensor
// is to be asked says nothing of how to look.
func (c *config) looking() *config {
	if c.Source.Value != sourceDaemon {
		return c
	}
	silent := *c
	silent.Source = entry{}
	return &silent
}

// stateDir is where the running sensor keeps what it knows, as far as the file tells.
func (c *config) stateDir() string {
	if c.StateDir.Line > 0 {
		return c.StateDir.Value
	}
	return defaultStateDir
}

// rebootAdvice is from when on a reboot is advised.
func (c *config) rebootAdvice() sensor.RebootAdvice {
	if c.RebootPercent.Line == 0 {
		return sensor.RebootAdvice{}
	}
	percent, _ := parsePercent(c.RebootPercent.Value) // checked
	if percent == 0 {
		percent = -1
	}
	return sensor.RebootAdvice{Percent: percent}
}

func isNone(e entry) bool { return e.Value == sensor.NoRuntimes }

// takes is what a parser says to a text.
func takes[T any](parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		_, err := parse(s)
		return err
	}
}
