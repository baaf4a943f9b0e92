package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchsensor/patchsensor/internal/workload"
)

const (
	fakeID    = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	fakeImage = "sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	fakeLayer = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

// fake is an engine that answers what a test says, by the end of the path.
type fake map[string]http.HandlerFunc

func (f fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/_ping") {
		w.Header().Set("Api-Version", "1.41")
		return
	}
	var longest string
	for end := range f {
		if strings.HasSuffix(r.URL.Path, end) && len(end) > len(longest) {
			longest = end
		}
	}
	switch {
	case longest != "":
		f[longest](w, r)
	case strings.HasSuffix(r.URL.Path, "/version"):
		_, _ = io.WriteString(w, `{"Components":[{"Name":"Engine"}]}`)
	default:
		http.NotFound(w, r)
	}
}

// start serves the fake until the test ends.
func (f fake) start(t *testing.T) *Source {
	t.Helper()
	dir, err := os.MkdirTemp("", "fake-")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		_ = os.RemoveAll(dir)
	})
	return newSource(t, socket)
}

// says answers with the text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// endless answers with the head and then for ever with the tail.
func endless(head, tail string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, err := io.WriteString(w, head)
		tail := strings.Repeat(tail, 1+(64<<10)/len(tail))
		for err == nil && r.Context().Err() == nil {
			_, err = io.WriteString(w, tail)
		}
	}
}

// hangs never answers.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func fails(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = io.WriteString(w, `{"message":"two\nlines\u001b[31m`+strings.Repeat("x", 5000)+`"}`)
}

func manyContainers(n int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"Id":"%064x","State":"exited","Image":"x:1"}`, i)
	}
	b.WriteByte(']')
	return b.String()
}

func TestHostileList(t *testing.T) {
	const list = "/containers/json"
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   int   // containers
		is     error // the error, if known
		fails  bool
	}{
		{name: "nothing", answer: says(""), fails: true, is: io.ErrUnexpectedEOF},
		{name: "null", answer: says("null")},
		{name: "no array", answer: says(`{"Id":5}`), fails: true},
		{name: "no JSON", answer: says("<html>"), fails: true},
		{name: "cut off", answer: says(`[{"Id":"` + fakeID), fails: true, is: io.ErrUnexpectedEOF},
		{name: "no end", answer: says(`[{"Id":"` + fakeID + `","State":"exited"}`), fails: true, is: io.ErrUnexpectedEOF},
		{name: "endless space", answer: endless("", " "), fails: true, is: ErrTooLarge},
		{name: "endless string", answer: endless(`[{"Id":"`, "a"), fails: true, is: ErrTooLarge},
		{name: "endless empty containers", answer: endless("[{}", ",{}"), fails: true, is: ErrTooLarge},
		{name: "endless nesting", answer: endless("", "["), fails: true},
		{name: "huge container", answer: says(`[{"Id":"` + fakeID + `","Command":"` + strings.Repeat("a", maxListed) + `"}]`), fails: true, is: ErrTooLarge},
		{name: "as many as may be", answer: says(manyContainers(maxContainers)), want: maxContainers},
		{name: "one too many", answer: says(manyContainers(maxContainers + 1)), fails: true, is: ErrTooLarge},
		{name: "error", answer: fails, fails: true},
		{name: "redirect", answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}, fails: true},
		{name: "wrong types", answer: says(`[5,"x",null,[],{"Id":7},{"Id":"` + fakeID + `","State":"exited","Names":"n","Labels":[1],"Created":"yesterday"}]`), want: 1},
		{name: "no identifiers", answer: says(`[{},{"Id":"../../images"},{"Id":"` + strings.ToUpper(fakeID) + `"},{"Id":"` + fakeID[1:] + `"}]`)},
		{name: "twice", answer: says(`[{"Id":"` + fakeID + `","State":"exited"},{"Id":"` + fakeID + `","State":"running"}]`), want: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := fake{list: test.answer}.start(t).Containers(inContext(t))
			if (err != nil) != test.fails || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %v", err)
			}
			if err != nil && (len(err.Error()) > 2*maxMessage || strings.ContainsAny(err.Error(), "\n\x1b")) {
				t.Errorf("error is not one short line: %q", err)
			}
			if len(got) != test.want {
				t.Errorf("%d containers, want %d", len(got), test.want)
			}
		})
	}
}

func runningList(names string) http.HandlerFunc {
	return says(`[{"Id":"` + fakeID + `","Names":` + names + `,"State":"running","Image":"` + fakeImage + `","ImageID":"` + fakeImage + `"}]`)
}

// A container that does not say anything that can be used is known by the list.
func TestHostileInspect(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"nothing":     says(""),
		"no object":   says("[]"),
		"wrong types": says(`{"State":5,"Config":"x"}`),
		"endless":     endless(`{"Name":"`, "a"),
		"error":       fails,
		"hangs":       hangs,
	} {
		t.Run(name, func(t *testing.T) {
			s := fake{"/containers/json": runningList(`["/a\u0000b"]`), fakeID + "/json": answer}.start(t)
			s.inspectTimeout = 50 * time.Millisecond
			all, err := s.Containers(inContext(t))
			if err != nil || len(all) != 1 {
				t.Fatalf("%d containers: %v", len(all), err)
			}
			c := all[0]
			if c.Name != "a\x00b" || !c.Running || c.PID != 0 || c.ImageID != fakeImage || c.Rootfs.Upper != "" {
				t.Errorf("%+v", c)
			}
			// The identifier stands for a reference that is not known.
			if c.Image != "" {
				t.Errorf("image %q", c.Image)
			}
			if _, err := s.Current(inContext(t), c); err == nil || errors.Is(err, workload.ErrNoImage) {
				t.Errorf("what an unknown reference names: %v", err)
			}
		})
	}
}

// One that was removed since the list is no container any more.
func TestRemovedSinceList(t *testing.T) {
	all, err := fake{"/containers/json": runningList("[]")}.start(t).Containers(inContext(t))
	if err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

// Containers are asked again only if something may have happened to them.
func TestAsksOnce(t *testing.T) {
	var asked atomic.Int32
	state, hang := "running", false
	event := make(chan string)
	s := fake{
		"/containers/json": func(w http.ResponseWriter, r *http.Request) {
			says(`[{"Id":"`+fakeID+`","State":"`+state+`","Image":"x:1"}]`)(w, r)
		},
		fakeID + "/json": func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if hang {
				hangs(w, r)
				return
			}
			says(`{"State":{"Running":true,"Pid":77},"Config":{"Image":"x:1"}}`)(w, r)
		},
		"/events": func(w http.ResponseWriter, r *http.Request) {
			for {
				select {
				case text := <-event:
					says(text)(w, r)
					_ = http.NewResponseController(w).Flush()
				case <-r.Context().Done():
					return
				}
			}
		},
	}.start(t)
	s.inspectTimeout = 50 * time.Millisecond
	want := func(n int32, why string) {
		t.Helper()
		if _, err := s.Containers(inContext(t)); err != nil {
			t.Fatal(err)
		}
		if got := asked.Load(); got != n {
			t.Errorf("%s: asked %d times, want %d", why, got, n)
		}
	}
	ctx, cancel := context.WithCancel(inContext(t))
	defer cancel()
	changes, result := watch(ctx, s)
	wantChange(t, changes, result)

	want(1, "first")
	want(1, "again")
	state = "exited"
	want(1, "ended")
	state = "running"
	want(2, "runs again")
	event <- `{"Type":"container","Action":"exec_start: true","Actor":{"ID":"` + fakeID + `"}}` + "\n"
	event <- `{"Type":"image","Action":"tag","Actor":{"ID":"x"}}` + "\n"
	wantChange(t, changes, result)
	want(2, "another's event")
	event <- `{"Type":"container","Action":"start","Actor":{"ID":"` + fakeID + `"}}` + "\n"
	wantChange(t, changes, result)
	want(3, "event")
	hang, state = true, "paused"
	want(4, "hangs")
	want(4, "hung")
}

func TestHostileImage(t *testing.T) {
	ok := `{"Id":"` + fakeImage + `","RepoTags":["x:1"],"RootFS":{"Layers":["` + fakeLayer + `"]}}`
	tests := []struct {
		name           string
		image, history http.HandlerFunc
		is             error
		fails          bool
	}{
		{name: "no history", image: says(ok)},
		{name: "history of a wrong type", image: says(ok), history: says(`{"a":1}`)},
		{name: "endless history", image: says(ok), history: endless("[{}", ",{}")},
		{name: "none", fails: true, is: workload.ErrNoImage},
		{name: "error", image: fails, fails: true},
		{name: "endless", image: endless(`{"Id":"`, "a"), fails: true, is: ErrTooLarge},
		{name: "wrong types", image: says(`{"Id":[]}`), fails: true},
		{name: "no identifier", image: says(`{"Id":"../x"}`), fails: true},
		{name: "no digest", image: says(`{"Id":"` + fakeImage + `","RootFS":{"Layers":["sha256:../x"]}}`), fails: true},
		{name: "too many layers", image: says(`{"Id":"` + fakeImage + `","RootFS":{"Layers":["` + fakeLayer + `"` + strings.Repeat(`,"`+fakeLayer+`"`, maxLayers) + `]}}`), fails: true, is: ErrTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fake{}
			if test.image != nil {
				f["/images/"+fakeImage+"/json"] = test.image
			}
			if test.history != nil {
				f["/images/"+fakeImage+"/history"] = test.history
			}
			got, err := f.start(t).Image(inContext(t), workload.Container{ImageID: fakeImage})
			if (err != nil) != test.fails || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %v", err)
			}
			if !test.fails && (len(got.Layers) != 1 || got.Layers[0].CreatedBy != "") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestHostileWatch(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"ends":        says(""),
		"no JSON":     says("hello\n"),
		"wrong type":  says(`{"Actor":5}` + "\n"),
		"error":       fails,
		"endless one": endless(`{"Type":"`, "a"),
	} {
		t.Run(name, func(t *testing.T) {
			_, result := watch(inContext(t), fake{"/events": answer}.start(t))
			if err := <-result; err == nil || isContext(err) || name == "endless one" && !errors.Is(err, ErrTooLarge) {
				t.Errorf("error %v", err)
			}
		})
	}
	// Many events are no excess.
	changes, result := watch(inContext(t), fake{"/events": endless("", `{"Type":"image","Action":"tag"}`+"\n")}.start(t))
	for range 100_000 {
		wantChange(t, changes, result)
	}
}

// No call takes longer than its context, whatever part of the engine hangs, or
// hangs in another call.
func TestHangs(t *testing.T) {
	running := runningList("[]")
	for name, f := range map[string]fake{
		"version": {"/version": hangs},
		"list":    {"/containers/json": hangs, "/events": hangs, "/json": hangs},
		"inspect": {"/containers/json": running, "/json": hangs, "/events": hangs},
	} {
		t.Run(name, func(t *testing.T) {
			s := f.start(t)
			ctx, cancel := context.WithCancel(context.Background())
			c := workload.Container{Image: "x:1", ImageID: fakeImage}
			calls := map[string]func() error{
				"containers": func() error { _, err := s.Containers(ctx); return err },
				"image":      func() error { _, err := s.Image(ctx, c); return err },
				"current":    func() error { _, err := s.Current(ctx, c); return err },
				"watch":      func() error { return s.Watch(ctx, func() {}) },
			}
			results := make(chan error, len(calls))
			for call, run := range calls {
				go func() {
					if err := run(); !isContext(err) {
						results <- fmt.Errorf("%s: %w", call, err)
						return
					}
					results <- nil
				}()
			}
			time.AfterFunc(50*time.Millisecond, cancel)
			for range calls {
				select {
				case err := <-results:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(patience):
					t.Fatal("a call hangs")
				}
			}
		})
	}
}
