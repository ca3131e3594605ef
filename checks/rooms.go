package checks

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The server listens, but in another network namespace: in another room, as it were.

// otherNetworkNamespace is only inferred: that something listens in another
// namespace does not prove that it is what the person means.
var otherNetworkNamespace = &Check{
	Name:   "other-network-namespace",
	Doc:    "the server listens on the port, but in another network namespace",
	Stage:  StageListen,
	Intent: facts.Connect,
	// Without knowing what else has to do with the port nobody knows that it is this one.
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupNamespaces, facts.GroupUnits, facts.GroupContainers, facts.GroupCandidates},
	Uses:     []facts.Group{facts.GroupConfigs},
	Explains: []*Check{refused},
	Refines:  []*Check{noListener},
	Run: func(f *facts.Facts) []Finding {
		none := unserved(f)
		if len(none) == 0 || len(listeners(f)) > 0 || f.Target.Network != "tcp" {
			return nil
		}
		kin := likelyRooms(f)
		if len(kin) == 0 {
			return nil
		}
		n := kin[0]
		room := roomOf(f, n)
		owner, verb := "a process", cond(n.Proven, "listens", "seems to listen")
		x := Finding{Affects: none, Certainty: Inferred, Settle: lookInside(f, n)}
		if len(n.Processes) > 0 {
			p := n.Processes[0]
			owner, x.Since = who(p), p.Started
			if room.Kind != "" && room.Kind != "ip netns" && room.Kind != "host" { // the place says it better
				owner = fmt.Sprintf("%s (pid %d)", p.Name, p.PID)
			}
		}
		x.Summary = fmt.Sprintf("Nothing listens on port %d here, but %s %s on it %s%s: its localhost is not this one.", f.Target.Port, owner, verb, whereIs(room), others(f, kin[1:]))
		// The others stay in sight: nobody has said which one is meant.
		rest := slices.DeleteFunc(slices.Clone(f.Namespaces.Found), func(n facts.Namespace) bool {
			return slices.ContainsFunc(kin, func(k facts.Namespace) bool { return k.ID == n.ID })
		})
		x.Evidence = roomEvidence(f, slices.Concat(kin, rest))
		x.Fixes = roomFixes(f, n, room)
		return []Finding{x}
	},
}

// others tells where the further ones are.
func others(f *facts.Facts, ns []facts.Namespace) string {
	switch {
	case len(ns) == 0:
		return ""
	case len(ns) == 1 && len(ns[0].Processes) > 0:
		p := ns[0].Processes[0]
		return fmt.Sprintf(", and so does %s (pid %d) %s", p.Name, p.PID, whereIs(roomOf(f, ns[0])))
	}
	return fmt.Sprintf(", and somebody in %d more", len(ns))
}

// likelyRooms are the namespaces whose listener may be meant, the likeliest first:
// those of the client's own unit, project or user; and a stranger's if nothing else on
// this machine has to do with the port.
func likelyRooms(f *facts.Facts) []facts.Namespace {
	if f.Units == nil || f.Containers == nil || f.Candidates == nil {
		return nil
	}
	kin := slices.DeleteFunc(slices.Clone(f.Namespaces.Found), func(n facts.Namespace) bool { return kinship(f, n) == 0 })
	slices.SortStableFunc(kin, func(a, b facts.Namespace) int {
		return cmp.Or(kinship(f, b)-kinship(f, a), cmp.Compare(cond(a.Proven, 0, 1), cond(b.Proven, 0, 1)))
	})
	if len(kin) == 0 && len(f.Namespaces.Found) == 1 && !spokenFor(f, f.Namespaces.Found[0]) {
		return f.Namespaces.Found
	}
	return kin
}

// kinship tells how near the listener of the namespace is to the client: 0 is a
// stranger's. The uid of a container's process says nothing: the first user of every
// image is 1000, as is that of every machine.
func kinship(f *facts.Facts, n facts.Namespace) int {
	room := roomOf(f, n)
	if room.Kind == "unit" && slices.ContainsFunc(f.Units.Units, func(u facts.Unit) bool { return u.Names && isUnit(u, room) }) {
		return 3
	}
	home := f.Host.Cwd
	if home == "/" {
		home = ""
	}
	if c := containerOf(f, room); c != nil && home != "" && c.Dir != "" && c.Dir != "/" && (home == c.Dir || strings.HasPrefix(home, c.Dir+"/")) {
		return 2
	}
	near := 0
	for _, p := range n.Processes {
		switch {
		case contained(n): // its directory is one of its image, too
		case home != "" && p.Cwd == home:
			near = 2
		case slices.ContainsFunc(f.Host.As, func(i facts.Identity) bool { return i.UID == p.UID && i.UID != 0 }):
			near = max(near, 1)
		}
	}
	return near
}

func contained(n facts.Namespace) bool {
	return n.Room.Kind == "container" || n.Room.Kind == "pod" || slices.ContainsFunc(n.Processes, func(p facts.Process) bool { return p.Container != "" })
}

func isUnit(u facts.Unit, room facts.Room) bool {
	return u.Name == room.Name && u.UID == room.UID && (u.Manager == room.Manager || room.Manager == "")
}

// spokenFor tells whether something else than what is in the namespace may be meant, as
// far as that is known.
func spokenFor(f *facts.Facts, n facts.Namespace) bool {
	room := roomOf(f, n)
	return f.Configs == nil || contained(n) && !toldOf(f, room) && refusesWord(f) || // the engine, which cannot be asked, may have one
		claimed(f, room)
}

// engineUnasked tells whether there is a container that listens on the port, of an engine
// that could not be asked.
func engineUnasked(f *facts.Facts) bool {
	return f.Namespaces != nil && slices.ContainsFunc(f.Namespaces.Found, contained) &&
		(f.Containers == nil || refusesWord(f))
}

// toldOf tells whether an engine has spoken of the container: others only show its processes.
func toldOf(f *facts.Facts, room facts.Room) bool {
	c := containerOf(f, room)
	return c != nil && c.State != ""
}

// containerOf is the container that has the namespace, if an engine told of it.
func containerOf(f *facts.Facts, room facts.Room) *facts.Container {
	if f.Containers == nil || room.ID == "" {
		return nil
	}
	for i := range f.Containers.Found {
		if c := &f.Containers.Found[i]; c.ID == room.ID {
			return c
		}
	}
	return nil
}

// roomOf is whose the namespace is, with what the engine of a container says of it.
func roomOf(f *facts.Facts, n facts.Namespace) facts.Room {
	room := n.Room
	if room.Kind == "" && n.Name != "" {
		room = facts.Room{Kind: "ip netns", Name: n.Name}
	}
	if c := containerOf(f, room); c != nil {
		room.Name, room.Image, room.Project, room.Service = c.Name, c.Image, c.Project, c.Service
		room.Engine = cmp.Or(room.Engine, c.Engine)
		if room.Kind == "pod" && strings.Contains(c.Pod, "/") {
			room.Pod = c.Pod
		}
	}
	return room
}

// whereIs says where that is.
func whereIs(room facts.Room) string {
	switch room.Kind {
	case "":
		return "in another network namespace"
	case "host":
		return "on the host, outside of this network namespace"
	case "ip netns":
		return "in the network namespace " + room.Name
	case "unit":
		return "in the network namespace of " + room.String()
	}
	return "inside " + room.String()
}

// roomEvidence lists who listens where.
func roomEvidence(f *facts.Facts, ns []facts.Namespace) []Evidence {
	var es []Evidence
	for i, n := range ns {
		if i == 5 {
			return append(es, Evidence{"other namespaces", fmt.Sprintf("and %d more with a listener on the port", len(ns)-i)})
		}
		name := cond(n.Name != "", "network namespace "+n.Name, fmt.Sprintf("network namespace %d", n.ID))
		var on []string
		for _, s := range n.Listeners {
			on = append(on, s.Local.String())
		}
		text := "tcp listen " + list(on)
		if len(n.Processes) > 0 {
			text += fmt.Sprintf(", %s (pid %d)", n.Processes[0].Name, n.Processes[0].PID)
		}
		if room := roomOf(f, n); room.Kind != "" && room.Kind != "ip netns" {
			text += ", " + room.String()
		}
		es = append(es, Evidence{name, text})
	}
	return es
}

// lookInside shows the listener from in there, and who it is.
func lookInside(f *facts.Facts, n facts.Namespace) string {
	ss := fmt.Sprintf("ss -tlnp 'sport = :%d'", f.Target.Port)
	switch {
	case len(n.Processes) > 0:
		return fmt.Sprintf("sudo nsenter --target %d --net %s", n.Processes[0].PID, ss)
	case sayableWord(n.Name):
		return fmt.Sprintf("sudo ip netns exec %s %s", n.Name, ss)
	}
	return ""
}

// roomFixes are what to do, by what made the namespace.
func roomFixes(f *facts.Facts, n facts.Namespace, room facts.Room) []Fix {
	there := "Run the client where the server is, or start the server in this namespace."
	if len(n.Processes) > 0 {
		there = fmt.Sprintf("Run the client where the server is (sudo nsenter --target %d --net COMMAND), or start the server in this namespace.", n.Processes[0].PID)
	}
	port := f.Target.Port
	first := ""
	switch room.Kind {
	case "unit":
		return append(unitRoomFixes(f, room), Fix{Do: there})
	case "ip netns":
		if sayableWord(room.Name) {
			first = fmt.Sprintf("Run the client in that namespace (sudo ip netns exec %s COMMAND), or start the server outside of it.", room.Name)
		}
	case "host":
		first = "Run the client on the host, or let the server listen on an address of the host that can be reached from this namespace, and connect to that one."
	case "pod":
		space, name, ok := strings.Cut(room.Pod, "/")
		if ok && sayableWord(space) && sayableWord(name) {
			return []Fix{{Do: fmt.Sprintf("Forward the port for as long as you need it: kubectl -n %s port-forward pod/%s %d:%[3]d", space, name, port)}, {Do: there}}
		}
		return []Fix{{Do: fmt.Sprintf("Forward the port for as long as you need it: kubectl port-forward pod/NAME %d:%[1]d", port)}, {Do: there}}
	case "container":
		first = "Start the container with the network of this machine, or let it forward the port to this one."
		switch room.Engine {
		case "docker", "podman":
			first = fmt.Sprintf("Publish the port when the container is created again: %s run -p 127.0.0.1:%d:%[2]d …; the server in it has to listen on 0.0.0.0.", room.Engine, port)
		case "nspawn":
			first = fmt.Sprintf("Start it without --private-network, or with --network-veth and --port=tcp:%d.", port)
		}
	case "sandbox":
		first = sandboxFix(room)
	}
	if first == "" {
		return []Fix{{Do: there}}
	}
	if room.Kind == "ip netns" || room.Kind == "host" {
		return []Fix{{Do: first}}
	}
	return []Fix{{Do: first}, {Do: there}}
}

// sandboxFix says what keeps the sandbox from the network of the machine.
func sandboxFix(room facts.Room) string {
	switch room.Engine {
	case "firejail":
		if sayableWord(room.Name) {
			return fmt.Sprintf("Start the server without --net= of firejail, or the client in the same sandbox: firejail --join-network=%s COMMAND (as root).", room.Name)
		}
		return "Start the server without --net= of firejail (and of its profile)."
	case "bwrap":
		return "Start the server without --unshare-net of bwrap, or with --share-net after --unshare-all."
	case "unshare":
		return "Start the server without --net (-n) of unshare."
	case "flatpak":
		if sayableWord(room.Name) {
			return fmt.Sprintf("Let the application have the network: flatpak override --user --share=network %s, then start it again.", room.Name)
		}
		return "Let the application have the network: flatpak override --user --share=network."
	}
	return ""
}

// unitRoomFixes give the unit the network of the machine, or the client that of the unit.
func unitRoomFixes(f *facts.Facts, room facts.Room) []Fix {
	u := facts.Unit{Name: room.Name, Manager: room.Manager, UID: room.UID}
	if room.Setting == "" {
		return []Fix{{Do: fmt.Sprintf("See what %s starts (%s): its program is in a network namespace of its own.", room.Name, strings.Join(control(u, "cat"), " "))}}
	}
	key, value, _ := strings.Cut(room.Setting, "=")
	drop := cond(key == "NetworkNamespacePath", "[Service]\nNetworkNamespacePath=\n", "[Service]\nPrivateNetwork=no\n")
	reload := facts.Unit{Manager: room.Manager}
	commands := strings.TrimSpace(strings.Join(control(reload, "daemon-reload"), " ")) + " && " + strings.Join(control(u, "restart"), " ")
	own := Fix{Do: fmt.Sprintf("Take %s back from %s (drop-in below), and have systemd read that: %s", room.Setting, room.Name, commands),
		Risk: "the service can reach the network, and be reached from it", Interrupts: "the service " + room.Name}
	if room.DropIns == "" {
		own.Do = strings.Replace(own.Do, "drop-in below", strings.Join(control(u, "edit"), " "), 1)
	}
	if file := path.Join(room.DropIns, "loopdoctor.conf"); room.DropIns != "" && sayableFile(file) {
		own.Lasts, own.Steps = Persistent, [][]string{{"mkdir", "-p", room.DropIns}}
		own.Files = []File{{Path: file, Append: drop}}
		own.Undo = [][]string{{"rm", file}, slices.DeleteFunc(control(reload, "daemon-reload"), func(s string) bool { return s == "" }), control(u, "restart")}
		if u.Manager == "systemd --user" && !isMine(f, u) {
			own.Do += fmt.Sprintf(" (as uid %d)", u.UID)
			own.Undo = own.Undo[:1]
		} else {
			own = manage(f, u, own)
		}
	}
	fixes := []Fix{own}
	if key == "PrivateNetwork" || key == "JoinsNamespaceOf" {
		with := cond(key == "JoinsNamespaceOf", strings.Fields(value + " -")[0], room.Name)
		fixes = append(fixes, Fix{Do: fmt.Sprintf("Let the client be a unit that shares it: JoinsNamespaceOf=%s in [Unit] and PrivateNetwork=yes in [Service].", with)})
	}
	return fixes
}

// sayableFile tells whether a path may stand in a command to copy.
func sayableFile(name string) bool {
	return path.IsAbs(name) && sayableWord(strings.ReplaceAll(name, "/", "_"))
}
