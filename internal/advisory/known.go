package advisory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Known is what is known of a CVE in itself, whatever package has it.
type Known struct {
	Severity  Severity
	Exploited bool
}

// Known looks up CVEs; those of which nothing is known are absent.
func (x *Index) Known(ctx context.Context, cves []string) (map[string]Known, error) {
	// The driver watches a context with a goroutine for each query. These are short.
	ctx = context.WithoutCancel(ctx)
	found := make(map[string]Known)
	for _, name := range cves {
		var k Known
		err := x.detail.QueryRowContext(ctx, name).
			Scan(&k.Severity.Score, &k.Severity.Vector, &k.Severity.Rating, &k.Exploited)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, wrap(ctx, fmt.Sprintf("look up %.40q", name), err)
		}
		found[name] = k
	}
	return found, nil
}
