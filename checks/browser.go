package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What a browser does not let through, while every other client gets an answer.

// clientFails is felt where a client's own error says that it fails for a reason
// which loopdoctor has not, and the machine shows that reason. The text alone proves
// nothing.
var clientFails = &Check{
	Name:   "client-fails",
	Doc:    "a client fails for a reason of its own, where others get an answer",
	Stage:  StageAnswer,
	Intent: facts.Connect,
	Needs:  []facts.Group{facts.GroupDials},
	Uses:   []facts.Group{facts.GroupAnswers, facts.GroupSockets, facts.GroupOwners, facts.GroupInterfaces},
	Run: func(f *facts.Facts) []Finding {
		who := "The client"
		if e := f.Target.Error; e != nil && e.Client != "" {
			who = e.Client
		} else if len(f.Host.As) > 0 && f.Host.As[0].PID != 0 {
			who = f.Host.As[0].Name()
		}
		var on []netip.Addr
		for _, a := range f.Target.Expected() {
			if works(f, a) && (unsafePort(f) && clientSays(f, "browser-unsafe-port") || clientSays(f, "browser-local-network-access") || ownLimit(f, a) != nil) {
				on = append(on, a)
			}
		}
		// The client is on the computer around this system, where localhost is another.
		if w := workingLoopback(f); len(on) == 0 && fromOutside(f) && leadsFromOutside(f) {
			on = w
		}
		for _, a := range asked(f) {
			if !slices.Contains(on, a.Addr) && (clientSays(f, "headers-too-large") && cookieTooLarge(f, a) != nil || hostRefused(f, a) != nil || upgraded(f, a) || refusedLogin(f, a) || metLimit(f, a) >= 0 && !isFull(toldBy(f, a))) {
				on = append(on, a.Addr)
			}
		}
		if len(on) == 0 {
			return nil
		}
		return []Finding{{Affects: on, Certainty: Proven, Summary: fmt.Sprintf("%s gets no answer of %s, where others do.", who, ats(f, on))}}
	},
}

// clientSays tells whether the client's error is in the words of that cause alone.
func clientSays(f *facts.Facts, cause string) bool {
	return f.Target.Error != nil && f.Target.Error.Names == cause
}

// badPorts are those to which no browser and no fetch() connects: the "bad port" list
// of the Fetch standard, section 2.9 (https://fetch.spec.whatwg.org/#port-blocking).
var badPorts = []uint16{0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111,
	113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601,
	636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}

func unsafePort(f *facts.Facts) bool {
	return f.Target.Network == "tcp" && slices.Contains(badPorts, f.Target.Port)
}

var browserUnsafePort = &Check{
	Name:     "browser-unsafe-port",
	Doc:      "browsers and fetch refuse this port, whatever is behind it",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials},
	Uses:     []facts.Group{facts.GroupAnswers, facts.GroupSockets, facts.GroupOwners},
	Explains: []*Check{clientFails},
	Run: func(f *facts.Facts) []Finding {
		var on []netip.Addr
		for _, a := range f.Target.Expected() {
			if works(f, a) {
				on = append(on, a)
			}
		}
		met := clientSays(f, "browser-unsafe-port")
		if !unsafePort(f) || len(on) == 0 || !met && !forBrowsers(f) {
			return nil
		}
		x := Finding{Affects: on, Certainty: Proven, Remark: !met,
			Summary:  fmt.Sprintf("Browsers and fetch() refuse port %d by themselves (ERR_UNSAFE_PORT, \"bad port\"): it belongs to another protocol. curl and others connect.", f.Target.Port),
			Evidence: []Evidence{{"Fetch standard", fmt.Sprintf("port %d is on its list of bad ports", f.Target.Port)}},
			Fixes: []Fix{
				{Do: "Let the server listen on another port: 3000, 8000 and 8080 are on no list."},
				{Do: fmt.Sprintf("For a single try: chrome --explicitly-allowed-ports=%[1]d; in Firefox, about:config, network.security.ports.banned.override = %[1]d.", f.Target.Port), Risk: "other websites can then reach that port, too"},
			}}
		if met {
			x.Evidence = append(x.Evidence, Evidence{"client", f.Target.Error.Text})
		}
		return []Finding{x}
	},
}

// forBrowsers tells whether a browser may be meant: an HTTP answer came, or a URL was
// given; of a bare port whose owner is seen, one that only its number makes special.
func forBrowsers(f *facts.Facts) bool {
	if slices.ContainsFunc(f.Answers, func(a facts.Answer) bool { return a.HTTP != nil }) || f.Target.URL != "" {
		return true
	}
	ls := listeners(f)
	if f.Target.Port < 1024 || len(ls) == 0 || wordless(f) {
		return false
	}
	return !slices.ContainsFunc(ls, func(s facts.Socket) bool {
		ps := f.Owners.Of(s)
		return len(ps) == 0 || slices.ContainsFunc(ps, func(p facts.Process) bool {
			return slices.Contains([]string{"Xorg", "X", "Xvnc", "Xwayland", "Xvfb", "saned", "ircd", "ngircd", "inspircd", "unrealircd", "asterisk", "kamailio", "opensips", "amandad", "pptpd"}, p.Name)
		})
	})
}

var browserLocalNetworkAccess = &Check{
	Name:     "browser-local-network-access",
	Doc:      "the browser forbids a page of another site to reach loopback",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupDials},
	Uses:     []facts.Group{facts.GroupAnswers},
	Explains: []*Check{clientFails},
	Run: func(f *facts.Facts) []Finding {
		if !clientSays(f, "browser-local-network-access") {
			return nil // a browser's permission shows to nobody but the browser
		}
		var fs []Finding
		for _, a := range f.Target.Expected() {
			if !works(f, a) {
				continue
			}
			// The words are the browser's own, and no server can produce them; that the
			// server works is what is seen here.
			x := Finding{Affects: []netip.Addr{a}, Certainty: Proven, Evidence: []Evidence{{"client", f.Target.Error.Text}},
				Summary: fmt.Sprintf("%s answers, and the browser keeps a page of another site from asking it: loopback needs the user's permission (Local Network Access).", at(f, a))}
			x.Fixes = []Fix{
				{Do: "Allow it for that site: the icon left of the address, Site settings, the permission for the local network."},
				{Do: "Open the page itself from localhost: then it is the same address space, and needs no permission."},
			}
			for i := range f.Answers {
				o := &f.Answers[i]
				if o.Addr != a || o.With != facts.WithPreflight || o.HTTP == nil {
					continue
				}
				var lacks []string
				for _, h := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Private-Network"} {
					if o.HTTP.Get(h) == "" {
						lacks = append(lacks, h)
					}
				}
				x.Evidence = append(x.Evidence, Evidence{"preflight", fmt.Sprintf("OPTIONS with Origin: %s%s", inShort(o), cond(len(lacks) > 0, ", without "+strings.Join(lacks, " and "), ", with what it needs"))})
				if len(lacks) > 0 {
					x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Let the server answer the preflight with %s: older versions of Chrome ask for it, and without Access-Control-Allow-Origin no version shows the answer to the page.", strings.Join(lacks, " and ")),
						Risk: "name the one origin that may: with * every website can read what the server says"})
				}
				break
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// browserLimit is how many connections browsers make to one host and port with
// HTTP/1.1 (Chromium: net/socket/client_socket_pool_manager.cc; Firefox:
// network.http.max-persistent-connections-per-server).
const browserLimit = 6

// browsers are the names that their processes have (comm, 15 bytes).
var browsers = []string{"chrome", "chromium", "google-chrome", "brave", "msedge", "opera", "vivaldi-bin", "firefox", "firefox-esr", "firefox-bin", "Socket Process", "librewolf", "epiphany", "WebKitNetworkPr", "Google Chrome He", "NetworkService"}

// outOfConnections finds the browsers that have as many connections to the address as they make.
func outOfConnections(f *facts.Facts, a netip.Addr) []facts.Process {
	if f.Sockets == nil || f.Owners == nil {
		return nil
	}
	open := map[int]int{}
	for _, s := range f.Sockets.Sockets {
		if s.Network != "tcp" || s.State != facts.Established || s.Remote.Addr().Unmap() != a || s.Remote.Port() != f.Target.Port {
			continue
		}
		for _, p := range f.Owners.Of(s) {
			open[p.PID]++
		}
	}
	var out []facts.Process
	for _, p := range f.Owners.Processes {
		if open[p.PID] >= browserLimit && slices.Contains(browsers, p.Name) {
			out = append(out, p)
		}
	}
	return out
}

// ownLimit is the browser at its limit that is the client itself (--as PID).
func ownLimit(f *facts.Facts, a netip.Addr) *facts.Process {
	for _, p := range outOfConnections(f, a) {
		if slices.ContainsFunc(f.Host.As, func(id facts.Identity) bool { return id.PID == p.PID }) {
			return &p
		}
	}
	return nil
}

var browserConnectionLimit = &Check{
	Name:     "browser-connection-limit",
	Doc:      "a browser has all the connections that it makes to one server, and lets further requests wait",
	Stage:    StageAnswer,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupOwners},
	Uses:     []facts.Group{facts.GroupDials},
	Explains: []*Check{clientFails},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range f.Target.Expected() {
			for _, p := range outOfConnections(f, a) {
				x := Finding{Affects: []netip.Addr{a}, Certainty: Inferred, Remark: ownLimit(f, a) == nil,
					Summary: fmt.Sprintf("%s has %d connections open to %s, which is all that a browser makes to one server with HTTP/1.1: while they are busy (event streams, long polls, videos), further requests and tabs wait.", who(p), browserLimit, at(f, a))}
				for _, s := range f.Sockets.Sockets {
					if s.State == facts.Established && s.Remote.Addr().Unmap() == a && s.Remote.Port() == f.Target.Port && slices.ContainsFunc(f.Owners.Of(s), func(q facts.Process) bool { return q.PID == p.PID }) {
						x.Evidence = append(x.Evidence, Evidence{"connection", fmt.Sprintf("%s to %s, established", s.Local, s.Remote)})
					}
				}
				x.Settle = "developer tools, Network: the waiting request is \"pending\" or \"stalled\""
				x.Fixes = []Fix{
					{Do: "Close the other tabs of that server, or what holds connections in them."},
					{Do: fmt.Sprintf("Use another name of loopback for the rest: each has a limit of its own (%s).", withHost(f, otherName(f)))},
					{Do: "Serve HTTP/2 (over TLS), or share one EventSource or WebSocket among the tabs (SharedWorker, BroadcastChannel)."},
				}
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}
