package checks

import (
	"slices"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func containerHealthSituations() []situation {
	const a = "127.0.0.1"
	refusedThere := dials(a, facts.Refused)
	at80 := publishing("127.0.0.1:62893->80")
	proxied := func(marks ...boxMark) *facts.Facts {
		return machine(a, listens(a, 50, named("docker-proxy")), passesOn("docker-proxy", 50, "172.17.0.2:80"), dials(a, facts.Connected, closedBy), boxed("shop-web", append([]boxMark{at80}, marks...)...))
	}
	loops := func(c *facts.Container) {
		c.State, c.Status, c.Exit, c.Restarts, c.PID, c.Log = "restarting", "Restarting (3) 2 seconds ago", 3, 5, 0, []string{"cannot open /conf/shop.conf"}
	}
	sick := func(c *facts.Container) {
		c.Health, c.Check, c.Checked = "unhealthy", []string{"CMD-SHELL", "wget -q http://127.0.0.1/"}, "wget: connection refused"
	}
	return slices.Concat(
		of(containerUnhealthyOrRestarting,
			row{"it waits for its next start", machine(a, refusedThere, boxed("shop-web", at80, loops)), says("proven 127.0.0.1", "shop-web", "status 3", "restarted 5 times", "cannot open /conf/shop.conf")},
			row{"it runs since a moment ago", proxied(within(), func(c *facts.Container) { c.Restarts, c.Exit, c.Started = 2, 1, morning.Add(-3*time.Second) }), says("proven 127.0.0.1 at answer", "restarted 2 times")},
			row{"its memory runs out", machine(a, refusedThere, boxed("shop-web", at80, loops, func(c *facts.Container) { c.OOM = true })), says("proven 127.0.0.1", "its memory runs out")},
			row{"it is unhealthy, and nothing listens in it", proxied(within(), sick), says("proven 127.0.0.1 at answer", "unhealthy, and nothing listens in it", "wget: connection refused")},
			row{"it is unhealthy, and closes", proxied(within("0.0.0.0:80"), sick), says("inferred 127.0.0.1 at answer", "fails its own health check, too")},
			row{"it is unhealthy, and nobody could look inside", proxied(sick), says("inferred 127.0.0.1 at answer", "fails its own health check, too")},
			row{"it is unhealthy, and answers", machine(a, listens(a, 50, named("docker-proxy")), passesOn("docker-proxy", 50, "172.17.0.2:80"), dials(a, facts.Connected), boxed("shop-web", at80, within("0.0.0.0:80"), sick)), says("remark 127.0.0.1", "and yet it answers")},
			row{"it is unhealthy, since it listens on its own loopback", proxied(within("127.0.0.1:8080"), sick), nothing},
			row{"it was restarted an hour ago", proxied(within(), func(c *facts.Container) { c.Restarts = 2 }), nothing},
			row{"it is another one that is restarted", machine(a, refusedThere, boxed("blog", publishing("127.0.0.1:8080->80"), loops)), nothing},
			row{"two of them publish it", machine(a, refusedThere, boxed("shop-web", at80, loops), boxed("shop-new", at80, loops, func(c *facts.Container) { c.ID = "ba9876543210" })), nothing},
			row{"another program has the port", machine(a, listens(a, 50, named("node")), dials(a, facts.Connected, closedBy), boxed("shop-web", at80, loops)), nothing},
		),
		of(rootlessPortForwarder,
			row{"its forwarder is gone", machine(a, refusedThere, boxed("shop-web", at80, within("0.0.0.0:80"), rootless)), says("proven 127.0.0.1", "shop-web", "127.0.0.1:62893", "rootlessport")},
			row{"its processes are not seen", machine(a, refusedThere, boxed("shop-web", at80, rootless, func(c *facts.Container) { c.PID = 0 })), says("inferred 127.0.0.1", "shop-web")},
			row{"it never ran, and the port is not for users", machine(a, lowPorts, refusedThere, boxed("shop-web", at80, rootless, neverRan)), says("proven 127.0.0.1", "from 63000 on only")},
			row{"it never ran, and is Docker's", machine(a, lowPorts, refusedThere, boxed("shop-web", at80, rootless, neverRan, func(c *facts.Container) { c.Engine = "docker" })), says("inferred 127.0.0.1", "from 63000 on only")},
			row{"it never ran, and may have the port", machine(a, refusedThere, boxed("shop-web", at80, rootless, neverRan)), nothing},
			row{"it is root's", machine(a, refusedThere, boxed("shop-web", at80, within("0.0.0.0:80"))), nothing},
			row{"its forwarder listens", machine(a, listens(a, 50, named("rootlessport")), dials(a, facts.Connected), boxed("shop-web", at80, within("0.0.0.0:80"), rootless)), nothing},
			row{"it publishes another port", machine(a, refusedThere, boxed("shop-web", publishing("127.0.0.1:8080->62893"), within("0.0.0.0:62893"), rootless)), nothing},
			row{"it has ended", machine(a, refusedThere, boxed("shop-web", at80, rootless, func(c *facts.Container) { c.State, c.PID = "exited", 0 })), nothing},
		),
	)
}

func rootless(c *facts.Container) { c.Engine, c.Rootless = "podman", true }
func neverRan(c *facts.Container) {
	c.State, c.Status, c.PID, c.Started = "created", "Created", 0, time.Time{}
}
func lowPorts(f *facts.Facts) { f.Limits.UnprivilegedPortStart = 63000 }

func TestContainerHealth(t *testing.T) { judge(t, containerHealthSituations()) }
