package docker

import (
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"
)

// After another engine took the socket over, it is asked who it is.
func TestEngineChanges(t *testing.T) {
	version, broken := `{"Components":[{"Name":"Engine"}]}`, false
	s := fake{
		"/version": func(w http.ResponseWriter, r *http.Request) { says(version)(w, r) },
		"/containers/json": func(w http.ResponseWriter, r *http.Request) {
			if broken {
				fails(w, r)
				return
			}
			says("[]")(w, r)
		},
	}.start(t)
	for _, step := range []struct {
		version, name string
		broken        bool
	}{
		{`{"Components":[{"Name":"Engine"}]}`, "docker", false},
		{`{"Components":[{"Name":"Podman Engine"}]}`, "docker", true},
		{`{"Components":[{"Name":"Podman Engine"}]}`, "podman", false},
	} {
		version, broken = step.version, step.broken
		if _, err := s.Containers(inContext(t)); (err != nil) != step.broken {
			t.Error(err)
		}
		if s.Name() != step.name {
			t.Errorf("%q, want %q", s.Name(), step.name)
		}
	}
}

func TestNew(t *testing.T) {
	for _, socket := range []string{"", "docker.sock", "tcp://127.0.0.1:2375", "/a\x00b", "/" + strings.Repeat("a", 200)} {
		if _, err := New(socket); err == nil {
			t.Errorf("%q is accepted", socket)
		}
	}
	s := newSource(t, "/nonexistent/docker.sock")
	_, err := s.Containers(inContext(t))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/nonexistent/docker.sock") {
		t.Errorf("error %v", err)
	}
	if s.Name() != "docker" {
		t.Errorf("name %q", s.Name())
	}
}
