package host

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/resolve"
)

// serveDNS answers every question alike until the test ends: with the given
// addresses, or with an rcode, or not at all ("silence"), or
// as one that does not recurse ("lame").
func serveDNS(t *testing.T, listen, say string) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", listen)
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if say == "silence" {
			return
		}
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable = say != "lame"
		if say == "lame" {
			w.WriteMsg(m)
			return
		}
		if rcode, ok := dns.StringToRcode[say]; ok {
			m.Rcode = rcode
			w.WriteMsg(m)
			return
		}
		for _, word := range strings.Fields(say) {
			a := netip.MustParseAddr(word)
			h := dns.RR_Header{Name: q.Question[0].Name, Class: dns.ClassINET, Rrtype: q.Question[0].Qtype}
			if a.Is4() && h.Rrtype == dns.TypeA {
				m.Answer = append(m.Answer, &dns.A{Hdr: h, A: a.AsSlice()})
			} else if a.Is6() && h.Rrtype == dns.TypeAAAA {
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
			}
		}
		w.WriteMsg(m)
	})}
	go s.ActivateAndServe()
	<-started
	t.Cleanup(func() { s.Shutdown() })
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestAskServers(t *testing.T) {
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.LocalAddr().(*net.UDPAddr).AddrPort()
	closed.Close()

	servers := []facts.NameServer{
		{Addr: serveDNS(t, "127.0.0.1:0", "127.0.0.9 ::9")},
		{Addr: serveDNS(t, "127.0.0.1:0", "NXDOMAIN")},
		{Addr: serveDNS(t, "127.0.0.1:0", "silence")},
		{Addr: nobody},
		{Addr: netip.MustParseAddrPort("192.0.2.1:53")},
	}
	start := time.Now()
	got := askServers(t.Context(), "localhost", servers, false, false, dnsPatience)
	if took := time.Since(start); took > 2*dnsPatience {
		t.Errorf("a silent server held everything up for %v", took)
	}
	if a := got[0]; !a.Asked || a.Rcode != "NOERROR" || !slices.Equal(a.Answers, []netip.Addr{netip.MustParseAddr("::9"), netip.MustParseAddr("127.0.0.9")}) {
		t.Errorf("answer: %+v", a)
	}
	if a := got[1]; a.Rcode != "NXDOMAIN" || a.Answers != nil || a.Error != "" {
		t.Errorf("no such name: %+v", a)
	}
	if a := got[2]; !a.Asked || a.Error != resolve.NoAnswer {
		t.Errorf("silence: %+v", a)
	}
	if a := got[3]; !a.Asked || a.Error != "connection refused" {
		t.Errorf("nobody there: %+v", a)
	}
	if a := got[4]; a.Asked || a.Error != "" {
		t.Errorf("a server that is not on loopback was asked: %+v", a)
	}
	if got := askServers(t.Context(), "localhost", servers[:1], true, false, dnsPatience); len(got[0].Answers) != 1 {
		t.Errorf("asked for IPv6 in spite of no-aaaa: %+v", got)
	}
}
