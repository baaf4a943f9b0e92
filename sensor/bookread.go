package sensor

import (
	"context"
	"encoding/json"

	"go.uber.org/zap"
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
	list = list[:0]
	for _, k := range kept {
		var e Event
		if err := json.Unmarshal(k.Body, &e); err != nil {
			b.log.Error("stored event cannot be read", zap.Uint64("cursor", k.Seq), zap.Error(err))
			continue
		}
		e.Cursor = k.Seq
		list = append(list, e)
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
