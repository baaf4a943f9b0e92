package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"github.com/patchsensor/patchsensor/internal/workload"
)

// Containers lists the containers, ended ones too. One request lists all; those of
// which it does not say enough are asked once for as long as their state is the
// same and Watch sees nothing happen to them. A container that does not answer for
// itself is known as far as the list tells.
func (s *Source) Containers(ctx context.Context) ([]workload.Container, error) {
	with, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	all, err := list(ctx, with.api)
	if err != nil {
		return nil, s.fault("list containers", err)
	}
	s.seen.keep(all)
	containers := make([]workload.Container, 0, len(all))
	for _, l := range all {
		var known *details
		if needsDetails(l) {
			known, err = s.details(ctx, with.api, l)
			if errdefs.IsNotFound(err) {
				continue // it ended and was removed since
			}
			if err != nil {
				return nil, s.fault("inspect container "+l.ID, err)
			}
		}
		containers = append(containers, assemble(with.engine, l, known))
	}
	return containers, nil
}

// list asks for all containers.
func list(ctx context.Context, api *client.Client) ([]listed, error) {
	at := url.URL{
		Scheme:   "http",
		Host:     client.DummyHost,
		Path:     path.Join("/v"+api.ClientVersion(), "containers/json"),
		RawQuery: "all=1",
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := api.HTTPClient().Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
		return nil, fmt.Errorf("%s: %s", resp.Status, text)
	}
	return decodeList(resp.Body)
}

// decodeList reads a JSON array of containers. One without an identifier, or whose
// identifier was there before, is left out; a field of the wrong type is empty.
func decodeList(r io.Reader) ([]listed, error) {
	dec := json.NewDecoder(r)
	switch start, err := dec.Token(); {
	case err != nil:
		return nil, noEOF(err)
	case start == nil:
		return nil, nil // null
	case start != json.Delim('['):
		return nil, fmt.Errorf("list of containers begins with %v", start)
	}
	var all []listed
	ids := make(map[string]bool)
	for n := 0; dec.More(); n++ {
		if n == maxContainers {
			return nil, fmt.Errorf("%w: more than %d containers", ErrTooLarge, maxContainers)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, noEOF(err)
		}
		if len(raw) > maxListed {
			return nil, fmt.Errorf("%w: %d bytes for one container", ErrTooLarge, len(raw))
		}
		var l listed
		var wrongType *json.UnmarshalTypeError
		if err := json.Unmarshal(raw, &l); err != nil && !errors.As(err, &wrongType) {
			return nil, err
		}
		if !isContainerID(l.ID) || ids[l.ID] {
			continue
		}
		ids[l.ID] = true
		all = append(all, l)
	}
	if _, err := dec.Token(); err != nil {
		return nil, noEOF(err)
	}
	return all, nil
}

// noEOF says that the end of an answer came too early.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// isContainerID reports whether the string is a container's identifier: 32 random
// bytes in hexadecimal, with Docker and with Podman.
func isContainerID(id string) bool {
	return len(id) == 64 && isHex(id)
}

// details returns what a container says of itself, and nil if it says nothing that
// can be understood. Its errors are that there is no such container (any more), that
// the engine is lost, and the context's.
func (s *Source) details(ctx context.Context, api *client.Client, l listed) (*details, error) {
	if known, ok := s.seen.get(l.ID, l.State); ok {
		return known, nil
	}
	question := s.seen.ask(l.ID, l.State)
	soon, cancel := context.WithTimeout(ctx, s.inspectTimeout)
	defer cancel()
	answer, err := api.ContainerInspect(soon, l.ID)
	switch {
	case err == nil:
		known := describe(answer)
		s.seen.answer(l.ID, question, &known)
		return &known, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errdefs.IsNotFound(err), client.IsErrConnectionFailed(err):
		return nil, err
	case soon.Err() != nil:
		// So that one that hangs costs its time once, and not in every list.
		s.seen.answer(l.ID, question, nil)
	}
	return nil, nil
}
