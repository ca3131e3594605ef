package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/nft"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/xt"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/rtnetlink"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// How much of what the rules say is kept.
const (
	maxOfWalk  = 16  // rules of each kind
	maxWhy     = 256 // characters of a reason
	maxPath    = 20  // NFT_JUMP_STACK_SIZE is 16
	maxOutside = 4   // addresses of this machine as others know it
)

// handshakePackets in their order.
var handshakePackets = []string{facts.Syn, facts.SynAck, facts.Ack}

// filterLook is one look at packet filters.
type filterLook struct {
	ctx     context.Context
	f       *facts.Facts
	about   []suspect
	out     *facts.Filters
	reading *nft.Reading
	rules   netfilter.Ruleset
	routes  *rtnetlink.Client
	sockets *sockdiag.Client
	tracer  *nft.Trace
}

// linuxFilters reads the rules, follows the packets of each connection through them,
// and where that does not settle it, has the kernel say what it did.
func linuxFilters(ctx context.Context, f *facts.Facts, about []suspect, mayTrace bool) (*facts.Filters, error) {
	l := &filterLook{ctx: ctx, f: f, about: about, out: &facts.Filters{Engines: []facts.FilterEngine{}, Walks: []facts.FilterWalk{}}}
	defer l.close()
	if err := l.read(); err != nil {
		return nil, err
	}
	l.routes, _ = rtnetlink.Open() // without them the walk says where it cannot go on
	l.sockets, _ = sockdiag.Open()
	for _, s := range about {
		l.walk(s)
	}
	l.outside()
	l.queues()
	l.prove(mayTrace)
	if l.reading != nil {
		l.out.Engines[0].Opaque = l.reading.Opaque()
	}
	if l.found() {
		l.out.Managers = filterManagers(l.ctx, l.f)
		l.out.Boot = bootLines(l.ctx, l.deciding())
	}
	return l.out, nil
}

func (l *filterLook) close() {
	if l.tracer != nil {
		// It takes the kernel some milliseconds, which nobody needs to wait for; if
		// loopdoctor ends before, the kernel does it all the same.
		go l.tracer.Close()
	}
	if l.reading != nil {
		l.reading.Close()
	}
	if l.routes != nil {
		l.routes.Close()
	}
	if l.sockets != nil {
		l.sockets.Close()
	}
}

// read reads every engine that a packet of ours can meet. What may not be read at
// all is the error.
func (l *filterLook) read() error {
	denied := func(err error) bool { return errors.Is(err, fs.ErrPermission) }
	if loaded("nf_tables") {
		begin := time.Now()
		r, err := nft.Read()
		if denied(err) {
			return fmt.Errorf("read the rules: %w", err)
		}
		e := facts.FilterEngine{Name: facts.NFTables, NotRead: notRead(err), ReadInMS: millis(time.Since(begin))}
		if err == nil {
			l.reading = r
			l.add(e, r.Tables, 0) // those come to light as the rules are walked through
		} else {
			l.out.Engines = append(l.out.Engines, e)
		}
	}
	for _, x := range []struct {
		family netfilter.Family
		name   string
	}{{netfilter.IPv4, facts.IPTables}, {netfilter.IPv6, facts.IP6Tables}} {
		if !slices.ContainsFunc(l.about, func(s suspect) bool { return s.to.Addr().Is6() == (x.family == netfilter.IPv6) }) {
			continue
		}
		begin := time.Now()
		tables, err := xt.Read(x.family)
		e := facts.FilterEngine{Name: x.name, NotRead: notRead(err), ReadInMS: millis(time.Since(begin))}
		if denied(err) && len(l.out.Engines) == 0 {
			return fmt.Errorf("read the rules: %w", err)
		}
		// Hardly any machine has these, and who has none hears nothing of them.
		if len(tables) > 0 || err != nil {
			opaque := 0
			for _, t := range tables {
				for _, c := range t.Chains {
					for _, r := range c.Rules {
						opaque += btoi(r.Opaque != "")
					}
				}
			}
			l.add(e, tables, opaque)
		}
	}
	return nil
}

func (l *filterLook) add(e facts.FilterEngine, tables []*netfilter.Table, opaque int) {
	e.Tables, e.Opaque = len(tables), opaque
	for _, t := range tables {
		e.Chains += len(t.Chains)
		for _, c := range t.Chains {
			e.Rules += len(c.Rules)
		}
	}
	l.out.Engines = append(l.out.Engines, e)
	l.rules.Tables = append(l.rules.Tables, tables...)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func notRead(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, fs.ErrPermission):
		return "not permitted"
	}
	return netfilter.Cut(err.Error(), 200)
}

// walk follows the packets of one connection.
func (l *filterLook) walk(s suspect) {
	c := netfilter.Connection{From: s.From, To: s.to, Client: clientOwner(s.as), Server: l.serverOwner(s), Route: l.way(s)}
	if !c.From.IsValid() {
		c.From = netip.AddrPortFrom(l.source(s.Addr), 0)
	}
	packets := l.rules.Handshake
	if s.data {
		packets = l.rules.Conversation
	}
	for w := range packets(c) {
		if l.ctx.Err() != nil {
			return
		}
		w.Addr, w.As, w.AsPID = s.Addr, s.As, s.AsPID
		l.finish(&w)
		l.out.Walks = append(l.out.Walks, w)
	}
}

// source is the address that the kernel chooses for a client of that address.
func (l *filterLook) source(to netip.Addr) netip.Addr {
	if l.f.Routes != nil {
		for _, r := range l.f.Routes.Lookups {
			if r.To == to && r.Source.IsValid() {
				return r.Source.Unmap()
			}
		}
	}
	return to
}

// outside asks what the rules would do with the same SYN if it came from another
// machine: where nothing listens, that is how a container's port is published.
func (l *filterLook) outside() {
	asked := map[netip.AddrPort]bool{}
	for _, s := range l.about {
		if s.Outcome != facts.Refused || len(listenersOf(l.f, s.to)) > 0 || l.f.Target.Port == 0 {
			continue
		}
		for _, a := range append(outsideAddresses(l.f, s.Addr), s.Addr) {
			to := netip.AddrPortFrom(a, s.to.Port())
			if asked[to] || len(asked) > 2*maxOutside || l.ctx.Err() != nil {
				continue
			}
			asked[to] = true
			w := l.rules.Published(to)
			w.As, w.AsPID = s.As, s.AsPID
			l.finish(&w)
			if len(w.Diverts) > 0 {
				l.out.Published = append(l.out.Published, w)
			}
		}
	}
}

// outsideAddresses are some of this machine's that others may use, of the family of
// a.
func outsideAddresses(f *facts.Facts, a netip.Addr) (found []netip.Addr) {
	if f.Interfaces == nil {
		return nil
	}
	for _, i := range f.Interfaces.Others {
		for _, p := range i.Addresses {
			if x := p.Addr(); x.Is4() == a.Is4() && !x.IsLinkLocalUnicast() && len(found) < maxOutside && i.Up {
				found = append(found, x)
				break // one of each device
			}
		}
	}
	return found
}

// found tells whether any rule has to do with a packet, so that cures are needed.
func (l *filterLook) found() bool {
	return len(l.out.Published) > 0 || len(l.out.Traced) > 0 || slices.ContainsFunc(l.out.Walks, func(w facts.FilterWalk) bool {
		return len(w.Stops)+len(w.Unsure)+len(w.Diverts)+len(w.Marks)+len(w.Untracks) > 0
	})
}

// deciding are the rules that cures may be about.
func (l *filterLook) deciding() (rules []facts.FilterRule) {
	for _, w := range slices.Concat(l.out.Walks, l.out.Published) {
		for _, s := range w.Stops {
			rules = append(rules, s.Rule)
		}
		for _, x := range w.Unsure {
			rules = append(rules, x.Rule)
		}
		for _, d := range w.Diverts {
			rules = append(rules, d.Rule)
		}
		for _, m := range w.Marks {
			rules = append(rules, m.Rule)
		}
		rules = append(rules, w.Untracks...)
	}
	for _, t := range l.out.Traced {
		rules = append(rules, t.Rule)
	}
	return rules
}

// finish bounds what a walk says, and adds what only the machine can tell.
func (l *filterLook) finish(w *facts.FilterWalk) {
	w.Stops = w.Stops[:min(len(w.Stops), maxOfWalk)]
	w.Unsure = w.Unsure[:min(len(w.Unsure), maxOfWalk)]
	w.Diverts = w.Diverts[:min(len(w.Diverts), maxOfWalk)]
	w.Marks = w.Marks[:min(len(w.Marks), maxOfWalk)]
	w.Untracks = w.Untracks[:min(len(w.Untracks), maxOfWalk)]
	w.Partial = netfilter.Cut(w.Partial, maxWhy)
	for i := range w.Stops {
		l.complete(&w.Stops[i].Rule)
	}
	for i := range w.Unsure {
		l.complete(&w.Unsure[i].Rule)
		w.Unsure[i].Why = netfilter.Cut(w.Unsure[i].Why, maxWhy)
	}
	for i := range w.Diverts {
		l.complete(&w.Diverts[i].Rule)
		l.completeDivert(&w.Diverts[i], w)
	}
	for i := range w.Marks {
		l.complete(&w.Marks[i].Rule)
	}
	for i := range w.Untracks {
		l.complete(&w.Untracks[i])
	}
}

// complete names the program that keeps the rule's table for itself.
func (l *filterLook) complete(r *facts.FilterRule) {
	r.Path = r.Path[:min(len(r.Path), maxPath)]
	if t := l.table(r); t != nil && t.Owner != 0 {
		r.Owner = tableOwner(t.Owner)
	}
}

func (l *filterLook) table(r *facts.FilterRule) *netfilter.Table {
	for _, t := range l.rules.Tables {
		if t.Engine == r.Engine && t.Name == r.Table && t.Family.String() == r.Family {
			return t
		}
	}
	return nil
}

// tableOwner names the program that keeps a table for itself, by the number of its
// netlink socket: the first one of a process has the process's.
func tableOwner(port uint32) string {
	if port == 0 {
		return ""
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", port)); err == nil {
		return fmt.Sprintf("%s (pid %d)", netfilter.Cut(strings.TrimSpace(string(name)), 64), port)
	}
	return fmt.Sprintf("netlink socket %d", port)
}

// queues notes which queues have a reader, where a rule queues a packet.
func (l *filterLook) queues() {
	queue := func(w facts.FilterWalk) bool {
		return slices.ContainsFunc(w.Stops, func(s facts.FilterStop) bool { return s.Verdict == "queue" }) ||
			slices.ContainsFunc(w.Unsure, func(x facts.FilterDoubt) bool { return x.Verdict == "queue" })
	}
	if !slices.ContainsFunc(l.out.Walks, queue) {
		return
	}
	data, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
	switch {
	case err == nil:
		l.out.Queues = parseQueues(data, tableOwner)
	case errors.Is(err, unix.ENOENT): // no such module is loaded, so that nobody reads
		l.out.Queues = &facts.PacketQueues{Read: []facts.PacketQueue{}}
	}
}
