package host

import (
	"context"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// inquiry is one question to a server, and how it is put.
type inquiry struct {
	facts.Question
	tls  bool   // inside TLS
	host string // of the Host field, and of SNI; empty: as the target says
	with string // facts.Answer.With
}

// speak puts questions to the server, where the person asked for that.
func (l *look) speak(ctx context.Context) {
	t := l.f.Target
	switch {
	case t.Speak == "":
		l.skipped(facts.GroupAnswers, facts.DidNotNeedTo, "nothing was to be asked")
		return
	case l.NoConnect:
		l.skipped(facts.GroupAnswers, facts.NotWanted, "--no-connect")
		return
	case l.sources.ask == nil:
		l.missing(facts.GroupAnswers, errNotHere)
		return
	}
	get(ctx, l, facts.GroupAnswers, &l.f.Answers, func() ([]facts.Answer, error) {
		answers := []facts.Answer{}
		for _, c := range l.open {
			if d := c.Fact(); d.Outcome.Works() && expected(t, d.Addr) {
				answers = append(answers, l.sources.ask(ctx, l.to(d.Addr), l.client(l.f.Host.Client(d.As, d.AsPID)), inquiry{Question: t.Speak}))
			}
		}
		return answers, nil
	})
}
