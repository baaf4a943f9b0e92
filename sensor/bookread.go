package sensor

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/patchsensor/patchsensor/internal/store"
)

// events returns up to limit of them after a cursor.
func (b *book) events(ctx context.Context, after uint64, limit int) ([]Event, error) {
	b.mu.Lock()
	var list []Event
	for _, e := range b.recent {
		if e.Cursor > after && len(list) < limit {
			list = append(list, e)
		}
	}
	complete := after >= b.before
	s := b.store
	b.mu.Unlock()
	if complete {
		return list, nil
	}
	if s == nil {
		return list, ErrCursor
	}
	kept, first, err := s.Events(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	unkept, last := list, after
	list = nil
	for _, k := range kept {
		var e Event
		if err := json.Unmarshal(k.Body, &e); err != nil {
			b.log.Error("stored event cannot be read", zap.Uint64("cursor", k.Seq), zap.Error(err))
			continue
		}
		e.Cursor = k.Seq
		list = append(list, e)
		last = e.Cursor
	}
	// What could not be written yet comes after what was.
	for _, e := range unkept {
		if e.Cursor > last && len(list) < limit {
			list = append(list, e)
		}
	}
	if after > 0 && first > after+1 {
		return list, ErrCursor
	}
	return list, nil
}

// last is the cursor from which on events are new.
func (b *book) last() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cursor
}

// wait waits for an event after a cursor.
func (b *book) wait(ctx context.Context, after uint64) error {
	for {
		b.mu.Lock()
		have, news := b.newest > after, b.news
		b.mu.Unlock()
		if have {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// past is what the store knows from before the sensor was last stopped.
type past struct {
	open    []*store.Exposure
	patches []store.Patch // newest first
	beat    time.Time     // when the sensor was last at work; zero if never
}

func (b *book) past(ctx context.Context) (p past, err error) {
	if b.store == nil {
		return p, nil
	}
	open, err := b.store.OpenExposures(ctx)
	if err != nil {
		return p, fmt.Errorf("read open exposures: %w", err)
	}
	for i := range open {
		p.open = append(p.open, &open[i])
		b.open[&open[i]] = true
	}
	if p.beat, err = b.store.LastBeat(ctx); err != nil {
		return p, fmt.Errorf("read when the sensor last ran: %w", err)
	}
	if p.patches, err = b.store.Patches(ctx, keptPatches); err != nil {
		return p, fmt.Errorf("read patches: %w", err)
	}
	return p, nil
}
