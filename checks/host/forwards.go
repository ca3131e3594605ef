package host

import (
	"context"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// forwards looks one hop further, where a program holds the port for somebody else.
func (l *look) forwards(ctx context.Context) {
	if l.sources.forwards == nil {
		l.missing(facts.GroupForwards, errNotHere)
		return
	}
	get(ctx, l, facts.GroupForwards, &l.f.Forwards, func() (*facts.Forwards, error) { return l.sources.forwards(ctx, l.f) })
}
