//go:build !linux

package host

import (
	"cmp"
	"context"
	"net"
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/speak"
)

// netAsk puts a question through package net, for systems whose server side loopdoctor
// cannot see yet.
func netAsk(ctx context.Context, to netip.AddrPort, as client, q inquiry) facts.Answer {
	d := net.Dialer{Timeout: q.patience}
	c, err := d.DialContext(ctx, cmp.Or(q.network, "tcp"), to.String())
	if err != nil {
		return facts.Answer{Question: q.Question, TLS: q.tls, End: facts.NotAsked, Errno: err.Error()}
	}
	defer c.Close()
	return speak.Put(ctx, c, q.question())
}
