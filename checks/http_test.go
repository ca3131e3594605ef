package checks

import (
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func httpSituations() []situation {
	up := []change{listens("127.0.0.1", 50, named("node")), dials("127.0.0.1", facts.Connected), url("http://127.0.0.1:62893/")}
	web := func(changes ...change) *facts.Facts {
		return machine("127.0.0.1", append(slices.Clone(up), changes...)...)
	}
	owned := func(name string, changes ...change) *facts.Facts {
		return machine("127.0.0.1", append([]change{listens("127.0.0.1", 50, named(name)), dials("127.0.0.1", facts.Connected), url("http://127.0.0.1:62893/")}, changes...)...)
	}
	const local, other = facts.WithHost + "localhost:62893", facts.WithHost + "127.0.0.1:62893"
	refusedUpstream := `2026/11/29 09:00:00 [error] 12#12: *1 connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1, server: localhost, request: "GET / HTTP/1.1", upstream: "http://127.0.0.1:3000/", host: "localhost"`
	return slices.Concat(
		of(turnedAway,
			row{"403", web(gets("127.0.0.1", 403, "no")), says("proven 127.0.0.1", "127.0.0.1:62893")},
			row{"421", web(gets("127.0.0.1", 421, "")), says("proven 127.0.0.1")},
			row{"Redis", web(gets("127.0.0.1", 0, "", protocol("redis", "-DENIED Redis is running in protected mode"))), says("proven 127.0.0.1")},
			row{"401: it works, and wants a login", web(gets("127.0.0.1", 401, "")), nothing},
			row{"404", web(gets("127.0.0.1", 404, "")), nothing},
			row{"only a question of ours was", web(gets("127.0.0.1", 200, ""), gets("127.0.0.1", 403, "", with(other))), nothing},
		),
		of(serverError,
			row{"500", web(gets("127.0.0.1", 500, "")), says("proven 127.0.0.1")},
			row{"404", web(gets("127.0.0.1", 404, "")), nothing},
		),
		of(redirectFails,
			row{"refused there", web(gets("127.0.0.1", 302, "", header("Location", "http://localhost:3001/login")), gets("127.0.0.1", 0, "", whereItLeads("127.0.0.1:3001", "ECONNREFUSED"))), says("proven 127.0.0.1", "http://localhost:3001/login")},
			row{"at the second address it answers", web(gets("127.0.0.1", 302, "", header("Location", "http://localhost:3001/login")), gets("127.0.0.1", 0, "", whereItLeads("127.0.0.1:3001", "ECONNREFUSED")), gets("127.0.0.1", 200, "", whereItLeads("[::1]:3001", ""))), nothing},
			row{"it answers there", web(gets("127.0.0.1", 302, "", header("Location", "http://localhost:3001/login")), gets("127.0.0.1", 404, "", whereItLeads("127.0.0.1:3001", ""))), nothing},
			row{"it stays", web(gets("127.0.0.1", 302, "", header("Location", "/login"))), nothing},
		),
		of(clientFails,
			row{"a port that browsers refuse", machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), movedTo(6000), names("browser-unsafe-port", "Chrome", "ERR_UNSAFE_PORT")), says("proven 127.0.0.1", "Chrome", "127.0.0.1:6000")},
			row{"it says so, and the port is on no list", web(names("browser-unsafe-port", "Chrome", "ERR_UNSAFE_PORT")), nothing},
			row{"cookies that are too large", web(names("headers-too-large", "Chrome", "HTTP ERROR 431"), gets("127.0.0.1", 200, ""), gets("127.0.0.1", 431, "", with(facts.WithCookie))), says("proven 127.0.0.1")},
			row{"it says so, and a large Cookie is taken", web(names("headers-too-large", "Chrome", "HTTP ERROR 431"), gets("127.0.0.1", 200, ""), gets("127.0.0.1", 200, "", with(facts.WithCookie))), nothing},
			row{"a browser at its limit, as which loopdoctor looks", machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), browserHas(6, "firefox", 70), asProcess(70)), says("proven 127.0.0.1", "node (pid 70)")},
			row{"nobody said anything", web(gets("127.0.0.1", 200, "")), nothing},
		),
		of(hostHeaderCheck,
			row{"localhost is served", web(gets("127.0.0.1", 403, "nope"), gets("127.0.0.1", 200, "", with(local))), says("proven 127.0.0.1", "node (pid 50)", "403", "127.0.0.1", "localhost:62893")},
			row{"Vite says so", web(gets("127.0.0.1", 403, `Blocked request. This host ("127.0.0.1") is not allowed.`), gets("127.0.0.1", 403, "", with(local))), says("proven 127.0.0.1", "nor localhost:62893")},
			row{"Django's log says so", web(gets("127.0.0.1", 400, "Bad Request (400)"), gets("127.0.0.1", 400, "", wrote("Invalid HTTP_HOST header: '127.0.0.1:62893'. You may need to add '127.0.0.1' to ALLOWED_HOSTS."))), says("proven 127.0.0.1")},
			row{"Django says nothing", web(gets("127.0.0.1", 400, "Bad Request (400)"), gets("127.0.0.1", 400, "Bad Request (400)", with(local))), says("inferred 127.0.0.1", "400")},
			row{"another name leads to a login", web(gets("127.0.0.1", 421, ""), gets("127.0.0.1", 401, "", with(local))), says("proven 127.0.0.1", "421")},
			row{"through a tunnel", web(names("host-header-check", "Vite", `This host ("x.example") is not allowed`), gets("127.0.0.1", 200, ""), gets("127.0.0.1", 403, `Blocked request. This host ("x.example") is not allowed.`, with(facts.WithHost+"x.example"))), says("proven 127.0.0.1", "x.example", "it serves 127.0.0.1")},
			row{"through a tunnel, and allowed by now", web(names("host-header-check", "Vite", `This host ("x.example") is not allowed`), gets("127.0.0.1", 200, ""), gets("127.0.0.1", 200, "", with(facts.WithHost+"x.example"))), nothing},
			row{"it forbids that to every name", web(gets("127.0.0.1", 403, "no"), gets("127.0.0.1", 403, "no", with(local))), nothing},
			row{"no other was asked", web(gets("127.0.0.1", 403, "no")), nothing},
			row{"another name is not found", web(gets("127.0.0.1", 404, ""), gets("127.0.0.1", 200, "", with(local))), nothing},
			row{"a page about it", web(gets("127.0.0.1", 200, "Invalid Host header")), nothing},
			row{"it fails with those words", web(gets("127.0.0.1", 500, "DisallowedHost")), nothing},
			row{"of the other address", machine("62893", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), gets("127.0.0.1", 403, "no"), gets("::1", 200, "", with(local))), nothing},
		),
		of(headersTooLarge,
			row{"a large Cookie is refused", web(gets("127.0.0.1", 200, ""), gets("127.0.0.1", 431, "", with(facts.WithCookie))), says("proven 127.0.0.1", "431", "Cookie of 20 kB")},
			row{"nginx refuses it with a 400", web(gets("127.0.0.1", 200, ""), gets("127.0.0.1", 400, "400 Request Header Or Cookie Too Large", with(facts.WithCookie))), says("proven 127.0.0.1", "400")},
			row{"it closes instead", web(gets("127.0.0.1", 200, ""), gets("127.0.0.1", 0, "", endsWith(facts.Reset), with(facts.WithCookie))), says("proven 127.0.0.1")},
			row{"even the plain request is too large", web(gets("127.0.0.1", 431, "")), says("proven 127.0.0.1", "431 to 100 bytes")},
			row{"a large Cookie is taken", web(gets("127.0.0.1", 200, ""), gets("127.0.0.1", 200, "", with(facts.WithCookie))), nothing},
			row{"everything is refused", web(gets("127.0.0.1", 403, ""), gets("127.0.0.1", 403, "", with(facts.WithCookie))), nothing},
			row{"a bad request of another kind", web(gets("127.0.0.1", 400, "missing parameter q")), nothing},
		),
		of(serverACLOrAuth,
			row{"403", web(gets("127.0.0.1", 403, "no")), says("proven 127.0.0.1", "403")},
			row{"401", web(gets("127.0.0.1", 401, "", header("WWW-Authenticate", `Basic realm="shop"`))), says("remark 127.0.0.1", `Basic realm="shop"`)},
			row{"protected mode", web(gets("127.0.0.1", 0, "", protocol("redis", "-DENIED Redis is running in protected mode because…"))), says("proven 127.0.0.1", "protected mode")},
			row{"a password is wanted", web(gets("127.0.0.1", 0, "", protocol("redis", "-NOAUTH Authentication required."))), says("remark 127.0.0.1", "password")},
			row{"MariaDB knows the host not", web(gets("127.0.0.1", 0, "", protocol("mysql", "Host '127.0.0.1' is not allowed to connect to this MariaDB server"))), says("proven 127.0.0.1", "accounts")},
			row{"Redis has its clients", web(gets("127.0.0.1", 0, "", protocol("redis", "-ERR max number of clients reached"))), says("proven 127.0.0.1", "maxclients")},
			row{"MariaDB has its clients", web(gets("127.0.0.1", 0, "", protocol("mysql", "Too many connections"))), says("proven 127.0.0.1", "max_connections")},
			row{"sshd has its clients", web(gets("127.0.0.1", 0, "", protocol("ssh", "Exceeded MaxStartups"))), says("proven 127.0.0.1", "MaxStartups")},
			row{"Redis says another error", web(gets("127.0.0.1", 0, "", protocol("redis", "-BUSY Redis is busy"))), nothing},
			row{"TCP wrappers", web(gets("127.0.0.1", 0, "", denies("ALL: ALL"))), says("inferred 127.0.0.1", "/etc/hosts.deny:3")},
			row{"TCP wrappers, in silence", web(gets("127.0.0.1", 0, "", denies("sshd: 127."), func(a *facts.Answer) { a.End = facts.Silence })), says("inferred 127.0.0.1", "/etc/hosts.deny:3")},
			row{"pg_hba.conf, in the client's words", web(names("server-acl-or-auth", "psql", `FATAL: no pg_hba.conf entry for host "127.0.0.1"`), gets("127.0.0.1", 0, "", protocol("postgresql", ""))), says("inferred 127.0.0.1", "pg_hba.conf")},
			row{"pg_hba.conf, in the log", web(names("server-acl-or-auth", "psql", `FATAL: no pg_hba.conf entry for host "127.0.0.1"`), gets("127.0.0.1", 0, "", protocol("postgresql", ""), wrote(`FATAL:  no pg_hba.conf entry for host "127.0.0.1"`), with(""))), says("proven 127.0.0.1")},
			row{"the client means another server", web(names("server-acl-or-auth", "psql", `FATAL: no pg_hba.conf entry for host "127.0.0.1"`), gets("127.0.0.1", 200, "")), nothing},
			row{"nginx is told to close", web(gets("127.0.0.1", 0, "", endsWith(facts.EndOfFile)), answersOwn("nginx", 50, 444, "return 444;")), says("proven 127.0.0.1", "return 444;", "/etc/proxy.conf:4")},
			row{"HAProxy may be told to", machine("127.0.0.1", listens("127.0.0.1", 50, named("haproxy")), dials("127.0.0.1", facts.Connected, closedBy), answersOwn("haproxy", 50, 444, "tcp-request connection reject if bad", onACondition)), says("inferred 127.0.0.1", "haproxy (pid 50)", "reject if bad")},
			row{"socat takes others alone", machine("127.0.0.1", listens("127.0.0.1", 50, named("socat")), dials("127.0.0.1", facts.Connected, closedBy), passesOn("socat", 50, "127.0.0.1:3000", takesOnly("10.0.0.0/8"))), says("proven 127.0.0.1", "socat (pid 50)", "10.0.0.0/8")},
			row{"socat takes loopback alone", machine("127.0.0.1", listens("127.0.0.1", 50, named("socat")), dials("127.0.0.1", facts.Connected, closedBy), passesOn("socat", 50, "127.0.0.1:3000", takesOnly("127.0.0.1/32"))), nothing},
			row{"it answers all the same", web(gets("127.0.0.1", 200, ""), answersOwn("nginx", 50, 444, "return 444;")), nothing},
			row{"it is told to answer 503, and closes", web(gets("127.0.0.1", 0, "", endsWith(facts.EndOfFile)), answersOwn("nginx", 50, 503, "return 503;")), nothing},
			row{"it closes, and no line forbids it", web(gets("127.0.0.1", 0, "", endsWith(facts.EndOfFile))), nothing},
			row{"it says something, though a line forbids it", web(gets("127.0.0.1", 200, "", func(a *facts.Answer) { a.Access = []facts.AccessLine{{From: "/etc/hosts.deny:3"}} })), nothing},
			row{"200", web(gets("127.0.0.1", 200, "")), nothing},
		),
		of(upstreamFails,
			row{"502, and the log names it", owned("nginx", gets("127.0.0.1", 502, "502 Bad Gateway"), gets("127.0.0.1", 502, "", wrote(refusedUpstream))), says("proven 127.0.0.1", "nginx (pid 50)", "http://127.0.0.1:3000/", "refuses")},
			row{"the log of an enemy's request", owned("nginx", gets("127.0.0.1", 502, ""), gets("127.0.0.1", 502, "", wrote(`connect() failed (111: Connection refused), upstream: "http://127.0.0.1:3000/$(reboot)", host: "x"`))), says("proven 127.0.0.1", "http://127.0.0.1:3000/,")},
			row{"the path in the log", owned("nginx", gets("127.0.0.1", 502, ""), gets("127.0.0.1", 502, "", wrote(`upstream sent too big header while reading response header from upstream, request: "GET /big HTTP/1.1", upstream: "http://127.0.0.1:9206/big", host: "x"`))), says("proven 127.0.0.1", "http://127.0.0.1:9206/big", "larger than the proxy's buffer")},
			row{"a socket that may not be opened", owned("nginx", gets("127.0.0.1", 502, ""), gets("127.0.0.1", 502, "", wrote(`connect() to unix:/run/app.sock failed (13: Permission denied) while connecting to upstream, upstream: "http://unix:/run/app.sock:/", host: "x"`))), says("proven 127.0.0.1", "may not open (permission denied)")},
			row{"an address that may not be connected to", owned("nginx", gets("127.0.0.1", 502, ""), gets("127.0.0.1", 502, "", wrote(`connect() to 127.0.0.1:3000 failed (13: Permission denied) while connecting to upstream, upstream: "http://127.0.0.1:3000/", host: "x"`))), says("proven 127.0.0.1", "may not connect to (permission denied)")},
			row{"Apache may not open it", owned("apache2", gets("127.0.0.1", 503, ""), gets("127.0.0.1", 503, "", wrote(`(13)Permission denied: AH02454: FCGI: attempt to connect to Unix domain socket /run/app.sock (*) failed`))), says("proven 127.0.0.1", "/run/app.sock", "may not open")},
			row{"502, without a log", owned("nginx", gets("127.0.0.1", 502, "502 Bad Gateway")), says("inferred 127.0.0.1", "502")},
			row{"504", owned("nginx", gets("127.0.0.1", 504, "")), says("inferred 127.0.0.1", "too slow")},
			row{"Apache's 503, by its log", owned("apache2", gets("127.0.0.1", 503, "Service Unavailable"), gets("127.0.0.1", 503, "", wrote("AH00957: http: attempt to connect to 127.0.0.1:3000 (127.0.0.1:3000) failed"))), says("proven 127.0.0.1", "127.0.0.1:3000")},
			row{"HAProxy's 503", owned("haproxy", gets("127.0.0.1", 503, "503 Service Unavailable")), says("inferred 127.0.0.1")},
			row{"HAProxy's 503 with another page", owned("haproxy", gets("127.0.0.1", 503, "maintenance until 3")), nothing},
			row{"502 that it was told to answer", owned("nginx", gets("127.0.0.1", 502, "502 Bad Gateway"), answersOwn("nginx", 50, 502, "return 502;")), nothing},
			row{"502 of the one behind", owned("nginx", gets("127.0.0.1", 502, "payment gateway said no"), passesOn("nginx", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", "node (pid 9)"))), nothing},
			row{"502 with another page, and it is not seen who is behind", owned("nginx", gets("127.0.0.1", 502, "payment gateway said no")), says("inferred 127.0.0.1", "502")},
			row{"an application's own 503", web(gets("127.0.0.1", 503, "")), nothing},
			row{"500", owned("nginx", gets("127.0.0.1", 500, "")), nothing},
		),
		of(applicationError,
			row{"its log says why", web(gets("127.0.0.1", 500, "Server Error (500)"), gets("127.0.0.1", 500, "", wrote("ZeroDivisionError: division by zero"))), says("proven 127.0.0.1", "ZeroDivisionError: division by zero")},
			row{"its page says why", web(gets("127.0.0.1", 500, "no such table: users")), says("proven 127.0.0.1", "no such table: users")},
			row{"503", web(gets("127.0.0.1", 503, "", header("Retry-After", "30"))), says("proven 127.0.0.1", "503")},
			row{"502", web(gets("127.0.0.1", 502, "")), nothing},
			row{"nginx was told to", owned("nginx", gets("127.0.0.1", 503, "soon"), answersOwn("nginx", 50, 503, "return 503 soon;")), says("proven 127.0.0.1", "nginx (pid 50) is told to answer 503 itself", "return 503 soon;", "/etc/proxy.conf:4")},
			row{"nginx may have been told to", owned("nginx", gets("127.0.0.1", 503, "soon"), answersOwn("nginx", 50, 503, "return 503 soon;", onACondition)), says("inferred 127.0.0.1", "return 503 soon;")},
			row{"HAProxy may have been told to, and its server may be down", owned("haproxy", gets("127.0.0.1", 503, "503 Service Unavailable"), answersOwn("haproxy", 50, 503, "http-request deny deny_status 503 if stop", onACondition)), nothing},
			row{"nginx passes on what the one behind answers", owned("nginx", gets("127.0.0.1", 502, "payment gateway said no"), passesOn("nginx", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", "node (pid 9)"))), says("inferred 127.0.0.1", "nginx (pid 50) passes on", "node (pid 9) at 127.0.0.1:3000", "payment gateway said no")},
			row{"a 503 of it, which nginx never says itself", owned("nginx", gets("127.0.0.1", 503, "payment gateway said no"), passesOn("nginx", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", "node (pid 9)"))), says("proven 127.0.0.1", "node (pid 9)")},
			row{"nothing is behind", owned("nginx", gets("127.0.0.1", 502, "payment gateway said no"), passesOn("nginx", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", ""))), nothing},
			row{"404", web(gets("127.0.0.1", 404, "")), nothing},
			row{"a question of ours only", web(gets("127.0.0.1", 200, ""), gets("127.0.0.1", 500, "", with(local))), nothing},
		),
		of(slowAnswer,
			row{"it takes a while", web(gets("127.0.0.1", 200, "", after(800))), says("remark 127.0.0.1", "0.8 s")},
			row{"and once more", web(gets("127.0.0.1", 200, "", after(800)), gets("127.0.0.1", 200, "", after(700), with(facts.WithAgain))), says("remark 127.0.0.1", "0.8 s")},
			row{"the first time only", web(gets("127.0.0.1", 200, "", after(800)), gets("127.0.0.1", 200, "", after(3), with(facts.WithAgain))), nothing},
			row{"it does not", web(gets("127.0.0.1", 200, "", after(100))), nothing},
			row{"it never comes", web(gets("127.0.0.1", 0, "", endsWith(facts.Silence))), nothing},
			row{"it speaks first, late", web(gets("127.0.0.1", 0, "", protocol("smtp", "220 hello"), after(800), func(a *facts.Answer) { a.Question = facts.AskNothing })), nothing},
		),
		of(hstsOrHTTPSUpgrade,
			row{"to https on the same port", web(gets("127.0.0.1", 301, "", header("Location", "https://127.0.0.1:62893/")), gets("127.0.0.1", 0, "", plainThere("127.0.0.1:62893"))), says("proven 127.0.0.1", "301", "https://127.0.0.1:62893")},
			row{"to https where nothing listens", web(gets("127.0.0.1", 302, "", header("Location", "https://localhost/")), gets("127.0.0.1", 0, "", whereItLeads("127.0.0.1:443", "ECONNREFUSED"), func(a *facts.Answer) { a.TLS = true })), says("proven 127.0.0.1", "https://localhost")},
			row{"the browser says so", web(names("https-to-plain-http", "Chrome", "ERR_SSL_PROTOCOL_ERROR"), gets("127.0.0.1", 200, "")), says("inferred 127.0.0.1", "Chrome")},
			row{"the field", machine("localhost", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), url("https://localhost:62893/"), gets("127.0.0.1", 200, "", inTLS, header("Strict-Transport-Security", "max-age=31536000"))), says("remark 127.0.0.1", "every port")},
			row{"the field without TLS", web(gets("127.0.0.1", 200, "", header("Strict-Transport-Security", "max-age=31536000"))), nothing},
			row{"the field that says to forget", machine("localhost", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), gets("127.0.0.1", 200, "", inTLS, header("Strict-Transport-Security", "max-age = 0"))), nothing},
			row{"the field for an address", web(gets("127.0.0.1", 200, "", inTLS, header("Strict-Transport-Security", "max-age=31536000"))), nothing},
			row{"https is served there", web(gets("127.0.0.1", 301, "", header("Location", "https://localhost:8443/")), gets("127.0.0.1", 200, "", inTLS, whereItLeads("127.0.0.1:8443", ""))), nothing},
			row{"curl says so: it was told to", web(names("https-to-plain-http", "curl", "wrong version number"), gets("127.0.0.1", 200, "")), nothing},
			row{"to http", web(gets("127.0.0.1", 301, "", header("Location", "http://localhost:3001/")), gets("127.0.0.1", 0, "", whereItLeads("127.0.0.1:3001", "ECONNREFUSED"))), nothing},
		),
		of(redirectToDeadPort,
			row{"nothing is there", web(gets("127.0.0.1", 302, "", header("Location", "http://localhost:3001/login")), gets("127.0.0.1", 0, "", whereItLeads("127.0.0.1:3001", "ECONNREFUSED"))), says("proven 127.0.0.1", "302", "http://localhost:3001")},
			row{"silence is there", web(gets("127.0.0.1", 302, "", header("Location", "http://localhost:3001/login")), gets("127.0.0.1", 0, "", whereItLeads("127.0.0.1:3001", ""), endsWith(facts.Silence))), says("proven 127.0.0.1")},
			row{"something is there", web(gets("127.0.0.1", 302, "", header("Location", "http://localhost:3001/login")), gets("127.0.0.1", 404, "", whereItLeads("127.0.0.1:3001", ""))), nothing},
			row{"a path", web(gets("127.0.0.1", 302, "", header("Location", "/login"))), nothing},
			row{"from http to https", web(gets("127.0.0.1", 301, "", header("Location", "https://localhost/")), gets("127.0.0.1", 0, "", whereItLeads("127.0.0.1:443", "ECONNREFUSED"))), nothing},
		),
		of(redirectLeavesLoopback,
			row{"another name", web(gets("127.0.0.1", 301, "", header("Location", "https://shop.example/x"))), says("remark 127.0.0.1", "https://shop.example")},
			row{"another address, with a port", web(gets("127.0.0.1", 302, "", header("Location", "http://192.0.2.1:8080/"))), says("remark 127.0.0.1", "http://192.0.2.1:8080")},
			row{"its own port by another name", web(gets("127.0.0.1", 302, "", header("Location", "http://localhost:62893/login"))), nothing},
			row{"loopback in brackets", web(gets("127.0.0.1", 302, "", header("Location", "http://[::1]:62893/login"))), nothing},
			row{"a path", web(gets("127.0.0.1", 302, "", header("Location", "/login"))), nothing},
			row{"a file", web(gets("127.0.0.1", 302, "", header("Location", "file:///etc/passwd"))), nothing},
			row{"no redirect", web(gets("127.0.0.1", 201, "", header("Location", "https://shop.example/x"))), nothing},
		),
	)
}

func browserSituations() []situation {
	here := []change{listens("127.0.0.1", 50, named("node")), dials("127.0.0.1", facts.Connected)}
	at := func(n uint16, changes ...change) *facts.Facts {
		return machine("127.0.0.1", append(append(slices.Clone(here), movedTo(n)), changes...)...)
	}
	const lna, loopback = "browser-local-network-access", "Permission was denied for this request to access the `loopback` address space."
	return slices.Concat(
		of(browserUnsafePort,
			row{"a browser says so", at(6000, names("browser-unsafe-port", "Chrome", "ERR_UNSAFE_PORT")), says("proven 127.0.0.1", "6000")},
			row{"it answers HTTP", at(587, gets("127.0.0.1", 200, "")), says("remark 127.0.0.1", "587")},
			row{"a program that may", at(6666), says("remark 127.0.0.1", "6666")},
			row{"X11", machine("127.0.0.1", listens("127.0.0.1", 50, named("Xorg")), dials("127.0.0.1", facts.Connected), movedTo(6000)), nothing},
			row{"mail", at(587), nothing},
			row{"another port", at(6001, gets("127.0.0.1", 200, "")), nothing},
			row{"nothing answers there", machine("127.0.0.1", dials("127.0.0.1", facts.Refused), movedTo(6000), names("browser-unsafe-port", "Chrome", "ERR_UNSAFE_PORT")), nothing},
		),
		of(browserLocalNetworkAccess,
			row{"the browser says so", machine("127.0.0.1", append(here, names(lna, "Chrome", loopback))...), says("proven 127.0.0.1", "permission")},
			row{"and the preflight lacks fields", machine("127.0.0.1", append(here, names(lna, "Chrome", loopback), gets("127.0.0.1", 200, ""), gets("127.0.0.1", 204, "", with(facts.WithPreflight)))...), says("proven 127.0.0.1")},
			row{"it answers nobody", machine("127.0.0.1", dials("127.0.0.1", facts.Refused), names(lna, "Chrome", loopback)), nothing},
			row{"nobody said anything", machine("127.0.0.1", append(here, gets("127.0.0.1", 204, "", with(facts.WithPreflight)))...), nothing},
		),
		of(browserConnectionLimit,
			row{"six of one browser", machine("127.0.0.1", append(here, browserHas(6, "chrome", 70))...), says("remark 127.0.0.1", "chrome (pid 70)", "6 connections")},
			row{"of the client itself", machine("127.0.0.1", append(here, browserHas(6, "firefox", 70), asProcess(70))...), says("inferred 127.0.0.1", "firefox (pid 70)")},
			row{"five", machine("127.0.0.1", append(here, browserHas(5, "chrome", 70))...), nothing},
			row{"three and three of two browsers", machine("127.0.0.1", append(here, browserHas(3, "chrome", 70), browserHas(3, "firefox", 71))...), nothing},
			row{"six of a program that is none", machine("127.0.0.1", append(here, browserHas(6, "wrk", 70))...), nothing},
			row{"of another address", machine("62893", listens("::1", 50), dials("::1", facts.Connected), browserHas(6, "chrome", 70)), nothing},
		),
	)
}

func TestHTTP(t *testing.T)    { judge(t, httpSituations()) }
func TestBrowser(t *testing.T) { judge(t, browserSituations()) }

// One fault, one cause: the more precise word takes the place of the broad one.
func TestOneCauseOfAnAnswer(t *testing.T) {
	up := []change{listens("127.0.0.1", 50, named("node")), dials("127.0.0.1", facts.Connected), url("http://127.0.0.1:62893/")}
	web := func(changes ...change) *facts.Facts {
		return machine("127.0.0.1", append(slices.Clone(up), changes...)...)
	}
	const local = facts.WithHost + "localhost:62893"
	for _, test := range []struct {
		name  string
		facts *facts.Facts
		want  []string
	}{
		{"403 to one name", web(gets("127.0.0.1", 403, "no"), gets("127.0.0.1", 200, "", with(local))), []string{"broken", "active host-header-check proven"}},
		{"403 to every name", web(gets("127.0.0.1", 403, "no"), gets("127.0.0.1", 403, "", with(local))), []string{"broken", "active server-acl-or-auth proven"}},
		{"400, and nothing says why", web(gets("127.0.0.1", 400, "no"), gets("127.0.0.1", 400, "", with(local))), []string{"works"}},
		{"401", web(gets("127.0.0.1", 401, "")), []string{"works", "remark server-acl-or-auth"}},
		{"404", web(gets("127.0.0.1", 404, "")), []string{"works"}},
		{"200", web(gets("127.0.0.1", 200, "")), []string{"works"}},
		{"500", web(gets("127.0.0.1", 500, "")), []string{"broken", "active application-error proven"}},
		{"502", web(gets("127.0.0.1", 502, "")), []string{"broken", "active upstream-fails inferred"}},
		{"a redirect to https on its own plain port", web(gets("127.0.0.1", 301, "", header("Location", "https://127.0.0.1:62893/")), gets("127.0.0.1", 0, "", plainThere("127.0.0.1:62893"))), []string{"broken", "active hsts-or-https-upgrade proven"}},
		{"a redirect to a login elsewhere", web(gets("127.0.0.1", 302, "", header("Location", "https://login.example/"))), []string{"works", "remark redirect-leaves-loopback"}},
		{"cookies", web(names("headers-too-large", "Chrome", "HTTP ERROR 431"), gets("127.0.0.1", 200, ""), gets("127.0.0.1", 431, "", with(facts.WithCookie))), []string{"partly", "active headers-too-large proven"}},
		{"the browser's permission", web(names("browser-local-network-access", "Chrome", "loopback"), gets("127.0.0.1", 200, "")), []string{"partly", "active browser-local-network-access proven"}},
	} {
		t.Run(test.name, func(t *testing.T) { expect(t, test.facts, test.want...) })
	}
}
