package checks

import (
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What a server answers, in words.

// url asks for this URL, of the machine's port.
func url(u string) change {
	return func(f *facts.Facts) { f.Target.Raw, f.Target.URL, f.Target.Speak = u, u, facts.AskHTTP }
}

// gets adds an HTTP answer of that status to uid 1000.
func gets(from string, status int, body string, changes ...reply) change {
	return func(f *facts.Facts) {
		a := facts.Answer{Addr: netip.MustParseAddr(from), As: 1000, Question: facts.AskHTTP, Protocol: "http/1.1", Bytes: 200, Sent: 100, FirstMS: 2, ElapsedMS: 3, End: facts.Answered,
			HTTP: &facts.HTTPAnswer{Status: status, Reason: map[int]string{200: "OK", 301: "Moved Permanently", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 431: "Request Header Fields Too Large", 500: "Internal Server Error", 502: "Bad Gateway"}[status], Body: body}}
		for _, c := range changes {
			c(&a)
		}
		if f.Target.Speak == "" {
			f.Target.Speak = facts.AskHTTP
		}
		f.Answers = append(f.Answers, a)
	}
}

type reply = func(*facts.Answer)

func with(what string) reply { return func(a *facts.Answer) { a.With = what } }
func header(name, value string) reply {
	return func(a *facts.Answer) {
		if a.HTTP != nil {
			a.HTTP.Headers = append(a.HTTP.Headers, facts.Header{Name: name, Value: value})
		}
	}
}
func inTLS(a *facts.Answer) {
	a.TLS, a.Handshake = true, &facts.Handshake{Version: "TLS 1.3", ForHost: true}
}
func wrote(lines ...string) reply {
	return func(a *facts.Answer) {
		a.With, a.Log, a.LogFrom = facts.WithLog, lines, "/var/log/server.log"
	}
}
func after(ms float64) reply { return func(a *facts.Answer) { a.FirstMS, a.ElapsedMS = ms, ms+1 } }

// endsWith makes it no answer at all.
func endsWith(how facts.End) reply {
	return func(a *facts.Answer) {
		a.HTTP, a.Protocol, a.Bytes, a.FirstMS, a.End = nil, "", 0, 0, how
	}
}

// whereItLeads is what came of the question where a redirect leads.
func whereItLeads(to, errno string) reply {
	return func(a *facts.Answer) {
		a.With, a.To = facts.WithRedirect, netip.MustParseAddrPort(to)
		if errno != "" {
			endsWith(facts.NotAsked)(a)
			a.Errno = errno
		}
	}
}

// plainThere: what is there speaks no TLS.
func plainThere(to string) reply {
	return func(a *facts.Answer) {
		endsWith(facts.EndOfFile)(a)
		a.With, a.To, a.TLS, a.Handshake = facts.WithRedirect, netip.MustParseAddrPort(to), true, &facts.Handshake{Error: "first record does not look like a TLS handshake"}
	}
}

// names is a client's error in the words of one cause.
func names(cause, client, text string) change {
	return clientPrinted(facts.ClientError{Names: cause, Client: client, Text: text, Means: "it fails", Answer: true})
}

// movedTo moves the whole story to another port.
func movedTo(n uint16) change {
	return func(f *facts.Facts) {
		f.Target.Port = n
		for i := range f.Sockets.Sockets {
			s := &f.Sockets.Sockets[i]
			if s.Local.Port() == port {
				s.Local = netip.AddrPortFrom(s.Local.Addr(), n)
			}
		}
	}
}

// browserHas adds connections of a browser to the port.
func browserHas(n int, name string, pid int) change {
	return func(f *facts.Facts) {
		for i := range n {
			s := facts.Socket{Network: "tcp", State: facts.Established, Local: netip.AddrPortFrom(v4Loopback, uint16(41000+i)), Remote: addr("127.0.0.1"), UID: 1000, Inode: uint64(9000 + pid*100 + i)}
			f.Sockets.Sockets = append(f.Sockets.Sockets, s)
			f.Owners.Holders[s.Inode] = []facts.Holder{{PID: pid, Attribution: facts.ByDescriptor}}
		}
		f.Owners.Processes = append(f.Owners.Processes, facts.Process{PID: pid, PPID: 1, Name: name, UID: 1000, State: "S", Started: morning})
	}
}

func denies(line string) reply {
	return func(a *facts.Answer) {
		endsWith(facts.EndOfFile)(a)
		a.Access = []facts.AccessLine{{From: "/etc/hosts.deny:3", Text: line}}
	}
}
