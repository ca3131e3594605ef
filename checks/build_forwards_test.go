package checks

import (
	"net/netip"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// passesOn adds a way on of process pid, which holds a listener on the port.
func passesOn(kind string, pid int, to string, changes ...func(*facts.Forward)) change {
	return func(f *facts.Facts) {
		w := facts.Forward{PID: pid, Kind: kind, Program: kind, Started: morning.Add(-time.Hour), Held: true, From: "argument 2", Text: to, To: to}
		if kind == "ssh -L" || kind == "ssh -D" {
			w.Program = "ssh"
		}
		for _, c := range changes {
			c(&w)
		}
		if f.Forwards == nil {
			f.Forwards = &facts.Forwards{}
		}
		f.Forwards.Found = append(f.Forwards.Found, w)
	}
}

// noForwards is a look for forwarders that found none.
func noForwards(f *facts.Facts) { f.Forwards = &facts.Forwards{Found: []facts.Forward{}} }

type wayMark = func(*facts.Forward)

// farAt adds what is at an address to which the way leads; owner is empty where nothing
// listens.
func farAt(at, owner string) wayMark {
	return func(w *facts.Forward) { w.Far = append(w.Far, endAt(at, owner)) }
}

// nearAt adds who listens on that port at another address.
func nearAt(at, owner string) wayMark {
	return func(w *facts.Forward) { w.Near = append(w.Near, endAt(at, owner)) }
}

func endAt(at, owner string) facts.FarEnd {
	e := facts.FarEnd{Listens: owner != "", Owner: owner}
	if a, err := netip.ParseAddrPort(at); err == nil {
		e.Addr = a
	} else {
		e.Unix = at
	}
	return e
}

func byWay(machine string) wayMark { return func(w *facts.Forward) { w.Through = machine } }
func wayIsHere(w *facts.Forward)   { w.Here = true }

// wroteNow is what its log said last, while loopdoctor looked.
func wroteNow(line string) wayMark {
	return func(w *facts.Forward) { w.Log, w.LogFrom, w.Fresh = []string{line}, "/home/ann/ssh.log", true }
}

// wroteBefore is the same, at some earlier time.
func wroteBefore(line string) wayMark {
	return func(w *facts.Forward) { wroteNow(line)(w); w.Fresh = false }
}

// toldToTake is a way whose process holds nothing: it was told to listen.
func toldToTake(at string) wayMark {
	return func(w *facts.Forward) {
		w.Held, w.Both = false, at == "localhost"
		a := v4Loopback
		if !w.Both {
			a = netip.MustParseAddr(at)
		}
		w.Listen = netip.AddrPortFrom(a, port)
	}
}

func beganAgo(ago time.Duration) wayMark {
	return func(w *facts.Forward) { w.Started = morning.Add(-ago) }
}

// configuredAt is a line of a reverse proxy's configuration.
func configuredAt(at, text string) wayMark {
	return func(w *facts.Forward) { w.Proxies, w.From, w.Text = true, at, text }
}

// answersOwn is a line by which process pid is told to answer with the status itself.
func answersOwn(kind string, pid, status int, text string, marks ...wayMark) change {
	return passesOn(kind, pid, "", append([]wayMark{configuredAt("/etc/proxy.conf:4", text), func(w *facts.Forward) { w.Own = status }}, marks...)...)
}

func onACondition(w *facts.Forward) { w.Maybe = true }
func onceAsked(w *facts.Forward)    { w.Asked = true }

// socketOf is the file of a UNIX socket to which the way leads, and as whom it leads on.
func socketOf(at string, owner, mode uint32, workers ...uint32) wayMark {
	return func(w *facts.Forward) {
		e := endAt(at, "gunicorn (pid 9)")
		e.UID, e.Mode = owner, mode
		w.Far, w.Workers = append(w.Far, e), workers
	}
}

func takesOnly(from string) wayMark {
	return func(w *facts.Forward) { w.Only = netip.MustParsePrefix(from) }
}
