package watch

import (
	"sync"
	"time"
)

// subscriber is where events on a target's directories are left for it.
type subscriber struct {
	rung chan struct{} // has an element when a notice is waiting

	mu     sync.Mutex
	notice notice

	dirs map[int32]bool // watches with an interest of this one; under notifier.mu
}

// notice is what events say of a target.
type notice struct {
	first, last time.Time // when its database changed; zero if it did not
	deafUntil   time.Time // until when its directories are not to be watched
}

func (n *notifier) subscribe() *subscriber {
	s := &subscriber{rung: make(chan struct{}, 1), dirs: make(map[int32]bool)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.subscribers[s] = true
	return s
}

func (n *notifier) unsubscribe(s *subscriber) {
	n.retain(s, nil)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.subscribers, s)
}

// ring adds to the notice that waits for the subscriber. The empty notice says
// that it should look.
func (s *subscriber) ring(news notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notice.first.IsZero() {
		s.notice.first = news.first
	}
	if !news.last.IsZero() {
		s.notice.last = news.last
	}
	if !news.deafUntil.IsZero() {
		s.notice.deafUntil = news.deafUntil
	}
	select {
	case s.rung <- struct{}{}:
	default:
	}
}

// take returns the notice that waits, and leaves none.
func (s *subscriber) take() notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.rung:
	default:
	}
	taken := s.notice
	s.notice = notice{}
	return taken
}
