package host

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/resolve"
)

const (
	dnsPatience     = 300 * time.Millisecond  // a server on loopback needs a few of them
	dnsMorePatience = 1200 * time.Millisecond // and this is for one that asks others
	maxAnswers      = 16                      // of a hostile server
)

// askServers asks each server for the addresses of the name, all of them at
// once. Those that may not be asked are returned as they are.
func askServers(ctx context.Context, name string, servers []facts.NameServer, noAAAA, others bool, patience time.Duration) []facts.NameServer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	asked := make([]facts.NameServer, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		asked[i] = facts.NameServer{Addr: s.Addr}
		if others || s.Addr.Addr().Unmap().IsLoopback() {
			wg.Go(func() { asked[i] = askServer(ctx, name, s.Addr, noAAAA, patience) })
		}
	}
	wg.Wait()
	return asked
}

// askServer asks for both families at once, by UDP, once.
func askServer(ctx context.Context, name string, server netip.AddrPort, noAAAA bool, patience time.Duration) facts.NameServer {
	types := []uint16{dns.TypeAAAA, dns.TypeA}
	if noAAAA {
		types = types[1:]
	}
	replies := make([]*dns.Msg, len(types))
	errs := make([]error, len(types))
	var wg sync.WaitGroup
	for i, t := range types {
		wg.Go(func() {
			m := new(dns.Msg).SetQuestion(dns.Fqdn(name), t)
			replies[i], _, errs[i] = (&dns.Client{Timeout: patience}).ExchangeContext(ctx, m, server.String())
		})
	}
	wg.Wait()

	s := facts.NameServer{Addr: server, Asked: true}
	if err := errors.Join(errs...); err != nil {
		s.Error = dnsError(err)
		return s
	}
	if !slices.ContainsFunc(replies, func(r *dns.Msg) bool { return !lame(r) }) {
		s.Error = "neither answers nor recurses"
		return s
	}
	for _, r := range replies {
		// One family may be missing; the name is known if the other is there.
		if s.Rcode == "" || r.Rcode == dns.RcodeSuccess {
			s.Rcode = rcodeName(r.Rcode)
		}
		s.Answers = append(s.Answers, addresses(r)...)
	}
	s.Answers = s.Answers[:min(len(s.Answers), maxAnswers)]
	return s
}

// lame tells whether glibc's res_send passes over a reply and goes on to the
// next server: it is empty, and the server is not one to know better.
func lame(m *dns.Msg) bool {
	return m.Rcode == dns.RcodeSuccess && len(m.Answer) == 0 && len(m.Extra) == 0 && !m.Authoritative && !m.RecursionAvailable
}

func addresses(m *dns.Msg) []netip.Addr {
	var list []netip.Addr
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				list = append(list, a)
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
				list = append(list, a)
			}
		}
	}
	return list
}

func rcodeName(code int) string {
	if s, ok := dns.RcodeToString[code]; ok {
		return s
	}
	return "an unknown rcode"
}

func dnsError(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return resolve.NoAnswer
	}
	return strings.TrimPrefix(err.Error(), "dns: ")
}

// dnsQuery asks for what every server may know without asking another one (RFC 6761
// section 6.3).
func dnsQuery() []byte {
	m := new(dns.Msg).SetQuestion("localhost.", dns.TypeA)
	b, err := m.Pack()
	if err != nil {
		return nil // a constant packs
	}
	return b
}

// readDNS reads the reply to a query; nil if it is none.
func readDNS(query, reply []byte) *facts.DNSAnswer {
	var m dns.Msg
	if len(query) < 2 || len(reply) < 2 || query[0] != reply[0] || query[1] != reply[1] || m.Unpack(reply) != nil || !m.Response {
		return nil
	}
	return &facts.DNSAnswer{RCode: rcodeName(m.Rcode), Answers: len(m.Answer)}
}
