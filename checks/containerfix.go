package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What to write so that a container is reached: in its compose file, on the command
// line that makes it, or in the pod's manifest. loopdoctor does not write it, since it
// has not read those files; names from outside stand in a command only if they are
// plain words.

// engineCmd is how a person speaks to the engine of a container; nil for those that
// have no such command, or none that could be told safely.
func engineCmd(c *facts.Container) []string {
	switch {
	case c.Engine != "docker" && c.Engine != "podman":
		return nil
	case c.Socket == "":
		return []string{c.Engine}
	case !plainFile(c.Socket):
		return nil
	}
	return []string{c.Engine, cond(c.Engine == "docker", "-H", "--url"), "unix://" + c.Socket}
}

// onContainer is a command about one container: "docker restart web". Nil if it cannot
// be told safely.
func onContainer(c *facts.Container, verb ...string) []string {
	name := cmp.Or(c.Name, c.ID)
	if !sayableWord(name) {
		name = c.ID
	}
	if e := engineCmd(c); e != nil && sayableWord(name) {
		return slices.Concat(e, verb, []string{name})
	}
	return nil
}

// inPod tells whether Kubernetes made the container: its ports are not its engine's.
func inPod(c *facts.Container) bool { return c.Engine != "podman" && strings.Contains(c.Pod, "/") }

// publishFixes says how the port of this machine is led to the one in the container.
func publishFixes(f *facts.Facts, c *facts.Container, host, inner uint16) []Fix {
	at := fmt.Sprintf("%s:%d:%d%s", publishAt(f), host, inner, cond(f.Target.Network == "udp", "/udp", ""))
	wrong := ""
	for _, p := range c.Ports {
		if p.Host.Port() == host && p.Port != inner && p.UDP == (f.Target.Network == "udp") {
			wrong = fmt.Sprintf("%s:%d", p.Host, p.Port)
		}
	}
	switch {
	case inPod(c):
		return podFixes(c, host, inner)
	case c.Network == "host":
		return []Fix{{Do: fmt.Sprintf("Let %s listen on port %d itself: it has the network mode host, in which nothing is published.", containerCalled(c), host), Interrupts: "the container is restarted"}}
	}
	x := Fix{Interrupts: containerCalled(c) + " is made again: what is in none of its volumes is lost"}
	option := cond(wrong != "", fmt.Sprintf("`-p %s` instead of `-p %s`", at, wrong), fmt.Sprintf("`-p %s`", at))
	switch {
	case strings.HasPrefix(c.Network, "container:"):
		x.Do = fmt.Sprintf("Give %s to the container %s: %s has no network of its own, and shares that one's.", option, tame(strings.TrimPrefix(c.Network, "container:"), 64), containerCalled(c))
	case c.Service != "":
		x.Do = fmt.Sprintf("In %s write `- %q`%s, then %s.", composePlace(c, "ports:"), at, cond(wrong != "", fmt.Sprintf(" instead of %q", wrong), ""), composeUp(c, false))
	case c.Engine == "podman" && c.Pod != "":
		x.Do = fmt.Sprintf("Make the pod %s again with %s at podman pod create: the ports of its containers are the pod's.", tame(c.Pod, 64), option)
		x.Interrupts = "every container of the pod is made again"
	default:
		x.Do = fmt.Sprintf("Make %s again with %s: `%s run %s … %s`. A container that exists cannot be given a port.", containerCalled(c), option, cmp.Or(c.Engine, "docker"), "-p "+at, imageWord(c))
	}
	fixes := []Fix{x}
	// Of a rootless engine the address is one in a namespace of the user's own.
	if n := slices.IndexFunc(c.Addresses, netip.Addr.Is4); n >= 0 && !c.Rootless && f.Host.OS == "linux" && c.Inside != nil && c.Inside.Serves(inner) {
		fixes = append(fixes, Fix{Do: fmt.Sprintf("Until then use %s:%d on this machine: the container's own address, which is another one each time that it starts.", c.Addresses[n], inner)})
	}
	return fixes
}

// podFixes: a pod has an address of its own, and what leads to it is a Service or a
// forward. containerPort is a remark that opens nothing.
func podFixes(c *facts.Container, host, inner uint16) []Fix {
	space, pod, _ := strings.Cut(c.Pod, "/")
	forward := Fix{Do: fmt.Sprintf("Forward the port to the pod %s, in a terminal that stays open.", tame(c.Pod, 128))}
	if sayableWord(space) && sayableWord(pod) {
		forward.Paste = fmt.Sprintf("kubectl port-forward -n %s pod/%s %d:%d", space, pod, host, inner)
	}
	return []Fix{forward,
		{Do: fmt.Sprintf("Lead a Service to it: targetPort: %d, and a selector that fits the labels of the pod; for a port of the node itself hostPort: %d at the container. containerPort: %d is a remark and opens nothing; the probes (livenessProbe, readinessProbe: httpGet: port:) have to name %d too.", inner, host, inner, inner),
			Interrupts: "with hostPort or another probe the pod is made again"}}
}

// listenFixes says how the program in the container that holds the port comes to
// listen where the traffic of the container's network arrives.
func listenFixes(f *facts.Facts, c *facts.Container, ps []facts.Process, port uint16) []Fix {
	s := recognise(ps)
	if s.open == "" {
		s = unknownServer
	}
	again := applied(c)
	risk := whoReaches(f, c, port) + cond(s.heed != "", "; "+s.heed, "")
	fix := func(do string) Fix {
		return Fix{Do: do, Risk: risk, Interrupts: containerCalled(c) + " is made again, or restarted"}
	}
	if old, now := loopbackArgument(ps, port); old != "" {
		return []Fix{fix(fmt.Sprintf("In the command of %s (%s) write `%s` instead of `%s`, then %s.", containerCalled(c), commandPlace(c), now, old, again))}
	}
	fixes := []Fix{fix(fmt.Sprintf("Have it listen on all addresses inside of %s: %s Then %s.", containerCalled(c), s.fill(s.open, netip.IPv4Unspecified(), port), again))}
	if env := s.fill(s.env, netip.IPv4Unspecified(), port); env != "" {
		where := fmt.Sprintf("Make it again with `-e %s`.", env)
		switch {
		case inPod(c):
			where = fmt.Sprintf("Below env: of the container in the pod's manifest `- {name: %s, value: %q}`.", strings.Split(env, "=")[0], env[strings.Index(env, "=")+1:])
		case c.Service != "":
			where = fmt.Sprintf("In %s write `- %s`, then %s.", composePlace(c, "environment:"), env, composeUp(c, false))
		}
		fixes = append(fixes, fix(where))
	}
	return fixes
}

// loopback as it stands in an argument: the whole, or after = or //, with a port or without.
var loopbackWord = regexp.MustCompile(`^((?:--?[A-Za-z][\w.-]{0,30}=)?(?:tcp://|http://|ssl://)?)(127\.0\.0\.1|localhost|\[::1\]|::1)(:\d{1,5})?$`)

// listenOption is one whose value is where to listen. Without a port in the value it
// has to be one of these: --db-host is about another server.
var listenOption = regexp.MustCompile(`^(--?(host|hostname|bind|bind-address|bind_ip|address|addr|ip|listen|listen-address|server\.address|[SHabhl]))=?`)

// loopbackArgument finds the argument that has a program listen on loopback alone, and
// says how it has to be.
func loopbackArgument(ps []facts.Process, port uint16) (old, now string) {
	for _, p := range ps {
		for i, a := range p.Args {
			m := loopbackWord.FindStringSubmatch(a)
			option := ""
			if i > 0 && listenOption.FindString(p.Args[i-1]) == p.Args[i-1] {
				option = p.Args[i-1] + " "
			}
			if m == nil || m[3] == "" && option == "" && !listenOption.MatchString(a) || m[3] != "" && m[3] != fmt.Sprintf(":%d", port) {
				continue
			}
			return option + a, option + m[1] + "0.0.0.0" + m[3]
		}
	}
	return "", ""
}

// whoReaches says who comes to the port once it is open to the container's networks.
func whoReaches(f *facts.Facts, c *facts.Container, port uint16) string {
	if inPod(c) {
		return "the pods that no network policy keeps away can reach it then"
	}
	if c.Network == "host" {
		return "it has the host's network: other machines can reach it then"
	}
	for _, p := range c.Ports {
		if p.Port == port && p.Host.Port() != 0 && !p.Host.Addr().IsLoopback() {
			return fmt.Sprintf("the containers in its networks and, since it is published on %s, other machines can reach it then: `%s:%d:%d` keeps those out", p.Host.Addr(), publishAt(f), p.Host.Port(), port)
		}
	}
	return "the containers in its networks and this machine can reach it then, others through what is published alone"
}

// publishAt is the address of this machine on which a port is best published: the one
// that was asked for, and no more.
func publishAt(f *facts.Facts) string {
	at := v4Loopback
	if n := slices.IndexFunc(f.Target.Addresses, func(a facts.Address) bool { return a.Expected }); n >= 0 && f.Target.Literal && !f.Target.Wildcard {
		at = f.Target.Addresses[n].Addr
	}
	return cond(at.Is6(), "["+at.WithZone("").String()+"]", at.String())
}

// containerCalled is the container in a sentence.
func containerCalled(c *facts.Container) string {
	switch {
	case inPod(c):
		return "the pod " + tame(c.Pod, 128)
	case c.Service != "":
		return "the service " + tame(c.Service, 64)
	}
	return "the container " + tame(cmp.Or(c.Name, c.ID), 64)
}

// composePlace is where in which file of compose something is written.
func composePlace(c *facts.Container, key string) string {
	file := "the compose file" + cond(c.Project != "", " of the project "+tame(c.Project, 64), "")
	if len(c.Files) > 0 {
		file = tame(c.Files[0], 256)
	}
	return fmt.Sprintf("%s, under services: %s: %s", file, tame(c.Service, 64), key)
}

// composeUp is the command that carries out what a compose file says: for the service
// alone, and of that very project.
func composeUp(c *facts.Container, build bool) string {
	words := []string{"docker", "compose"}
	if e := engineCmd(c); e != nil {
		words = append(e, "compose")
	}
	plain := len(c.Files) > 0 && len(c.Files) <= 4 && !slices.ContainsFunc(c.Files, func(p string) bool { return !plainFile(p) })
	if plain {
		// It is called like its directory, in small letters, unless somebody said otherwise.
		if c.Project != "" && c.Project != strings.ToLower(path.Base(cmp.Or(c.Dir, path.Dir(c.Files[0])))) && sayableWord(c.Project) {
			words = append(words, "-p", c.Project)
		}
		for _, p := range c.Files {
			words = append(words, "-f", p)
		}
	}
	words = append(words, "up", "-d")
	if build {
		words = append(words, "--build")
	}
	if sayableWord(c.Service) {
		words = append(words, c.Service)
	}
	return "`" + strings.Join(words, " ") + "`"
}

// commandPlace is where the command of a container is written.
func commandPlace(c *facts.Container) string {
	switch {
	case inPod(c):
		return "command: and args: of the pod's manifest, or CMD in the Dockerfile"
	case c.Service != "":
		return composePlace(c, "command:") + ", or CMD in its Dockerfile"
	}
	return fmt.Sprintf("what stands behind the image in %s run, or CMD in its Dockerfile", cmp.Or(c.Engine, "docker"))
}

// applied is what has to be done after a change of a container's image or command.
func applied(c *facts.Container) string {
	switch {
	case inPod(c):
		return "roll it out"
	case c.Service != "":
		return composeUp(c, true)
	}
	if words := onContainer(c, "restart", "-t", "5"); words != nil {
		return fmt.Sprintf("make the container again; `%s` does if what changed lies in a volume", strings.Join(words, " "))
	}
	return "make the container again"
}

// imageWord is the image in a command, or a word that stands for it.
func imageWord(c *facts.Container) string {
	if sayableWord(strings.ReplaceAll(c.Image, "/", "-")) {
		return c.Image
	}
	return "IMAGE"
}

// plainFile tells whether a path means to a shell what it is.
func plainFile(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && len(p) < 256 && sayableWord(strings.ReplaceAll(p[1:], "/", "-"))
}

// tame bounds a name from outside. The report takes out what a terminal would obey.
func tame(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
