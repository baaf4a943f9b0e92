package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// childEnv makes the test binary the process that is killed: it names the path.
const childEnv = "STORE_TEST_CHILD"

// A batch of the child holds this many rows of each kind.
const childRows = 20

func childOptions() Options { return Options{MaxEvents: 10 * childRows} }

// child writes batch after batch and says on its standard output what is
// committed. It prunes in between, so that it is killed there too.
func child(path string) int {
	ctx := context.Background()
	s, recovery, err := Open(ctx, path, childOptions())
	if err != nil || recovery != nil {
		fmt.Println("bad", recovery, err)
		return 1
	}
	v, _, err := s.Meta(ctx, "round")
	if err != nil {
		fmt.Println("bad", err)
		return 1
	}
	round, _ := strconv.Atoi(v)
	for {
		round++
		if err := s.Write(ctx, childBatch(round)); err != nil {
			fmt.Println("bad", err)
			return 1
		}
		fmt.Println(round)
		if round%7 == 0 {
			if err := s.Prune(ctx, at(round)); err != nil {
				fmt.Println("bad", err)
				return 1
			}
		}
	}
}

func childBatch(round int) *Batch {
	b := &Batch{Beat: at(round), Meta: map[string]string{"round": strconv.Itoa(round)}}
	for i := range childRows {
		tag := fmt.Sprintf("%d/%d", round, i)
		b.Patches = append(b.Patches, Patch{At: at(round), To: tag})
		b.Learned = append(b.Learned, Knowledge{File: FileKey{Ino: uint64(i)}, Version: tag, SeenAt: at(round)},
			Knowledge{File: FileKey{Dev: uint64(round), Ino: uint64(i)}, Path: strings.Repeat("p", 500), Version: tag, SeenAt: at(round)})
		b.Opened = append(b.Opened, Exposure{Finding: tag, Opened: at(round)})
		b.Gaps = append(b.Gaps, Gap{From: at(round), To: at(round), Why: tag})
		b.Events = append(b.Events, Event{At: at(round), Type: tag, Body: make([]byte, 1000)})
	}
	return b
}

// TestKill: whatever moment the process is killed at, all that it was told is
// committed is there, and no batch in part.
func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	path := newPath(t)
	total := 0
	for kill := range 25 {
		// From within the start to some hundred batches.
		life := time.Duration(random.Float64() * random.Float64() * float64(400*time.Millisecond))
		if kill%5 == 0 {
			// A new store, so that also its making is cut short.
			path, total = newPath(t), 0
			life = time.Duration(random.Float64() * float64(60*time.Millisecond))
		}
		told := runChild(t, path, life)
		total = checkKilled(t, path, max(total, told))
		t.Logf("kill %d: told %d, found %d", kill, told, total)
		if t.Failed() {
			return
		}
	}
}

func runChild(t *testing.T, path string, life time.Duration) (told int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(life, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		// A line that the kill cut off has no end, but a number's beginning is a
		// number: only whole pipe writes arrive, so this does not happen.
		told, err = strconv.Atoi(lines.Text())
		if err != nil {
			t.Errorf("child: %.200q", lines.Text())
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Errorf("the child ended by itself: %v", err)
	}
	return told
}

// checkKilled returns the last round that is in the store.
func checkKilled(t *testing.T, path string, told int) int {
	t.Helper()
	ctx := context.Background()
	s := open(t, path, childOptions())
	defer s.Close()
	v, _, err0 := s.Meta(ctx, "round")
	round, _ := strconv.Atoi(v)
	if round < told {
		t.Errorf("round %d was told to be committed, %d is there", told, round)
	}
	opened, err1 := s.OpenExposures(ctx)
	patches, err2 := s.Patches(ctx, maxRows)
	gaps, err3 := s.Gaps(ctx, time.Time{}, maxRows)
	events, oldest, err4 := s.Events(ctx, 0, maxRows)
	beat, err5 := s.LastBeat(ctx)
	seq, err6 := s.LastSeq(ctx)
	if err := errors.Join(err0, err1, err2, err3, err4, err5, err6); err != nil {
		t.Fatal(err)
	}
	kept := min(round*childRows, maxRows)
	if len(opened) != round*childRows || len(patches) != kept || len(gaps) != kept {
		t.Errorf("round %d: %d exposures, %d patches, %d gaps", round, len(opened), len(patches), len(gaps))
	}
	for i, e := range opened {
		if want := fmt.Sprintf("%d/%d", i/childRows+1, i%childRows); e.Finding != want {
			t.Fatalf("exposure %d is %s, not %s", i, e.Finding, want)
		}
	}
	// Events: without holes up to the last, from where pruning ended.
	for i, e := range events {
		n := round*childRows - len(events) + i
		if want := fmt.Sprintf("%d/%d", n/childRows+1, n%childRows); e.Type != want || e.Seq < oldest || e.Seq > seq {
			t.Fatalf("event %d (%d, oldest %d, last %d) is %s, not %s", i, e.Seq, oldest, seq, e.Type, want)
		}
	}
	if round > 0 && (len(events) < min(round, 10)*childRows || !beat.Equal(at(round))) {
		t.Errorf("round %d: %d events, beat %v", round, len(events), beat)
	}
	var vacuum int
	if err := s.db.QueryRow("PRAGMA auto_vacuum").Scan(&vacuum); err != nil || vacuum != 2 {
		t.Errorf("auto_vacuum is %d, %v", vacuum, err)
	}
	var keys []FileKey
	for i := range childRows {
		keys = append(keys, FileKey{Ino: uint64(i)})
	}
	known, err := s.Known(ctx, keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, key := range keys {
		if want := fmt.Sprintf("%d/%d", round, i); round > 0 && known[key].Version != want {
			t.Errorf("knowledge %d is of %q, not %q", i, known[key].Version, want)
		}
	}
	return round
}
