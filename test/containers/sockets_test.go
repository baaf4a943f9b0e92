package containers

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchsensor/patchsensor/sensor"
	"github.com/patchsensor/patchsensor/test/lab"
)

// listen makes a socket, which ends with the test.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	name := filepath.Join(lab.Scratch(t), "docker.sock")
	l, err := net.Listen("unix", name)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l, name
}

// deserted is a socket at which nobody listens any more.
func deserted(t *testing.T) string {
	t.Helper()
	l, name := listen(t)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	must(t, l.Close())
	return name
}

// answering is a socket whose connections are each handed to answer, which may take as
// long as it wants: they are closed with the test.
func answering(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	l, name := listen(t)
	var mu sync.Mutex
	var open []net.Conn
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			wg.Go(func() { answer(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return name
}

// endless begins an answer that never ends.
func endless(conn net.Conn) {
	if _, err := conn.Read(make([]byte, 4096)); err != nil {
		return
	}
	_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n\r\n[")
	for item := bytes.Repeat([]byte(`{"Id":"`+strings.Repeat("d", 64)+`","Names":["/endless"]},`), 100); err == nil; {
		_, err = conn.Write(item)
	}
}

// warned reports whether a warning names a socket.
func warned(r *sensor.Report, socket string) bool {
	for _, w := range r.Warnings {
		if strings.Contains(w.Subject+" "+w.Message, socket) {
			return true
		}
	}
	return false
}

// TestSockets: a runtime that does not answer changes nothing about the others, takes no
// verdict away that needs no runtime, and is named. That a look ends is held by lab.Run.
func TestSockets(t *testing.T) {
	w := newWorld(t)
	x := newTrio(t, w, w.docker, "sockets")
	x.change(t)
	bad := map[string]string{
		"nobody listens":         deserted(t),
		"never answers":          answering(t, func(net.Conn) {}),
		"hangs up":               answering(t, func(c net.Conn) { _ = c.Close() }),
		"answers without an end": answering(t, endless),
		"speaks otherwise":       answering(t, func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("\x00\xff\r\n", 100)); _ = c.Close() }),
		"is not there":           filepath.Join(t.TempDir(), "docker.sock"),
	}
	for name, socket := range bad {
		t.Run(name, func(t *testing.T) {
			r := sensorAt.Stale(t, "--runtime-socket", socket, "--runtime-socket", w.docker.Socket)
			t.Logf("took %.1f s", r.Report.DurationSeconds)
			x.check(t, &r.Report)
			if !warned(&r.Report, socket) {
				t.Errorf("no warning names %s: %+v", socket, r.Report.Warnings)
			}
			if warned(&r.Report, w.docker.Socket) {
				t.Errorf("a warning of the runtime that answers: %+v", r.Report.Warnings)
			}
			alone := sensorAt.Stale(t, "--runtime-socket", socket)
			x.unnamed(t, &alone.Report)
			if !warned(&alone.Report, socket) {
				t.Errorf("alone, no warning names %s: %+v", socket, alone.Report.Warnings)
			}
		})
	}
}

// TestRunningDespiteSockets: tracking goes on.
func TestRunningDespiteSockets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	x := newTrio(t, w, w.docker, "despite")
	hangs := answering(t, func(net.Conn) {})
	r := runSensor(t, hangs, deserted(t), answering(t, endless), w.docker.Socket)
	events := r.Follow(t, 0)
	lab.CheckContainers(t, r.Ask(t), x.all())
	x.change(t)
	for _, c := range []*lab.Container{x.drifted, x.outdated} {
		events.Await(t, c.Name+" is stale", isStale(c))
	}
	report := r.Ask(t)
	x.check(t, report)
	if !warned(report, hangs) {
		t.Errorf("no warning names %s: %+v", hangs, report.Warnings)
	}
}

// liar is a runtime that lists containers that there are not, with processes that are
// not in them, and images whose layers lie where it says.
type liar struct {
	containers map[string]lie // by ID
	dir        string         // where its image's layer is said to be
}

type lie struct {
	name string
	pid  int
}

const liarImage, liarID, liarNewer = "liar/image:1", "sha256:1111111111111111111111111111111111111111111111111111111111111111", "sha256:2222222222222222222222222222222222222222222222222222222222222222"

func (l liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	type object map[string]any
	say := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Ostype", "linux")
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/v1."); ok { // a version may stand in front
		if _, after, ok := strings.Cut(rest, "/"); ok {
			path = "/" + after
		}
	}
	driver := object{"Name": "overlay2", "Data": object{"UpperDir": l.dir, "LowerDir": l.dir + ":/:/../..:relative", "MergedDir": "/", "WorkDir": l.dir}}
	image := object{
		"Id": liarNewer, "RepoTags": []string{liarImage}, "GraphDriver": driver, "Created": "2099-01-01T00:00:00Z",
		"RootFS": object{"Type": "layers", "Layers": []string{liarNewer}},
	}
	switch {
	case path == "/_ping":
		_, _ = io.WriteString(w, "OK")
	case path == "/version":
		say(object{"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux"})
	case path == "/info":
		say(object{"ID": "LIAR", "Driver": "overlay2"})
	case path == "/containers/json":
		list := []object{}
		for id, c := range l.containers {
			list = append(list, object{"Id": id, "Names": []string{"/" + c.name}, "Image": liarImage, "ImageID": liarID, "State": "running", "Status": "Up", "Created": 1})
		}
		say(list)
	case path == "/images/json":
		say([]object{{"Id": liarNewer, "RepoTags": []string{liarImage}, "Created": 4070908800}})
	case strings.HasPrefix(path, "/containers/"):
		id := strings.Split(path, "/")[2]
		c, ok := l.containers[id]
		if !ok {
			http.NotFound(w, r)
			return
		}
		say(object{
			"Id": id, "Name": "/" + c.name, "Image": liarID, "Created": "2020-01-01T00:00:00Z", "GraphDriver": driver,
			"State":  object{"Status": "running", "Running": true, "Pid": c.pid, "StartedAt": "2020-01-01T00:00:00Z"},
			"Config": object{"Image": liarImage, "Labels": object{}}, "HostConfig": object{},
		})
	case strings.HasSuffix(path, "/history"):
		say([]object{{"Id": liarNewer, "CreatedBy": "a lie", "Size": 1}})
	case strings.HasPrefix(path, "/images/"):
		say(image)
	case path == "/events":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	default:
		http.NotFound(w, r)
	}
}

// TestLyingRuntime: a runtime cannot make a container's process out of another one, and
// not overrule what is known.
func TestLyingRuntime(t *testing.T) {
	w := newWorld(t)
	x := newTrio(t, w, w.docker, "lies")
	x.change(t)
	host, _ := w.hostProcess(t)
	l := liar{containers: map[string]lie{
		strings.Repeat("a", 64): {"liar-host", host.PID},
		strings.Repeat("b", 64): {"liar-init", 1},
		strings.Repeat("c", 64): {"liar-drifted", x.drifted.PIDs()[0]},
		strings.Repeat("e", 64): {"liar-current", x.current.PIDs()[0]},
		strings.Repeat("f", 64): {"liar-nobody", 1 << 30},
		x.current.ID:            {"liar-stolen", host.PID},
	}}
	// A root in which every package is newer.
	l.dir = lab.Scratch(t)
	text := lab.Output(t, "sed", "s/^Version: .*/Version: 99:1/", lab.Inside(x.current.PIDs()[0], "/var/lib/dpkg/status"))
	lab.Output(t, "mkdir", "-p", l.dir+"/var/lib/dpkg/info")
	must(t, os.WriteFile(l.dir+"/var/lib/dpkg/status", []byte(text), 0o644))

	listener, socket := listen(t)
	server := &http.Server{Handler: l}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { _ = server.Close(); wg.Wait() })

	check := func(t *testing.T, r *sensor.Report) {
		t.Helper()
		x.check(t, r)
		lab.Check(t, r, []int{host.PID})
		liedAbout(t, r)
		if !warned(r, socket) {
			t.Errorf("no warning names %s: %+v", socket, r.Warnings)
		}
	}
	lab.EachSource(t, func(t *testing.T, source string) {
		r := sensorAt.Stale(t, "--source", source, "--runtime-socket", w.docker.Socket, "--runtime-socket", socket)
		check(t, &r.Report)
	})
	t.Run("running", func(t *testing.T) {
		check(t, runSensor(t, w.docker.Socket, socket).Ask(t))
	})
	t.Run("alone", func(t *testing.T) {
		// Whose name a container has is then nobody else's to say, but which processes
		// are in it is.
		r := sensorAt.Stale(t, "--runtime-socket", socket)
		lab.Check(t, &r.Report, []int{host.PID})
		liedAbout(t, &r.Report)
	})
}

// liedAbout holds that no finding is of a container that there is not.
func liedAbout(t *testing.T, r *sensor.Report) {
	t.Helper()
	for _, f := range r.Findings {
		if c := f.Workload.Container; c != nil && strings.HasPrefix(c.Name, "liar-") && c.Name != "liar-stolen" {
			t.Errorf("a container that there is not: %+v of %+v", c, f.Processes)
		}
		for _, p := range f.Processes {
			if p.PID == 1 && f.Workload.Kind == "container" {
				t.Errorf("process 1 of this machine is in a container: %+v", f.Workload)
			}
		}
	}
}
