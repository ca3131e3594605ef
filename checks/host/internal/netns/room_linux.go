package netns

import (
	"cmp"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// maxAbove is how many processes above a resident are looked at: a sandbox has two.
const maxAbove = 6

// sandboxes are programs that start another one in a network namespace of its own.
var sandboxes = []string{"firejail", "bwrap", "unshare", "rootlesskit", "systemd-nspawn"}

// room tells whose the namespace is: by the cgroup of who listens, or of somebody
// else in there; by the sandbox that started him; by the name of "ip netns". The
// processes are those that hold the listeners, if they were seen.
func (s *space) room(owners []facts.Process) facts.Room {
	if slices.Contains(s.pids, 1) {
		if r := roomOf(1); r.Kind == "container" || r.Kind == "pod" {
			return s.named(r, 1)
		}
		return facts.Room{Kind: "host"}
	}
	var pids []int
	for _, p := range owners {
		if slices.Contains(s.pids, p.PID) { // a listener can be handed to somebody elsewhere
			pids = append(pids, p.PID)
		}
	}
	for _, pid := range s.residents {
		if !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	var unit facts.Room
	for _, pid := range pids {
		switch r := roomOf(pid); r.Kind {
		case "container", "pod", "sandbox":
			return s.named(r, pid)
		case "unit":
			if unit.Kind == "" {
				unit = r
			}
		}
	}
	var around facts.Room // of the process that made the namespace
	if len(pids) > 0 {
		r, outside := s.sandbox(pids[0])
		if r.Kind != "" {
			return r
		}
		around = roomOf(outside)
	}
	switch {
	case unit.Kind != "" && unit != around: // else a process of the unit made it, and not the unit
		return unit
	case s.name != "":
		return facts.Room{Kind: "ip netns", Name: process.Tidy(s.name)}
	}
	return facts.Room{}
}

func roomOf(pid int) facts.Room {
	b, err := os.ReadFile(procPath(pid, "cgroup"))
	if err != nil {
		return facts.Room{}
	}
	return process.RoomOf(b)
}

// sandbox looks for the program that made the namespace, which is above the resident:
// in there itself, or the first one that is not. The latter is told in any case.
func (s *space) sandbox(pid int) (r facts.Room, outside int) {
	for range maxAbove {
		name, parent, err := process.Parent(pid)
		if err != nil {
			break
		}
		if slices.Contains(sandboxes, name) {
			r = facts.Room{Kind: "sandbox", Engine: name, Name: process.Tidy(option(process.Args(pid), "--name="))}
			if name == "systemd-nspawn" {
				args := process.Args(pid)
				r = facts.Room{Kind: "container", Engine: "nspawn", Name: process.Tidy(cmp.Or(option(args, "--machine="), option(args, "-M"), option(args, "--machine"), "systemd-nspawn"))}
			}
			return r, pid
		}
		if !slices.Contains(s.pids, pid) {
			return r, pid
		}
		pid = parent
	}
	return r, 0
}

// option finds the value of an option: joined to it, or the next argument.
func option(args []string, name string) string {
	for i, a := range args {
		switch {
		case a == "--": // what follows is the program's that is run
			return ""
		case i > 0 && a == name && i+1 < len(args) && !strings.HasSuffix(name, "="):
			return args[i+1]
		case i > 0 && len(a) > len(name) && strings.HasPrefix(a, name) && (strings.HasSuffix(name, "=") || len(name) == 2):
			return a[len(name):]
		}
	}
	return ""
}

// named adds the name of a pod, as far as its own files may be read: it is the name of
// its host, and the files of its account are of its namespace.
func (s *space) named(r facts.Room, pid int) facts.Room {
	if r.Kind != "pod" {
		return r
	}
	var name, space string
	if b, err := readBounded(procPath(pid, "environ")); err == nil {
		for v := range strings.SplitSeq(string(b), "\x00") {
			if h, ok := strings.CutPrefix(v, "HOSTNAME="); ok {
				name = h
			}
		}
	}
	root, err := process.OpenRoot(pid)
	if err == nil {
		defer root.Close()
		name = cmp.Or(name, strings.TrimSpace(inside(root, "/etc/hostname")))
		space = cmp.Or(strings.TrimSpace(inside(root, "/run/secrets/kubernetes.io/serviceaccount/namespace")),
			strings.TrimSpace(inside(root, "/var/run/secrets/kubernetes.io/serviceaccount/namespace")), searched(inside(root, "/etc/resolv.conf")))
	}
	if isLabel(name) {
		r.Pod = name
		if isLabel(space) {
			r.Pod = space + "/" + name
		}
	}
	return r
}

// searched reads the namespace off the kubelet's resolv.conf:
//
//	search shop.svc.cluster.local svc.cluster.local cluster.local
func searched(conf string) string {
	for line := range strings.Lines(conf) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "search" {
			if space, rest, ok := strings.Cut(f[1], "."); ok && strings.HasPrefix(rest, "svc.") {
				return space
			}
		}
	}
	return ""
}

// isLabel tells whether it may be the name of a pod (RFC 1123).
func isLabel(s string) bool {
	return s != "" && len(s) <= 253 && !strings.HasPrefix(s, "-") && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

// maxFile is how much of a file of theirs is read.
const maxFile = 64 << 10

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// inside reads a small file as the process finds it.
func inside(root process.Root, name string) string {
	b, _, _ := root.Read(name, maxFile)
	return string(b)
}
