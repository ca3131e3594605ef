// Package host looks at the machine: everything that loopdoctor sees, it sees
// here, and writes it down as facts. It refuses to judge, to change the machine
// and to talk to anything but this machine's own addresses.
package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Options say how to look.
type Options struct {
	As              []facts.Identity // the clients whose view to take, the main one first; empty: the user who runs loopdoctor
	Timeout         time.Duration    // of the whole look; 0: 5 s
	NoConnect       bool             // dial nothing
	NoCapture       bool             // capture nothing
	NoSystemChanges bool             // nothing that the kernel would have to undo
	AskDNS          bool             // ask configured name servers off this machine too
	Patience        time.Duration    // how long an answer is waited for; 0: 1 s
	From            Spot             // the place that is looked from, if one was named
	Environ         map[int][]string // of clients that have ended: what they were started with
}

// ForeignTargetError is the refusal of an address that is not this machine's.
type ForeignTargetError struct {
	Target string
	Why    string // "192.0.2.1 is not an address of this machine"
	Ask    string // what to ask of the machine around this container, if that is the target
}

func (e *ForeignTargetError) Error() string {
	if e.Ask != "" {
		return fmt.Sprintf("%s: %s, but of the machine around the container; ask there, on the host: loopdoctor %s", e.Target, e.Why, e.Ask)
	}
	return fmt.Sprintf("%s: %s; loopdoctor diagnoses loopback and this machine's own addresses only, run it where the service runs", e.Target, e.Why)
}

// sources is what only an operating system can answer. Each os_<goos>.go fills
// in one value; a nil function means "not on this system".
type sources struct {
	host       func(h *facts.Host)
	names      func(ctx context.Context, name string, as facts.Identity, askDNS bool) (*facts.Names, error)
	interfaces func() (*facts.Interfaces, error)
	routes     func(t facts.Target, uid uint32) (*facts.Routes, error)
	sockets    func(port uint16) (*facts.Sockets, error)
	listeners  func() (*facts.Sockets, error)
	owners     func(ctx context.Context, sockets []facts.Socket) (*facts.Owners, error)
	limits     func(as []facts.Identity) (*facts.Limits, error)
	namespaces func(ctx context.Context, port uint16) (*facts.Namespaces, error)
	bind       func(network string, to netip.AddrPort, as client, reuse bool) (facts.Bind, error)
	dial       func(to netip.AddrPort, as client) connection
	ledger     func(to netip.AddrPort, as client, syns int, bound func(port uint16)) (facts.Ledger, error)
	traffic    func(i *facts.Interface) (*facts.Traffic, error)
	rules      func(t facts.Target, uid uint32) ([]facts.Rule, error)
	portUse    func(ctx context.Context, l *facts.Limits) (*facts.PortUse, error)
	capture    func(port uint16, during func(also func(port uint16))) (*facts.Packets, error)

	// They read the facts that are there already and write to none.
	filters   func(ctx context.Context, f *facts.Facts, about []suspect, mayTrace bool) (*facts.Filters, error)
	conntrack func(f *facts.Facts, about []suspect) (*facts.Conntrack, error)

	// What is behind an open port. They read the facts that are there already and
	// write to none.
	ask  func(ctx context.Context, to netip.AddrPort, as client, q inquiry) facts.Answer
	work func(ctx context.Context, f *facts.Facts) (*facts.Work, error)
	full func(pid int) bool // the process has as many files open as it may
	// The logs of what listens at an address, from now on (nil: none can be read), and
	// their last line with a word in it; the lines that keep a client away from it.
	watchLog    func(f *facts.Facts, a netip.Addr) logWatch
	lastLog     func(f *facts.Facts, a netip.Addr, word string) (lines []string, from string)
	accessLines func(ps []facts.Process, client netip.Addr) []facts.AccessLine
	forwards    func(ctx context.Context, f *facts.Facts) (*facts.Forwards, error)

	// Where a server may be that does not listen. They read the facts that are
	// there already and write to none.
	candidates  func(ctx context.Context, f *facts.Facts) (*facts.Candidates, error)
	units       func(ctx context.Context, f *facts.Facts) (*facts.Units, error)
	containers  func(ctx context.Context, f *facts.Facts) (*facts.Containers, error)
	configs     func(ctx context.Context, f *facts.Facts) (*facts.Configs, error)
	unixSockets func(ctx context.Context, f *facts.Facts) (*facts.UnixSockets, error)

	// The client: who it is, whether loopdoctor can be it, and what it was started
	// with. Process 0 is loopdoctor itself.
	process func(pid int) (facts.Identity, error)
	try     func(facts.Identity) error
	enter   func(facts.Identity) error
	// The place to look from, if that is named otherwise than by a client.
	find      func(Place) (Spot, error)
	enterFile func(path string) error
	cgroup    func(as *facts.Identity, forbidden bool) (socket func(family, kind int) (int, error), end func())
	second    func()
	environ   func(pid int) ([]string, error)
	program   func(pid int) program
	// readAs reads files with the rights of the client: what only root may read must
	// not come out of those that the client names. nil: loopdoctor has no others.
	readAs func(as facts.Identity, read func()) error

	// A client that is run to be watched.
	watch func(argv []string) (*Watched, error)

	// Who holds the port: asked only on failure.
	origins  func(ps []facts.Process) []facts.Process
	userName func(uid uint32) string

	// How a server could share the port, or take another.
	reusePort func(ctx context.Context, f *facts.Facts) ([]facts.Bind, error)
	spare     func(ctx context.Context, f *facts.Facts) ([]facts.SparePort, error)
}

// connection is one dial that is kept open until the end of the look.
type connection interface {
	Fact() facts.Dial         // as it stands now
	Accepted() bool           // one look at the server's side
	Forget()                  // what was seen of the server's side proves nothing: time was too short
	Early(wait time.Duration) // watch for an end of file that nobody asked for
	Close()
}

// Gather looks at each target and returns its facts, in the same order. It ends
// by itself when the time limit is over: what was not seen by then is absent,
// with that reason. The only errors are those of a target that is not ours.
func Gather(ctx context.Context, targets []facts.Target, o Options) ([]*facts.Facts, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	h := hostFacts(o)
	sockets, end := inCgroups(h.As, o.NoSystemChanges)
	defer end()
	var all []*facts.Facts
	for _, t := range targets {
		l := &look{sources: here, Options: o, sockets: sockets, f: &facts.Facts{Time: time.Now(), Target: t, Host: h, Absent: map[facts.Group]facts.Absence{}}}
		l.sources.environ = withKept(l.sources.environ, o.Environ)
		if err := l.target(ctx); err != nil {
			return nil, err
		}
		l.f.ElapsedMS = millis(time.Since(l.f.Time))
		all = append(all, l.f)
	}
	return all, nil
}

func hostFacts(o Options) facts.Host {
	h := facts.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, Vantage: "host"}
	if wd, err := os.Getwd(); err == nil {
		h.Cwd = wd
	}
	h.As = slices.Clone(o.As)
	if len(h.As) == 0 {
		h.As = []facts.Identity{UID(uint32(max(os.Geteuid(), 0)))}
	}
	o.From.tell(&h)
	if here.host != nil {
		here.host(&h)
	}
	return h
}

// look is the look at one target.
type look struct {
	sources
	Options
	f          *facts.Facts
	mu         sync.Mutex            // of f.Absent
	own        map[netip.Addr]uint16 // ports of our own listeners, in the run without a target
	sockets    map[int]makeSocket    // how the clients of another cgroup make their sockets, by process
	open       []connection          // every dial, until the end of the look
	ownersDone chan struct{}
	proxies    func() (*facts.Proxies, error) // waits for the look at proxies
}

// missing notes why a group is not there.
func (l *look) missing(g facts.Group, err error) {
	a := facts.Absence{Why: facts.CouldNot, Reason: reason(err)}
	if errors.Is(err, os.ErrPermission) {
		a.Reason, a.Remedy = "needs root", "run it with sudo"
		if os.Geteuid() == 0 {
			a.Reason, a.Remedy = "not permitted, even as root", "run it outside the sandbox"
		}
	}
	if errors.Is(err, errNotHere) {
		a.Why = facts.NotOnThisOS
	}
	l.absent(g, a)
}

func (l *look) skipped(g facts.Group, why facts.Why, reason string) {
	l.absent(g, facts.Absence{Why: why, Reason: reason})
}

// absent is called by looks that run at the same time.
func (l *look) absent(g facts.Group, a facts.Absence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Absent[g] = a
}

// said tells whether it is written down why the group is not there.
func (l *look) said(g facts.Group) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.f.Absent[g]
	return ok
}

func reason(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "time was over"
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, errNotHere):
		return "not on this system"
	}
	return err.Error()
}

var errNotHere = errors.New("not on this system")

// guard runs one look; its panic is its reason.
func guard(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("internal error: %v", r)
		}
	}()
	return do()
}

// get runs one look and writes down what it saw, or why it saw nothing. One that
// does not end in time is left behind.
func get[T any](ctx context.Context, l *look, g facts.Group, into *T, do func() (T, error)) {
	if err := ctx.Err(); err != nil {
		l.missing(g, err)
		return
	}
	var v T
	done := make(chan error, 1)
	go func() {
		done <- guard(func() (err error) {
			v, err = do()
			return err
		})
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		l.missing(g, err)
		return
	}
	*into = v
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// maskURL hides everything between the scheme and the last @: who types a
// password with a slash in it does not escape it.
func maskURL(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	} else {
		scheme += "://"
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		end = i
	}
	if i := strings.LastIndexByte(rest[:end], '@'); i >= 0 {
		return scheme + "***" + rest[i:]
	}
	return s
}
