package checks

import (
	"slices"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func containerSituations() []situation {
	const a = "127.0.0.1"
	refusedThere, lostThere := dials(a, facts.Refused), dials(a, facts.Timeout)
	proxied := func(to string, rest ...change) *facts.Facts { // docker-proxy has the port, and closes
		return machine(a, append([]change{listens(a, 50, named("docker-proxy")), passesOn("docker-proxy", 50, to), dials(a, facts.Connected, closedBy)}, rest...)...)
	}
	hidden := func(to string, rest ...change) *facts.Facts {
		return machine(a, append([]change{listens(a, 0), passesOn("docker-proxy", 50, to, toldToTake(a)), dials(a, facts.Connected, closedBy)}, rest...)...)
	}
	hiddenNAT := func(rest ...change) *facts.Facts { // who has it is hidden, and so is where a rule leads
		return machine(a, append([]change{listens("0.0.0.0", 0), func(f *facts.Facts) { f.Forwards = nil }}, rest...)...)
	}
	daemon := func(rest ...change) *facts.Facts { // dockerd has it, and NAT leads on
		return machine(a, append([]change{listens("0.0.0.0", 19, named("dockerd"))}, rest...)...)
	}
	at80, atAll := publishing("127.0.0.1:62893->80"), publishing("0.0.0.0:62893->80")
	led := diverted("dnat", to("172.17.0.2:80"), iptablesNFTRule("DOCKER", "-p tcp --dport 62893 -j DNAT --to-destination 172.17.0.2:80"))
	return slices.Concat(
		of(containerBindsLoopback,
			row{"the proxy gets no connection", proxied("172.17.0.2:80", boxed("shop-web", at80, within("127.0.0.1:80"))), says("proven 127.0.0.1", "shop-web", "httpd (pid 300)", "127.0.0.1:80", "172.17.0.2:80")},
			row{"it listens on ::1 only", proxied("172.17.0.2:80", boxed("shop-web", at80, within("[::1]:80"))), says("proven 127.0.0.1", "[::1]:80")},
			row{"nobody asked Docker, and the proxy is not seen to hold the port", hidden("172.17.0.2:80", boxed("0123456789ab", neverAsked, within("127.0.0.1:80"))), says("inferred 127.0.0.1", "0123456789ab")},
			row{"NAT leads there, and it refuses", daemon(refusedThere, counts(a, 1, refusedOffLo), boxed("shop-web", atAll, within("127.0.0.1:80"))), says("proven 127.0.0.1 at listen", "shop-web")},
			row{"neither rules nor counters were seen", daemon(refusedThere, boxed("shop-web", atAll, within("127.0.0.1:80"))), nothing},
			row{"the reset is this machine's, on lo", daemon(refusedThere, counts(a, 1, refusedOffLo+" OutRsts=1 lo.tx=2"), boxed("shop-web", atAll, within("127.0.0.1:80"))), nothing},
			row{"it listens there as well", proxied("172.17.0.2:80", boxed("shop-web", at80, within("127.0.0.1:80", "172.17.0.2:80"))), nothing},
			row{"what listens is the name server of Docker", proxied("172.17.0.2:80", boxed("shop-web", at80, within("127.0.0.11:80"))), nothing},
			row{"it is another container's address", proxied("172.17.0.9:80", boxed("shop-web", within("127.0.0.1:80"))), nothing},
			row{"another program has the port", machine(a, listens(a, 50, named("node")), dials(a, facts.Connected, closedBy), boxed("shop-web", at80, within("127.0.0.1:80"))), nothing},
			row{"it works", machine(a, listens(a, 50, named("docker-proxy")), dials(a, facts.Connected), passesOn("docker-proxy", 50, "172.17.0.2:80"), boxed("shop-web", at80, within("127.0.0.1:80"))), nothing},
			row{"nobody could look inside", proxied("172.17.0.2:80", boxed("shop-web", at80)), nothing},
		),
		of(containerPortNotPublished,
			row{"it listens, and nothing is published", machine(a, refusedThere, boxed("shop-web", publishing("62893"), within("0.0.0.0:62893"))), says("inferred 127.0.0.1", "shop-web", "does not publish it")},
			row{"it is published on another port", machine(a, refusedThere, boxed("shop-web", publishing("127.0.0.1:8080->62893"), within("0.0.0.0:62893"))), says("inferred 127.0.0.1", "publishes it on port 8080")},
			row{"it listens on its own loopback only, and is not published", machine(a, refusedThere, boxed("shop-web", within("127.0.0.1:62893"))), says("inferred 127.0.0.1", "own loopback only")},
			row{"it exposes it, and nobody could look inside", machine(a, refusedThere, boxed("shop-web", publishing("62893"))), says("inferred 127.0.0.1", "shop-web")},
			row{"the wrong port is published", proxied("172.17.0.2:81", boxed("shop-web", publishing("127.0.0.1:62893->81"), within("0.0.0.0:80"))), says("inferred 127.0.0.1 at answer", "port 81", "listens on port 80")},
			row{"the wrong port is published, and it has two servers", proxied("172.17.0.2:81", boxed("shop-web", within("0.0.0.0:80", "0.0.0.0:443"))), says("inferred 127.0.0.1 at answer", "port 81")},
			row{"the wrong port is published by NAT alone", daemon(refusedThere, counts(a, 1, refusedOffLo), boxed("shop-web", publishing("0.0.0.0:62893->81"), within("0.0.0.0:80"))), says("inferred 127.0.0.1", "port 81")},
			row{"its network is the host's", machine(a, refusedThere, boxed("shop-web", atAll, within("0.0.0.0:80"), onHost)), says("inferred 127.0.0.1", "network mode host", "port 80")},
			row{"two listen on it, and neither is of this project", machine(a, refusedThere, boxed("blog", within("0.0.0.0:62893")), boxed("mail", within("0.0.0.0:62893"))), nothing},
			row{"two listen on it, and one is of this project", machine(a, refusedThere, boxed("blog", within("0.0.0.0:62893")), boxed("shop-web", within("0.0.0.0:62893"), inCompose("/home/ann/shop"))), says("inferred 127.0.0.1", "shop-web")},
			row{"another namespace has the port, too", machine(a, refusedThere, boxed("blog", within("0.0.0.0:62893")), perhapsElsewhere(70, "node")), nothing},
			row{"it does not run", machine(a, refusedThere, boxed("shop-web", couldNotStart(""), publishing("62893"))), nothing},
			row{"something listens here", machine(a, listens("127.0.0.2", 50), refusedThere, boxed("shop-web", within("0.0.0.0:62893"))), nothing},
			row{"it has another port", machine(a, refusedThere, boxed("shop-web", within("0.0.0.0:80"))), nothing},
		),
		of(containerNothingListens,
			row{"NAT leads there, and its kernel refuses", daemon(refusedThere, counts(a, 1, refusedOffLo), boxed("shop-web", atAll, within())), says("proven 127.0.0.1", "shop-web", "172.17.0.2:80", "nothing listens there")},
			row{"it is not seen who holds the port", machine(a, listens("0.0.0.0", 0), refusedThere, counts(a, 1, refusedOffLo), boxed("shop-web", neverAsked, atAll, within())), says("inferred 127.0.0.1", "nothing listens there")},
			row{"no rule leads there", daemon(refusedThere, boxed("shop-web", atAll, within()), walks(a, facts.Syn)), nothing},
			row{"a rule refuses it ahead of that", daemon(refusedThere, boxed("shop-web", atAll, within()), walks(a, facts.Syn, stoppedBy("reject", iptablesNFTRule("OUTPUT", "-p tcp -j REJECT")), diverted("dnat", to("172.17.0.2:80"), iptablesNFTRule("DOCKER", "-j DNAT --to-destination 172.17.0.2:80")))), nothing},
			row{"another port is served, on loopback", daemon(refusedThere, counts(a, 1, refusedOffLo), boxed("shop-web", atAll, within("127.0.0.1:3000"))), says("proven 127.0.0.1", "its own loopback and another port")},
			row{"it listens on its own loopback", daemon(refusedThere, boxed("shop-web", atAll, within("127.0.0.1:80"))), nothing},
			row{"it listens", daemon(refusedThere, boxed("shop-web", atAll, within("0.0.0.0:80"))), nothing},
			row{"a proxy leads there, and closes", proxied("172.17.0.2:80", boxed("shop-web", at80, within())), nothing},
			row{"nobody could look inside", daemon(refusedThere, boxed("shop-web", atAll)), nothing},
			row{"it works", daemon(dials(a, facts.Connected, noServer), boxed("shop-web", atAll, within())), nothing},
		),
		of(acceptQueueFull,
			row{"behind NAT, in the container", daemon(lostThere, counts(a, 32, ledOffLo), boxed("shop-web", atAll, within("0.0.0.0:80"), queueInside(10, 9))), says("proven 127.0.0.1 at wire", "shop-web", "10 waiting, limit 9", "httpd (pid 300)")},
			row{"behind NAT, and lost on its way out", daemon(lostThere, counts(a, 32, diedOnOutput), boxed("shop-web", atAll, within("0.0.0.0:80"), queueInside(10, 9))), nothing},
			row{"behind NAT, and nothing tells where it is lost", daemon(lostThere, boxed("shop-web", atAll, within("0.0.0.0:80"), queueInside(10, 9))), nothing},
			row{"behind NAT, with room for more", daemon(lostThere, counts(a, 32, ledOffLo), boxed("shop-web", atAll, within("0.0.0.0:80"), queueInside(3, 9))), nothing},
			row{"behind NAT, in a container that is paused", daemon(lostThere, counts(a, 32, ledOffLo), boxed("shop-web", atAll, within("0.0.0.0:80"), queueInside(10, 9), isPaused)), nothing},
		),
		of(publishedOnV6AppOnV4,
			row{"it listens for IPv4 only", onV6(boxed("shop-web", andAt("fd00::2"), publishing("[::]:62893->80"), within("0.0.0.0:80"))), says("proven ::1", "shop-web", "[fd00::2]:80", "0.0.0.0:80 only")},
			row{"nobody looked for containers, and IPv4 works", onV6(), says("inferred ::1", "[fd00::2]:80", "127.0.0.1:62893 works")},
			row{"it listens for both", onV6(boxed("shop-web", andAt("fd00::2"), within("[::]:80"))), nothing},
			row{"nothing listens in there", onV6(boxed("shop-web", andAt("fd00::2"), within())), nothing},
			row{"the proxy leads to its IPv4 address", machine("::1", listens("::", 51, named("docker-proxy")), passesOn("docker-proxy", 51, "172.17.0.2:80"), dials("::1", facts.Connected, closedBy)), nothing},
		),
		of(dockerNoUserlandProxy,
			row{"nothing from loopback may leave by docker0", daemon(lostThere, counts(a, 32, diedOnOutput), boxed("shop-web", atAll, within("0.0.0.0:80"), localnetClosed)), says("proven 127.0.0.1", "shop-web", "172.17.0.2:80", "docker0")},
			row{"Docker was asked, and nobody is seen to hold the port", machine(a, listens("0.0.0.0", 0), lostThere, noForwards, boxed("shop-web", atAll, within("0.0.0.0:80"), localnetClosed)), says("inferred 127.0.0.1", "shop-web")},
			row{"it is lost on its way in", daemon(lostThere, counts(a, 32, diedOnInput), boxed("shop-web", atAll, within("0.0.0.0:80"), localnetClosed)), nothing},
			row{"it may leave", daemon(lostThere, boxed("shop-web", atAll, within("0.0.0.0:80"))), nothing},
			row{"a proxy has the port", machine(a, listens(a, 50, named("docker-proxy")), lostThere, boxed("shop-web", at80, within("0.0.0.0:80"), localnetClosed)), nothing},
			row{"::1 has no way", machine("::1", listens("0.0.0.0", 19, named("dockerd")), dials("::1", facts.Refused), boxed("shop-web", atAll, within("0.0.0.0:80"))), says("proven ::1 at listen", "shop-web", "::1")},
			row{"it is published on 127.0.0.1 alone", machine("::1", listens(a, 19, named("dockerd")), dials("::1", facts.Refused), boxed("shop-web", at80, within("0.0.0.0:80"))), nothing},
		),
		of(dockerNATRulesFlushed,
			row{"the connection stays with dockerd", daemon(dials(a, facts.Connected, waiting), boxed("shop-web", atAll, within("0.0.0.0:80"))), says("proven 127.0.0.1", "shop-web", "dockerd", "172.17.0.2:80")},
			row{"the source is not changed", daemon(lostThere, counts(a, 32, ledOffLo), walks(a, facts.Syn, led), boxed("shop-web", atAll, within("0.0.0.0:80"))), says("proven 127.0.0.1 at wire", "MASQUERADE")},
			row{"NAT leads it on", daemon(dials(a, facts.Connected, noServer), boxed("shop-web", atAll, within("0.0.0.0:80"))), nothing},
			row{"a proxy does not accept", machine(a, listens(a, 50, named("docker-proxy")), dials(a, facts.Connected, waiting), boxed("shop-web", at80, within("0.0.0.0:80"))), nothing},
		),
		of(dockerPortAlreadyAllocated,
			row{"a container has it", machine(a, toBind, listens(a, 50, named("docker-proxy")), binds(a, "EADDRINUSE", true), passesOn("docker-proxy", 50, "172.17.0.2:80", toldToTake(a), wayHeld), boxed("shop-old", at80)), says("proven 127.0.0.1", "shop-old", "docker-proxy (pid 50)")},
			row{"a container has it, and another one wants it", machine(a, toBind, listens(a, 19, named("dockerd")), binds(a, "EADDRINUSE", true), boxed("shop-old", at80), boxed("shop-new", couldNotStart("Bind for 127.0.0.1:62893 failed: port is already allocated"))), says("proven 127.0.0.1", "shop-old", "shop-new")},
			row{"a program of this machine has it", machine(a, toBind, listens(a, 50, named("node")), binds(a, "EADDRINUSE", true), boxed("shop-new", couldNotStart("listen tcp4 127.0.0.1:62893: bind: address already in use"))), says("proven 127.0.0.1", "node (pid 50)", "shop-new")},
			row{"that container failed for another port", machine(a, toBind, listens(a, 50, named("node")), binds(a, "EADDRINUSE", true), boxed("shop-new", couldNotStart("Bind for 0.0.0.0:80 failed: port is already allocated"))), nothing},
			row{"the port is free", machine(a, toBind, binds(a, "", true), boxed("shop-old", at80)), nothing},
		),
		of(containerPausedOrFrozen,
			row{"behind a proxy", machine(a, listens(a, 50, named("docker-proxy")), dials(a, facts.Connected), speaks(facts.AskHTTP, "http://127.0.0.1:62893/"), heardFrom(a, ends(facts.Silence, 0)), passesOn("docker-proxy", 50, "172.17.0.2:80"), boxed("shop-web", at80, isPaused)), says("proven 127.0.0.1 at answer", "shop-web", "paused")},
			row{"behind NAT, and the queue in there is full", daemon(lostThere, counts(a, 32, ledOffLo), boxed("shop-web", atAll, within("0.0.0.0:80"), queueInside(10, 9), isPaused)), says("proven 127.0.0.1 at wire", "shop-web", "paused", "accept queue is full")},
			row{"behind NAT, and nobody could see the queue", daemon(lostThere, counts(a, 32, ledOffLo), boxed("shop-web", atAll, within("0.0.0.0:80"), isPaused)), says("inferred 127.0.0.1 at wire", "shop-web", "paused")},
			row{"its connections alone tell of it, and one comes up", hiddenNAT(dials(a, facts.Connected, noServer), speaks(facts.AskHTTP, "http://127.0.0.1:62893/"), heardFrom(a, ends(facts.Silence, 0)), boxed("shop-web", atAll, within("0.0.0.0:80"), endsThere("172.17.0.2:80"), isFrozenInside)), says("inferred 127.0.0.1 at answer", "shop-web", "paused")},
			row{"its connections alone tell of it, and none comes up", hiddenNAT(lostThere, counts(a, 32, ledOffLo), boxed("shop-web", atAll, within("0.0.0.0:80"), endsThere("172.17.0.2:80"), isFrozenInside)), says("inferred 127.0.0.1 at wire", "shop-web", "paused")},
			row{"its connections alone tell of it, and it runs", hiddenNAT(lostThere, counts(a, 32, ledOffLo), boxed("shop-web", atAll, within("0.0.0.0:80"), endsThere("172.17.0.2:80"))), nothing},
			row{"it is frozen, and another program has the port", machine(a, listens(a, 50, named("node")), lostThere, counts(a, 32, ledOffLo), boxed("shop-web", atAll, within("0.0.0.0:80"), endsThere("172.17.0.2:80"), isFrozenInside)), nothing},
			row{"it is frozen, and no connection is seen to end there", hiddenNAT(lostThere, counts(a, 32, ledOffLo), boxed("shop-web", atAll, within("0.0.0.0:80"), neverAsked, isFrozenInside)), nothing},
			row{"it is frozen, and the loss is on the way out", hiddenNAT(lostThere, counts(a, 32, diedOnOutput), boxed("shop-web", atAll, within("0.0.0.0:80"), endsThere("172.17.0.2:80"), isFrozenInside)), nothing},
			row{"behind NAT, and it runs", daemon(lostThere, counts(a, 32, ledOffLo), boxed("shop-web", atAll, within("0.0.0.0:80"))), nothing},
			row{"it runs, and is silent", machine(a, listens(a, 50, named("docker-proxy")), dials(a, facts.Connected), speaks(facts.AskHTTP, "http://127.0.0.1:62893/"), heardFrom(a, ends(facts.Silence, 0)), passesOn("docker-proxy", 50, "172.17.0.2:80"), boxed("shop-web", at80, within("0.0.0.0:80"))), nothing},
		),
		of(forwarderAcceptsBackendDead,
			row{"nothing in the container listens", proxied("172.17.0.2:80", boxed("shop-web", at80, within())), says("proven 127.0.0.1", "shop-web", "nothing listens there")},
			row{"what listens is at another port of its own loopback", proxied("172.17.0.2:80", boxed("shop-web", at80, within("127.0.0.1:8080"))), says("proven 127.0.0.1", "nothing listens there; what listens in it is at 127.0.0.1:8080")},
			row{"somebody in the container closes", proxied("172.17.0.2:80", boxed("shop-web", at80, within("0.0.0.0:80"))), says("inferred 127.0.0.1", "shop-web", "a server listens")},
		),
		of(lanIPOnlyBind,
			row{"the port is published on another address", machine(a, listens("172.17.0.1", 50, named("docker-proxy")), refusedThere, boxed("shop-web", publishing("172.17.0.1:62893->80"))), says("proven 127.0.0.1", "shop-web", "172.17.0.1 only")},
		),
		of(natHijacksLoopback,
			row{"it is how Docker publishes", daemon(dials(a, facts.Connected, noServer), walks(a, facts.Syn, led), answersFrom("172.17.0.2:80")), nothing},
		),
	)
}

func TestContainers(t *testing.T) { judge(t, containerSituations()) }

func onV6(rest ...change) *facts.Facts {
	return machine("localhost", append([]change{listens("0.0.0.0", 50, named("docker-proxy")), listens("::", 51, named("docker-proxy"), v6only),
		dials("127.0.0.1", facts.Connected), dials("::1", facts.Connected, closedBy), passesOn("docker-proxy", 50, "172.17.0.2:80"), passesOn("docker-proxy", 51, "[fd00::2]:80")}, rest...)...)
}

func wayHeld(w *facts.Forward) { w.Held = true }
func inCompose(dir string) boxMark {
	return func(c *facts.Container) { c.Project, c.Service, c.Dir = "shop", "web", dir }
}
