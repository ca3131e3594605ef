package checks

import (
	"slices"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func forwardSituations() []situation {
	const a = "127.0.0.1"
	closed := dials(a, facts.Connected, closedBy)
	fine := dials(a, facts.Connected)
	refusedThere := dials(a, facts.Refused)
	held := func(name string, rest ...change) *facts.Facts {
		return machine(a, append([]change{listens(a, 50, named(name)), closed}, rest...)...)
	}
	hidden := func(rest ...change) *facts.Facts {
		return machine(a, append([]change{listens(a, 0), closed}, rest...)...)
	}
	behindTLS := func(way change) *facts.Facts {
		return machine(a, listens(a, 50, named("stunnel")), fine, speaks(facts.AskHTTP, "https://127.0.0.1:62893/"), heardFrom(a, shakes("TLS 1.3"), ends(facts.Reset, 0)), way)
	}
	proxy := func(rest ...change) *facts.Facts {
		return machine(a, append([]change{listens(a, 50, named("nginx")), fine}, rest...)...)
	}
	localhost3000 := configuredAt("/etc/nginx/nginx.conf:12", "proxy_pass http://localhost:3000;")
	shop, refusal, forbidden := byWay("ann@shop"), "channel 2: open failed: connect failed: Connection refused", "channel 2: open failed: administratively prohibited: open failed"
	return slices.Concat(
		of(forwarderAcceptsBackendDead,
			row{"nothing listens where socat leads", held("socat", passesOn("socat", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", ""))), says("proven 127.0.0.1", "socat (pid 50)", "127.0.0.1:3000", "nothing listens there")},
			row{"it listens on the other family", held("socat", passesOn("socat", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", ""), nearAt("[::1]:3000", "node (pid 9)"))), says("proven 127.0.0.1", "node (pid 9) listens on [::1]:3000 only")},
			row{"nothing listens on the UNIX socket", held("systemd-socket-proxyd", passesOn("systemd-socket-proxyd", 50, "/run/app.sock", farAt("/run/app.sock", ""))), says("proven 127.0.0.1", "/run/app.sock")},
			row{"somebody listens there, and closes", held("socat", passesOn("socat", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", "node (pid 9)"))), says("inferred 127.0.0.1", "node (pid 9)")},
			row{"it takes the wrong address of a name", held("socat", passesOn("socat", 50, "localhost:3000", farAt("127.0.0.1:3000", ""), farAt("[::1]:3000", "node (pid 9)"))), says("inferred 127.0.0.1", "nothing listens on 127.0.0.1:3000", "node (pid 9) listens on [::1]:3000")},
			row{"it leads to a container", held("docker-proxy", passesOn("docker-proxy", 50, "172.17.0.2:80")), says("inferred 127.0.0.1", "172.17.0.2:80")},
			row{"it is not seen where it leads", held("code", passesOn("ide", 50, "")), says("inferred 127.0.0.1", "code (pid 50)")},
			row{"it is not seen who holds the port, and arguments fit", hidden(passesOn("socat", 50, "127.0.0.1:3000", toldToTake(a), farAt("127.0.0.1:3000", ""))), says("inferred 127.0.0.1", "socat (pid 50)", "nothing listens")},
			row{"it is not seen who holds the port, and arguments name another address", hidden(passesOn("socat", 50, "127.0.0.1:3000", toldToTake("127.0.0.2"), farAt("127.0.0.1:3000", ""))), nothing},
			row{"socat starts a program", held("socat", passesOn("socat", 50, "", func(w *facts.Forward) { w.Text = "EXEC:/usr/bin/shop -x,pty" })), says("inferred 127.0.0.1", "starts `/usr/bin/shop -x`")},
			row{"socat takes others alone", held("socat", passesOn("socat", 50, "", takesOnly("10.0.0.0/8"))), nothing},
			row{"socat takes this one, too", held("socat", passesOn("socat", 50, "127.0.0.1:3000", takesOnly("127.0.0.0/8"), farAt("127.0.0.1:3000", ""))), says("proven 127.0.0.1", "127.0.0.1:3000")},
			row{"HAProxy closes before it was asked", held("haproxy", passesOn("haproxy", 50, "127.0.0.1:3000", configuredAt("/etc/haproxy/haproxy.cfg:9", "server a 127.0.0.1:3000"), onceAsked, farAt("127.0.0.1:3000", "node (pid 9)"))), nothing},
			row{"another process leads there", held("python3", passesOn("socat", 51, "127.0.0.1:3000", farAt("127.0.0.1:3000", ""))), nothing},
			row{"stunnel agrees on TLS, and finds nobody", behindTLS(passesOn("stunnel", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", ""))), says("proven 127.0.0.1", "stunnel (pid 50)", "127.0.0.1:3000", "nothing listens there")},
			row{"stunnel leads to somebody who closes", behindTLS(passesOn("stunnel", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", "node (pid 9)"))), says("inferred 127.0.0.1", "node (pid 9)")},
			row{"the far end of an ssh agreed on TLS, and closes", behindTLS(passesOn("ssh -L", 50, "localhost:3000", shop)), nothing},
			row{"the connection stays open", machine(a, listens(a, 50, named("socat")), fine, passesOn("socat", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", ""))), nothing},
		),
		of(sshTargetRefused,
			row{"ssh writes that it was refused", held("ssh", passesOn("ssh -L", 50, "localhost:3000", shop, wroteNow(refusal))), says("proven 127.0.0.1", "ssh (pid 50)", "localhost:3000", "ann@shop", "Connection refused")},
			row{"the far machine is this one, and nothing listens", held("ssh", passesOn("ssh -L", 50, "localhost:3000", byWay("ann@localhost"), wayIsHere, farAt("127.0.0.1:3000", ""), farAt("[::1]:3000", ""))), says("proven 127.0.0.1", "this machine", "nothing listens there")},
			row{"the far machine is another", held("ssh", passesOn("ssh -L", 50, "localhost:3000", shop)), says("inferred 127.0.0.1", "ann@shop")},
			row{"it was refused at some other time", held("ssh", passesOn("ssh -L", 50, "localhost:3000", shop, wroteBefore(refusal))), says("inferred 127.0.0.1")},
			row{"ssh writes that it is forbidden", held("ssh", passesOn("ssh -L", 50, "localhost:3000", shop, wroteNow(forbidden))), nothing},
			row{"the far machine is this one, and somebody listens", held("ssh", passesOn("ssh -L", 50, "localhost:3000", byWay("ann@localhost"), wayIsHere, farAt("127.0.0.1:3000", "node (pid 9)"))), nothing},
			row{"a SOCKS proxy", held("ssh", passesOn("ssh -D", 50, "", shop)), nothing},
			row{"the tunnel works", machine(a, listens(a, 50, named("ssh")), fine, passesOn("ssh -L", 50, "localhost:3000", shop)), nothing},
		),
		of(sshProhibited,
			row{"ssh writes it", held("ssh", passesOn("ssh -L", 50, "localhost:3000", shop, wroteNow(forbidden))), says("proven 127.0.0.1", "ssh (pid 50)", "ann@shop", "does not allow")},
			row{"the far machine is this one, and somebody listens", held("ssh", passesOn("ssh -L", 50, "localhost:3000", byWay("ann@localhost"), wayIsHere, farAt("127.0.0.1:3000", "node (pid 9)"))), says("inferred 127.0.0.1")},
			row{"the far machine is another", held("ssh", passesOn("ssh -L", 50, "localhost:3000", shop)), says("inferred 127.0.0.1")},
			row{"ssh writes that it was refused", held("ssh", passesOn("ssh -L", 50, "localhost:3000", shop, wroteNow(refusal))), nothing},
			row{"nothing listens at the far end", held("ssh", passesOn("ssh -L", 50, "localhost:3000", byWay("ann@localhost"), wayIsHere, farAt("127.0.0.1:3000", ""))), nothing},
			row{"another program", held("socat", passesOn("socat", 50, "localhost:3000")), nothing},
		),
		of(kubectlPortForwardTarget,
			row{"kubectl closes at once", held("kubectl", passesOn("kubectl port-forward", 50, "localhost:80", byWay("svc/web in namespace shop"))), says("inferred 127.0.0.1", "kubectl (pid 50)", "port 80", "svc/web in namespace shop")},
			row{"kubectl writes why", held("kubectl", passesOn("kubectl port-forward", 50, "localhost:80", byWay("pod/web"), wroteNow("E1129 portforward.go:413] an error occurred forwarding 8080 -> 80: connection refused"))), says("proven 127.0.0.1")},
			row{"kubectl ends with it", machine(a, listens(a, 50, named("kubectl")), closed, passesOn("kubectl port-forward", 50, "localhost:80", byWay("pod/web"), func(w *facts.Forward) { w.Gone, w.Listen = true, addr(a) }), func(f *facts.Facts) { f.Sockets.Sockets = nil }), says("inferred 127.0.0.1", "kubectl (pid 50)", "and ended")},
			row{"a port with a name", held("kubectl", passesOn("kubectl port-forward", 50, "", byWay("pod/web"))), says("inferred 127.0.0.1", "a named port")},
			row{"it works", machine(a, listens(a, 50, named("kubectl")), fine, passesOn("kubectl port-forward", 50, "localhost:80", byWay("pod/web"))), nothing},
			row{"ssh closes at once", held("ssh", passesOn("ssh -L", 50, "localhost:80", shop)), nothing},
		),
		of(sshForwardListenFailed,
			row{"ssh writes that it could not", machine(a, refusedThere, passesOn("ssh -L", 50, "h:80", toldToTake("localhost"), wroteBefore("channel_setup_fwd_listener_tcpip: cannot listen to port: 62893"))), says("proven 127.0.0.1", "ssh (pid 50)", "127.0.0.1:62893")},
			row{"it runs without", machine("62893", refusedThere, passesOn("ssh -D", 50, "", toldToTake("localhost"))), says("inferred 127.0.0.1 ::1")},
			row{"it has the other address only", machine(a, listens("::1", 50, named("ssh")), refusedThere, passesOn("ssh -L", 50, "h:80", toldToTake("localhost"), func(w *facts.Forward) { w.Held = true })), says("proven 127.0.0.1", "has not got 127.0.0.1:62893")},
			row{"it has both", machine("62893", listens(a, 50, named("ssh")), listens("::1", 50, named("ssh")), fine, passesOn("ssh -L", 50, "h:80", toldToTake("localhost"), func(w *facts.Forward) { w.Held = true })), nothing},
			row{"it has just begun", machine(a, refusedThere, passesOn("ssh -L", 50, "h:80", toldToTake("localhost"), beganAgo(5*time.Second))), says("inferred 127.0.0.1", "logged in")},
			row{"somebody else has the port", machine(a, listens(a, 51, named("node")), fine, passesOn("ssh -L", 50, "h:80", toldToTake("localhost"))), says("remark 127.0.0.1", "node (pid 51)")},
			row{"it writes of another port", machine(a, refusedThere, passesOn("ssh -L", 50, "h:80", toldToTake("localhost"), wroteBefore("cannot listen to port: 80"))), says("inferred 127.0.0.1")},
			row{"its master has the port", machine(a, listens(a, 51, named("ssh")), fine, passesOn("ssh -L", 50, "h:80", toldToTake("localhost"))), nothing},
			row{"it would have ended", machine(a, listens(a, 51, named("node")), fine, passesOn("ssh -L", 50, "h:80", toldToTake("localhost"), func(w *facts.Forward) { w.Strict = true })), nothing},
			row{"it was told another address", machine(a, refusedThere, passesOn("ssh -L", 50, "h:80", toldToTake("127.0.0.2"))), nothing},
			row{"it is not seen who has the port", machine(a, listens(a, 0), fine, passesOn("ssh -L", 50, "h:80", toldToTake("localhost"))), nothing},
			row{"there is no ssh", machine(a, refusedThere, noForwards), nothing},
		),
		of(kubectlPortForwardDropped,
			row{"kubectl runs, and does not listen", machine(a, refusedThere, passesOn("kubectl port-forward", 50, "localhost:80", toldToTake("localhost"), byWay("pod/web"))), says("inferred 127.0.0.1", "pod/web")},
			row{"a loop starts it again", machine(a, refusedThere, passesOn("loop of kubectl port-forward", 50, "localhost:80", toldToTake("localhost"), byWay("pod/web"))), says("inferred 127.0.0.1", "over and over")},
			row{"the loop's log says why", machine(a, refusedThere, passesOn("loop of kubectl port-forward", 50, "localhost:80", toldToTake("localhost"), byWay("pod/web"), wroteBefore("error: lost connection to pod"))), says("proven 127.0.0.1", "lost its connection")},
			row{"the person was told", machine(a, refusedThere, clientPrinted(facts.ClientError{Text: "error: lost connection to pod"})), says("inferred 127.0.0.1", "has ended")},
			row{"the person was told something else", machine(a, refusedThere, clientPrinted(facts.ClientError{Text: "connection refused"})), nothing},
			row{"it has the port", machine(a, listens(a, 50, named("kubectl")), fine, passesOn("kubectl port-forward", 50, "localhost:80", byWay("pod/web"))), nothing},
			row{"it was told another port", machine(a, refusedThere, passesOn("kubectl port-forward", 50, "localhost:80", toldToTake("127.0.0.2"), byWay("pod/web"))), nothing},
			row{"somebody else has it again", machine(a, listens(a, 51), fine, clientPrinted(facts.ClientError{Text: "error: lost connection to pod"})), nothing},
		),
		of(reverseProxyUpstream,
			row{"nothing listens upstream", proxy(gets(a, 502, ""), passesOn("nginx", 50, "localhost:3000", localhost3000, farAt("127.0.0.1:3000", ""), farAt("[::1]:3000", ""))), says("proven 127.0.0.1", "nginx (pid 50)", "localhost:3000", "nothing listens there")},
			row{"it listens on the other family", proxy(gets(a, 502, ""), passesOn("nginx", 50, "127.0.0.1:3000", configuredAt("/etc/nginx/nginx.conf:12", "proxy_pass http://127.0.0.1:3000;"), farAt("127.0.0.1:3000", ""), nearAt("[::1]:3000", "node (pid 9)"))), says("proven 127.0.0.1", "node (pid 9) listens on [::1]:3000 only")},
			row{"nothing listens on the UNIX socket", proxy(gets(a, 502, ""), passesOn("nginx", 50, "/run/php.sock", configuredAt("/etc/nginx/a:3", "fastcgi_pass unix:/run/php.sock;"), farAt("/run/php.sock", ""))), says("proven 127.0.0.1", "/run/php.sock")},
			row{"all of a group", proxy(gets(a, 503, ""), passesOn("haproxy", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", "")), passesOn("haproxy", 50, "127.0.0.1:3001", localhost3000, farAt("127.0.0.1:3001", ""))), says("proven 127.0.0.1", "127.0.0.1:3000 and 127.0.0.1:3001")},
			row{"one of two", proxy(gets(a, 502, ""), passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", "")), passesOn("nginx", 50, "127.0.0.1:3001", localhost3000, farAt("127.0.0.1:3001", "node (pid 9)"))), says("inferred 127.0.0.1", "127.0.0.1:3000")},
			row{"the upstream listens, and nginx has nothing of it", proxy(gets(a, 504, ""), passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", "node (pid 9)"))), says("inferred 127.0.0.1", "node (pid 9)")},
			row{"it says nothing", proxy(gets(a, 0, "", endsWith(facts.Silence)), passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", ""))), says("inferred 127.0.0.1", "nothing listens")},
			row{"it is not seen who holds the port", machine(a, listens(a, 0), fine, gets(a, 502, ""), passesOn("nginx", 0, "127.0.0.1:3000", localhost3000, func(w *facts.Forward) { w.Held = false }, farAt("127.0.0.1:3000", ""))), says("inferred 127.0.0.1", "nginx sends requests on")},
			row{"HAProxy passes TCP on, and closes", machine(a, listens(a, 50, named("haproxy")), closed, passesOn("haproxy", 50, "127.0.0.1:3000", configuredAt("/etc/haproxy/haproxy.cfg:9", "server a 127.0.0.1:3000"), farAt("127.0.0.1:3000", ""))), says("proven 127.0.0.1", "haproxy (pid 50)")},
			row{"HAProxy takes the wrong address of a name", proxy(gets(a, 503, ""), passesOn("haproxy", 50, "localhost:3000", localhost3000, farAt("127.0.0.1:3000", ""), farAt("[::1]:3000", "node (pid 9)"))), says("inferred 127.0.0.1", "nothing listens on 127.0.0.1:3000", "[::1]:3000")},
			row{"nginx goes on to the other address of a name", proxy(gets(a, 503, ""), passesOn("nginx", 50, "localhost:3000", localhost3000, farAt("127.0.0.1:3000", ""), farAt("[::1]:3000", "node (pid 9)"))), nothing},
			row{"the upstream answers 404", proxy(gets(a, 404, ""), passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", "node (pid 9)"))), nothing},
			row{"the upstream is busy, and says so", proxy(gets(a, 503, ""), passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", "node (pid 9)"))), nothing},
			row{"nothing was asked", proxy(passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", ""))), nothing},
			row{"the upstream is on another machine", proxy(gets(a, 502, ""), passesOn("nginx", 50, "10.0.0.7:3000", localhost3000)), nothing},
			row{"nginx says 503, which it does of no upstream", proxy(gets(a, 503, "503 Service Temporarily Unavailable"), passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", ""))), nothing},
			row{"nginx was told to answer 502 itself", proxy(gets(a, 502, "502 Bad Gateway"), answersOwn("nginx", 50, 502, "return 502;"), passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", ""))), nothing},
			row{"it was told to answer something else", proxy(gets(a, 502, "502 Bad Gateway"), answersOwn("nginx", 50, 503, "return 503;"), passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", ""))), says("proven 127.0.0.1", "127.0.0.1:3000")},
			row{"it may have been told so", proxy(gets(a, 502, "502 Bad Gateway"), answersOwn("nginx", 50, 502, "return 502;", onACondition), passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", ""))), says("inferred 127.0.0.1", "127.0.0.1:3000")},
			row{"only an inner redirect leads there", proxy(gets(a, 502, "502 Bad Gateway"), passesOn("nginx", 50, "/run/php.sock", localhost3000, onACondition, farAt("/run/php.sock", ""))), says("inferred 127.0.0.1", "/run/php.sock")},
			row{"the page is not that of Caddy", proxy(gets(a, 502, "down for today", header("Server", "Caddy")), passesOn("caddy", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", ""))), says("inferred 127.0.0.1", "127.0.0.1:3000")},
			row{"Caddy says 503, and 502 is its word for that", proxy(gets(a, 503, ""), passesOn("caddy", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", ""))), says("inferred 127.0.0.1", "127.0.0.1:3000")},
			row{"the page is that of the upstream, which listens", proxy(gets(a, 502, "payment gateway said no"), passesOn("nginx", 50, "127.0.0.1:3000", localhost3000, farAt("127.0.0.1:3000", "node (pid 9)"))), nothing},
			row{"HAProxy closes unasked, and would ask first", machine(a, listens(a, 50, named("haproxy")), closed, passesOn("haproxy", 50, "127.0.0.1:3000", configuredAt("/etc/haproxy/haproxy.cfg:9", "server a 127.0.0.1:3000"), onceAsked, farAt("127.0.0.1:3000", "node (pid 9)"))), nothing},
			row{"and its server is down", machine(a, listens(a, 50, named("haproxy")), closed, passesOn("haproxy", 50, "127.0.0.1:3000", configuredAt("/etc/haproxy/haproxy.cfg:9", "server a 127.0.0.1:3000"), onceAsked, farAt("127.0.0.1:3000", ""))), nothing},
			row{"HAProxy passes TCP on, and has a rule that may reject", machine(a, listens(a, 50, named("haproxy")), closed, answersOwn("haproxy", 50, 444, "tcp-request connection reject if !{ src 10.0.0.0/8 }", onACondition), passesOn("haproxy", 50, "127.0.0.1:3000", configuredAt("/etc/haproxy/haproxy.cfg:9", "server a 127.0.0.1:3000"), farAt("127.0.0.1:3000", "node (pid 9)"))), nothing},
			row{"nginx may not open the socket", proxy(gets(a, 502, "502 Bad Gateway"), passesOn("nginx", 50, "/run/app.sock", localhost3000, socketOf("/run/app.sock", 1000, 0o600, 33))), says("inferred 127.0.0.1", "nginx (pid 50)", "uid 33", "may not open /run/app.sock", "0600")},
			row{"its group may, and who is in that is not seen", proxy(gets(a, 502, "502 Bad Gateway"), passesOn("nginx", 50, "/run/app.sock", localhost3000, socketOf("/run/app.sock", 1000, 0o660, 33))), says("inferred 127.0.0.1", "no answer of use")},
			row{"one of its processes may", proxy(gets(a, 502, "502 Bad Gateway"), passesOn("nginx", 50, "/run/app.sock", localhost3000, socketOf("/run/app.sock", 1000, 0o600, 33, 1000))), says("inferred 127.0.0.1", "no answer of use")},
			row{"root may always", proxy(gets(a, 502, "502 Bad Gateway"), passesOn("nginx", 50, "/run/app.sock", localhost3000, socketOf("/run/app.sock", 1000, 0o600, 0))), says("inferred 127.0.0.1", "no answer of use")},
			row{"an application answers 502 itself", machine(a, listens(a, 50), fine, gets(a, 502, ""), noForwards), nothing},
		),
	)
}

func TestForwards(t *testing.T) { judge(t, forwardSituations()) }

func TestForwardersInRank(t *testing.T) {
	const a = "127.0.0.1"
	closed := dials(a, facts.Connected, closedBy)
	// Nothing tells the two apart: they are candidates of the broader one.
	expect(t, machine(a, listens(a, 50, named("ssh")), closed, passesOn("ssh -L", 50, "localhost:3000", byWay("ann@shop"))),
		"broken", "active forwarder-accepts-backend-dead inferred of ssh-l-prohibited ssh-l-target-refused")
	expect(t, machine(a, listens(a, 50, named("ssh")), closed, passesOn("ssh -L", 50, "localhost:3000", byWay("ann@shop"), wroteNow("channel 2: open failed: administratively prohibited: open failed"))),
		"broken", "active ssh-l-prohibited proven")
	expect(t, machine(a, listens(a, 50, named("nginx")), dials(a, facts.Connected), gets(a, 502, ""), passesOn("nginx", 50, "localhost:3000", configuredAt("/c:1", "x"), farAt("127.0.0.1:3000", ""))),
		"broken", "active reverse-proxy-upstream-localhost proven")
	expect(t, machine(a, dials(a, facts.Refused), counts(a, 1, realReset), passesOn("ssh -L", 50, "h:80", toldToTake("localhost"), wroteBefore("cannot listen to port: 62893"))),
		"broken", "active ssh-forward-listen-failed proven")
	expect(t, machine(a, listens(a, 50, named("haproxy")), closed, passesOn("haproxy", 50, "127.0.0.1:3000", configuredAt("/c:1", "x"), farAt("127.0.0.1:3000", ""))),
		"broken", "active reverse-proxy-upstream-localhost proven")
}

func TestHealingForwards(t *testing.T) {
	const a = "127.0.0.1"
	closed := dials(a, facts.Connected, closedBy)
	f := machine(a, listens(a, 50, named("nginx")), dials(a, facts.Connected), gets(a, 502, ""),
		passesOn("nginx", 50, "127.0.0.1:3000", configuredAt("/etc/nginx/nginx.conf:12", "proxy_pass http://127.0.0.1:3000;"), farAt("127.0.0.1:3000", ""), nearAt("0.0.0.0:3000", "node (pid 9)")))
	if got, want := found(t, reverseProxyUpstream, f)[0].Fixes[0].Do, "Write `proxy_pass http://127.0.0.1:3000;` in /etc/nginx/nginx.conf:12, and let nginx read it again."; got == want {
		t.Errorf("it changes nothing: %s", got)
	}
	f = machine(a, listens(a, 50, named("nginx")), dials(a, facts.Connected), gets(a, 502, ""),
		passesOn("nginx", 50, "127.0.0.1:3000", configuredAt("/etc/nginx/nginx.conf:12", "proxy_pass http://127.0.0.1:3000;"), farAt("127.0.0.1:3000", ""), nearAt("[::1]:3000", "node (pid 9)")))
	if got, want := found(t, reverseProxyUpstream, f)[0].Fixes[0].Do, "Write `proxy_pass http://[::1]:3000;` in /etc/nginx/nginx.conf:12, and let nginx read it again."; got != want {
		t.Errorf("got %s", got)
	}
	// What came from outside stands in no command that a person may copy.
	for _, evil := range []string{"-oProxyCommand=reboot", "h:80;reboot", "$(reboot):80", "h 80"} {
		f := machine(a, listens(a, 50, named("ssh")), closed, passesOn("ssh -L", 50, evil, byWay("ann@shop")))
		g := machine(a, listens(a, 50, named("ssh")), closed, passesOn("ssh -L", 50, "h:80", byWay(evil)))
		k := machine(a, listens(a, 50, named("kubectl")), closed, passesOn("kubectl port-forward", 50, "localhost:80", byWay(evil)))
		for _, x := range slices.Concat(found(t, sshTargetRefused, f), found(t, sshProhibited, g), found(t, kubectlPortForwardTarget, k)) {
			if x.Settle != "" {
				t.Errorf("%s: %s", evil, x.Settle)
			}
		}
	}
}
