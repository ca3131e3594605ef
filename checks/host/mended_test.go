package host

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Without a target there is no port to bind.
func TestWithoutATargetNothingIsBound(t *testing.T) {
	m := newMachine()
	f := mustLook(t, m, facts.Target{Network: "tcp", Intent: facts.Connect}, Options{NoConnect: true})
	if len(m.asked) > 0 || f.Has(facts.GroupBinds) {
		t.Errorf("asked %v, absent says %+v, and there are %d binds", m.asked, f.Absent[facts.GroupBinds], len(f.Binds))
	}
}

// A look that ignores its context does not keep the run beyond its limit.
func TestAHangingLookIsLeftBehind(t *testing.T) {
	for name, hang := range map[string]func(*machine, chan struct{}){
		"interfaces": func(m *machine, c chan struct{}) {
			m.interfaces = func() (*facts.Interfaces, error) { <-c; return nil, errors.New("x") }
		},
		"owners": func(m *machine, c chan struct{}) {
			m.owners = func(context.Context, []facts.Socket) (*facts.Owners, error) { <-c; return nil, errors.New("x") }
		},
		"namespaces": func(m *machine, c chan struct{}) {
			m.namespaces = func(context.Context, uint16) (*facts.Namespaces, error) { <-c; return nil, errors.New("x") }
		},
		"names": func(m *machine, c chan struct{}) {
			m.names = func(context.Context, string, facts.Identity, bool) (*facts.Names, error) {
				<-c
				return nil, errors.New("x")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := make(chan struct{})
			m := newMachine()
			hang(m, c)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			done := make(chan struct{})
			go func() { m.lookIn(ctx, target(""), Options{NoCapture: true}); close(done) }()
			select {
			case <-done:
			case <-time.After(time.Second):
				t.Error("it hangs beyond the time limit of 100 ms")
			}
			close(c)
			<-done
		})
	}
}

// Also of those that are not run by get.
func TestAPanicIsTheReasonOfItsLook(t *testing.T) {
	for name, c := range map[string]struct {
		group facts.Group
		wrong func(*machine)
		o     Options
	}{
		"dial": {facts.GroupDials, func(m *machine) { m.dial = func(netip.AddrPort, client) connection { panic("oh") } }, Options{}},
		"bind": {facts.GroupBinds, func(m *machine) {
			m.bind = func(string, netip.AddrPort, client, bool) (facts.Bind, error) { panic("oh") }
		}, Options{}},
		"ledger without capture": {facts.GroupLedger, func(m *machine) {
			m.sources.ledger = func(netip.AddrPort, client, int, func(uint16)) (facts.Ledger, error) { panic("oh") }
		}, Options{NoCapture: true}},
		"ledger within a capture": {facts.GroupLedger, func(m *machine) {
			m.sources.ledger = func(netip.AddrPort, client, int, func(uint16)) (facts.Ledger, error) { panic("oh") }
		}, Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("the panic %q leaves the look", r)
				}
			}()
			m := newMachine()
			c.wrong(m)
			f := mustLook(t, m, target(""), c.o)
			if f.Has(c.group) || f.Absent[c.group].Reason != "internal error: oh" {
				t.Errorf("absent: %+v", f.Absent)
			}
		})
	}
}

// The owners are looked for while the other looks go on: with -race this tells whether they share anything.
func TestLooksAtTheSameTimeMayAllFail(t *testing.T) {
	for range 300 {
		m := newMachine()
		m.owners = func(context.Context, []facts.Socket) (*facts.Owners, error) { return nil, os.ErrPermission }
		m.routes = func(facts.Target, uint32) (*facts.Routes, error) { return nil, os.ErrPermission }
		mustLook(t, m, toBind(target("")), Options{})
	}
}

// "Could not" is for what was tried.
func TestWhatThisSystemLacksIsNotSaidToBeTried(t *testing.T) {
	m := newMachine(func(m *machine) { m.routes = nil })
	if a := mustLook(t, m, target(""), Options{}).Absent[facts.GroupRoutes]; a.Why != facts.NotOnThisOS {
		t.Errorf("got %+v", a)
	}
}

// The same on a system that has nothing but dial, which is macOS and Windows today.
func TestASystemThatCanOnlyDial(t *testing.T) {
	for range 300 {
		m := newMachine()
		m.sources = sources{dial: m.dial}
		mustLook(t, m, target(""), Options{})
	}
}
