package host

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/config"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/forward"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// How much is kept of where forwarders lead.
const (
	maxForwards = 24
	forwardTime = 1200 * time.Millisecond // an idle machine takes 10 ms, and 130 ms where it looks twice
)

// linuxForwards reads where the programs on the port lead, and looks at the far ends
// that are on this machine. It connects to none of them: the kernel's list of
// listeners says whether somebody is there.
func linuxForwards(ctx context.Context, f *facts.Facts) (*facts.Forwards, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardTime)
	defer cancel()
	listeners, err := linuxListeners()
	if err != nil {
		return nil, err
	}
	w := &ways{f: f, configs: configs{ctx: ctx, target: f.Target, seen: map[string]bool{}}, tcp: tcpListeners(listeners), udp: udpSockets(listeners)}
	w.unix, _ = sockdiag.UnixListeners()

	holders, held := holdersOf(f)
	seen := len(holders) > 0
	for _, p := range holders {
		// What a worker does, its parent was told.
		if !slices.ContainsFunc(holders, func(q facts.Process) bool { return q.PID == p.PPID && q.Name == p.Name }) {
			w.ofProcess(p, true)
		}
	}
	if !held && f.Owners != nil { // it had the port, and our connection was its end
		for _, p := range f.Owners.Processes {
			if p.Forwards() {
				before := len(w.found)
				w.ofProcess(p, true)
				for i := range w.found[before:] {
					w.found[before+i].Gone = true
				}
			}
		}
	}
	// Where it is not seen who holds the port, or somebody else does, arguments are
	// all there is: everybody may read them.
	if !held || !seen || f.Target.Error != nil || f.Target.Intent == facts.ToBind {
		w.ofOthers(holders, !seen)
	}
	if held && !seen {
		w.bySignature()
	}
	for i := range w.found {
		w.farEnds(&w.found[i])
	}
	if len(w.far) > 0 {
		if w.owners, err = process.Owners(ctx, w.far); err != nil {
			w.owners = &facts.Owners{}
		}
		for i := range w.found {
			w.farEnds(&w.found[i])
		}
	}
	all := &facts.Forwards{Found: w.found, Partial: strings.Join(w.partial, "; ")}
	if slices.ContainsFunc(f.Answers, staysAway) {
		w.standstill(ctx, all)
		unanswered(all)
	}
	return all, nil
}

// udpSockets are those that take datagrams from anyone.
func udpSockets(all *facts.Sockets) []facts.Socket {
	return slices.DeleteFunc(slices.Clone(all.Sockets), func(s facts.Socket) bool { return s.Network != "udp" })
}

// ways is the look at one target.
type ways struct {
	configs
	f      *facts.Facts
	tcp    []facts.Socket
	udp    []facts.Socket // that take datagrams from anyone
	unix   []sockdiag.UnixListener
	found  []facts.Forward
	far    []facts.Socket // listeners at far ends
	owners *facts.Owners  // of those
}

// programOf is the name by which a forwarder is known: comm holds fifteen bytes of it.
func programOf(p facts.Process) string {
	if p.Exe != "" && !strings.Contains(p.Exe, "python") {
		if name := filepath.Base(p.Exe); strings.HasPrefix(name, p.Name) {
			return name
		}
	}
	return p.Name
}

// ofProcess reads what one process was told.
func (w *ways) ofProcess(p facts.Process, held bool) {
	base := facts.Forward{PID: p.PID, Program: programOf(p), Started: p.Started, Held: held}
	if s := serverOf(p); s != nil && upstreams[s.program] != nil && p.Args != nil && !slices.Contains(p.Args, "reverse-proxy") {
		base.Kind, base.Proxies = s.program, true
		if p.Container != "" {
			w.add(base) // its files are not this system's
		} else {
			w.ofProxy(*s, &p, base)
		}
		return
	}
	var session forward.Session
	var told []forward.Way
	switch {
	case p.Name == "ssh":
		session = w.session(p)
		told = session.Ways
		base.Strict = session.Strict
	case strings.HasPrefix(base.Program, "stunnel"):
		told = w.stunnel(p)
	default:
		told = forward.Arguments(base.Program, p.Args)
	}
	before := len(w.found)
	for _, t := range told {
		if t.Takes != "" && t.Takes != w.target.Network || (t.Kind == "docker-proxy" || t.Kind == "pasta") && !w.credible(p) {
			continue
		}
		if t.Port != w.target.Port && !(held && t.Port == 0 && t.Unix == "") {
			continue
		}
		x := base
		x.Kind, x.From, x.Text, x.To = t.Kind, t.From, clean(mask(t.Text)), clean(t.Target())
		x.Through, x.Proxies, x.UDP = clean(t.Through), t.Kind == "caddy", t.UDP
		x.Listen, x.Both = listenAt(t.Bind, t.Port)
		x.Only, _ = netip.ParsePrefix(t.Only)
		if p.Name == "ssh" {
			x.Through = clean(cmp.Or(session.User, p.User) + "@" + session.Host)
			if x.Both && session.Family != "" {
				x.Both = false
				if session.Family == "6" {
					x.Listen = netip.AddrPortFrom(v6, t.Port)
				}
			}
			x.Here = w.isHere(session)
			if n, err := strconv.ParseUint(session.Port, 10, 16); err == nil && n != 22 {
				x.Port = uint16(n)
			}
		}
		w.log(&x, p, session.Log)
		w.add(x)
	}
	if held && len(w.found) == before && p.Forwards() {
		base.Kind = map[string]string{"code": "ide"}[p.Name]
		base.Kind = cmp.Or(base.Kind, base.Program)
		w.log(&base, p, session.Log)
		w.add(base)
	}
}

// credible tells whether a process that says it is docker-proxy, or pasta, may be the one that has
// the port: it is root's, as that of a Docker for all is, or of the user whose socket it is.
func (w *ways) credible(p facts.Process) bool {
	return p.HoldsForContainers() && slices.Contains(whoHasPort(w.f), p.UID)
}

// whoHasPort are root and those whose sockets have the port.
func whoHasPort(f *facts.Facts) []uint32 {
	users := []uint32{0}
	if f.Sockets != nil {
		for _, s := range f.Sockets.Sockets {
			if s.Local.Port() == f.Target.Port && s.Network == f.Target.Network && (s.State == facts.Listen || s.Network == "udp") {
				users = append(users, s.UID)
			}
		}
	}
	return users
}

func (w *ways) add(x facts.Forward) {
	if len(w.found) < maxForwards {
		w.found = append(w.found, x)
	}
}

// otherForwarders are programs, besides the reverse proxies, whose arguments are read
// where they are not seen to hold the port.
var otherForwarders = []string{"ssh", "kubectl", "oc", "socat", "stunnel", "stunnel4", "docker-proxy", "pasta", "pasta.avx2", "passt", "passt.avx2", "sh", "bash", "dash"}

// commOf is the name of a process; empty if it is gone.
func commOf(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(data))
}

// ofOthers looks for forwarders whose arguments name the port. unseen: nobody is seen
// to hold it, so that any of them may.
func (w *ways) ofOthers(holders []facts.Process, unseen bool) {
	pids, err := process.PIDs()
	if err != nil {
		w.missed("/proc", err)
		return
	}
	mine, _ := inode("/proc/self/net/tcp")
	for _, pid := range pids {
		name := commOf(pid)
		proxy := slices.ContainsFunc(servers, func(s server) bool { return upstreams[s.program] != nil && slices.Contains(s.names, name) })
		if w.ctx.Err() != nil || !proxy && !slices.Contains(otherForwarders, name) || proxy && !unseen ||
			slices.ContainsFunc(holders, func(p facts.Process) bool { return p.PID == pid }) {
			continue
		}
		p, err := process.Describe(pid)
		if err != nil || p.Me || p.Netns != 0 && p.Netns != mine {
			continue
		}
		switch {
		case (proxy || name == "socat") && commOf(p.PPID) == name: // a worker: what it does its parent was told
		case name == "ssh" || name == "kubectl" || name == "oc" || unseen && !strings.HasSuffix(name, "sh"):
			w.ofProcess(p, false)
		case strings.HasSuffix(name, "sh") && name != "ssh":
			w.ofLoop(p)
		}
	}
}

// ofLoop finds the kubectl that a shell starts over and over.
func (w *ways) ofLoop(p facts.Process) {
	for i, a := range p.Args {
		if !strings.Contains(a, "port-forward") || !strings.ContainsAny(a, " ") {
			continue
		}
		words := strings.FieldsFunc(a, func(r rune) bool { return strings.ContainsRune(" \t\n;&|(){}'\"", r) })
		k := slices.IndexFunc(words, func(s string) bool { return filepath.Base(s) == "kubectl" || filepath.Base(s) == "oc" })
		if k < 0 {
			continue
		}
		for _, t := range forward.Arguments("kubectl", words[k:]) {
			if t.Port == w.target.Port {
				x := facts.Forward{PID: p.PID, Program: p.Name, Started: p.Started, Kind: "loop of kubectl port-forward", From: fmt.Sprintf("argument %d", i),
					Text: clean(mask(a)), To: clean(t.Target()), Through: clean(t.Through)}
				x.Listen, x.Both = listenAt(t.Bind, t.Port)
				w.log(&x, p, "")
				w.add(x)
				return
			}
		}
	}
}

// upstreams is how each reverse proxy's configuration is read.
var upstreams = map[string]func([]byte) config.Proxying{
	config.Nginx: config.UpstreamsNginx, config.Caddy: config.UpstreamsCaddy, config.HAProxy: config.UpstreamsHAProxy, config.Apache: config.UpstreamsApache,
}

// ofProxy reads the configuration of a reverse proxy; by is its process, if that is
// seen.
func (w *ways) ofProxy(s server, by *facts.Process, base facts.Forward) {
	parse := func(data []byte, name string) ([]config.Upstream, []string) {
		found := upstreams[s.program](data)
		for i := range found.Upstreams {
			found.Upstreams[i].File = name
		}
		return found.Upstreams, found.Include
	}
	var all []config.Upstream
	var files []string
	if by != nil {
		files = s.named(*by)
	}
	for _, name := range files {
		all = append(all, follow(&w.configs, s, parse, name, filepath.Dir(name), by, 0)...)
	}
	if len(files) == 0 {
		for _, other := range servers {
			if other.program == s.program {
				for _, name := range other.main() {
					all = append(all, follow(&w.configs, other, parse, name, filepath.Dir(name), nil, 0)...)
				}
			}
		}
	}
	host, path := w.target.Host, ""
	if u, err := url.Parse(w.target.URL); err == nil && w.target.URL != "" {
		host, path = u.Hostname(), u.Path
	}
	if by != nil && !base.Held {
		// Nobody is seen to hold the port: only who was told to listen there may.
		port := strconv.Itoa(int(w.target.Port))
		if !slices.ContainsFunc(all, func(u config.Upstream) bool { return slices.Contains(u.Listen, port) }) {
			return
		}
		base.Listen = netip.AddrPortFrom(netip.IPv6Unspecified(), w.target.Port) // at some address
	}
	before := len(w.found)
	for _, u := range config.For(all, w.target.Port, host, path) {
		x := base
		x.From, x.Text = fmt.Sprintf("%s:%d", u.File, u.Line), u.Text
		x.Own, x.Maybe, x.Asked = u.Own, u.Maybe, u.Asked
		if host, port, unix := config.Target(u.To); port != 0 {
			x.To = clean(forward.Way{Host: host, To: port}.Target())
		} else {
			x.To = clean(unix)
		}
		w.add(x)
	}
	if len(w.found) == before && base.Held {
		w.add(base)
	}
}

// bySignature takes the reverse proxy that names itself in its answer, where its
// process is not seen: its configuration is at the usual place.
func (w *ways) bySignature() {
	for _, a := range w.f.Answers {
		says := strings.ToLower(a.HTTP.Get("Server"))
		for _, s := range servers {
			if upstreams[s.program] != nil && says != "" && strings.HasPrefix(says, s.program) && w.target.Port != 0 {
				w.ofProxy(s, nil, facts.Forward{Kind: s.program, Program: s.names[0], Proxies: true})
				return
			}
		}
	}
}

// listenAt is where a forwarder listens: on loopback of both families, unless it was
// told otherwise.
func listenAt(bind string, port uint16) (at netip.AddrPort, both bool) {
	if port == 0 {
		return netip.AddrPort{}, false
	}
	if a, err := netip.ParseAddr(bind); err == nil {
		return netip.AddrPortFrom(a.WithZone(""), port), false
	}
	if bind == "*" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), port), false
	}
	return netip.AddrPortFrom(v4, port), true
}

// farEnds looks who is at the addresses of this machine to which a way leads.
func (w *ways) farEnds(x *facts.Forward) {
	x.Far, x.Near = nil, nil
	if strings.HasPrefix(x.To, "/") || strings.HasPrefix(x.To, "@") {
		end := facts.FarEnd{Unix: x.To}
		for _, u := range w.unix {
			if u.Path == x.To || sameFile(u.Path, x.To) {
				end.Listens = true
				end.Owner = w.owner(facts.Socket{Inode: u.Inode})
			}
		}
		if info, err := os.Stat(x.To); err == nil && info.Mode().Type() == os.ModeSocket {
			end.Mode, end.UID = uint32(info.Mode().Perm()), info.Sys().(*syscall.Stat_t).Uid
			x.Workers = workersOf(x.PID)
		}
		if x.Through == "" || x.Here {
			x.Far = []facts.FarEnd{end}
		}
		return
	}
	if x.Through != "" && !x.Here || x.To == "" {
		return
	}
	host, port := x.To, uint16(0)
	if i := strings.LastIndexByte(x.To, ':'); i >= 0 {
		n, _ := strconv.ParseUint(x.To[i+1:], 10, 16)
		host, port = strings.Trim(x.To[:i], "[]"), uint16(n)
	}
	there := w.tcp
	if x.UDP {
		there = w.udp
	}
	addrs := w.addresses(host)
	for _, a := range addrs {
		if !w.own(a) { // another machine's: nothing is seen of it from here
			x.Far = nil
			return
		}
		end := facts.FarEnd{Addr: netip.AddrPortFrom(a, port)}
		for _, s := range there {
			if s.Local.Port() == port && s.Serves(a) {
				end.Listens, end.Owner = true, cmp.Or(end.Owner, w.owner(s))
			}
		}
		x.Far = append(x.Far, end)
	}
	for _, s := range there {
		if len(addrs) > 0 && s.Local.Port() == port && len(x.Near) < 8 && !slices.ContainsFunc(addrs, s.Serves) {
			x.Near = append(x.Near, facts.FarEnd{Addr: s.Local, Listens: true, Owner: w.owner(s)})
		}
	}
}

// workersOf are the users as which those run that a process started by its own name, as
// nginx and Apache do; of one without, its own.
func workersOf(pid int) []uint32 {
	p, err := process.Describe(pid)
	if pid == 0 || err != nil {
		return nil
	}
	users := []uint32{}
	pids, _ := process.PIDs()
	for _, n := range pids {
		if n == pid || commOf(n) != p.Name {
			continue
		}
		if c, err := process.Describe(n); err == nil && c.PPID == pid && !slices.Contains(users, c.UID) {
			users = append(users, c.UID)
		}
	}
	if len(users) == 0 {
		return []uint32{p.UID}
	}
	return users
}

// owner names who holds a listener at a far end. The processes are looked for once,
// for all of them: the first call only notes the socket.
func (w *ways) owner(s facts.Socket) string {
	if w.owners == nil {
		w.far = append(w.far, s)
		return ""
	}
	if ps := w.owners.Of(s); len(ps) > 0 {
		return clean(fmt.Sprintf("%s (pid %d)", ps[0].Name, ps[0].PID))
	}
	if s.Network == "" {
		return ""
	}
	if name := userName(s.UID); name != "" {
		return "a process of " + clean(name)
	}
	return fmt.Sprintf("a process of uid %d", s.UID)
}
