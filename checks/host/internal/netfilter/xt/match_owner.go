package xt

import (
	"fmt"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// What the match owner compares (XT_OWNER_*, linux/netfilter/xt_owner.h).
const (
	ownerUID    = 1
	ownerGID    = 2
	ownerSocket = 4
	ownerGroups = 8 // supplementary groups count as well
)

var noOwner = netfilter.Effect{Why: "the owner of the socket is not known"}

// owner is struct xt_owner_match_info; its meaning is owner_mt
// (net/netfilter/xt_owner.c).
func owner(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	match, invert := d.u8(16), d.u8(17)
	if match&ownerSocket != 0 {
		w.option(invert&ownerSocket != 0, "--socket-exists")
	}
	for i, name := range [...]string{"--uid-owner", "--gid-owner"} {
		if flag := uint8(ownerUID << i); match&flag != 0 {
			from, to := d.u32(8*i), d.u32(8*i+4)
			text := fmt.Sprint(from)
			if from != to {
				text = fmt.Sprintf("%d-%d", from, to)
			}
			w.option(invert&flag != 0, name, text)
		}
	}
	if match&ownerGroups != 0 {
		w.add("--suppl-groups")
	}
	return func(s *netfilter.State) netfilter.Effect {
		if s.Socket == nil {
			// Without a socket what is inverted holds, all of it.
			return effect(match == invert)
		}
		if match&invert&ownerSocket != 0 {
			return netfilter.Break
		}
		if match&(ownerUID|ownerGID) == 0 {
			return netfilter.Continue
		}
		if !s.Socket.Known {
			return noOwner
		}
		in := func(id uint32, at int) bool { return id >= d.u32(at) && id <= d.u32(at+4) }
		if match&ownerUID != 0 && in(s.Socket.UID, 0) == (invert&ownerUID != 0) {
			return netfilter.Break
		}
		if match&ownerGID != 0 {
			found := in(s.Socket.GID, 8)
			if match&ownerGroups != 0 {
				for _, g := range s.Socket.Groups {
					found = found || in(g, 8)
				}
			}
			return effect(found != (invert&ownerGID != 0))
		}
		return netfilter.Continue
	}
}

// mark is struct xt_mark_mtinfo1.
func mark(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	value, mask, invert := d.u32(0), d.u32(4), d.u8(8) != 0
	w.option(invert, "--mark", hexMask(value, mask))
	return func(s *netfilter.State) netfilter.Effect {
		if !s.MarkKnown && mask != 0 {
			return netfilter.Perhaps("the packet's mark is not known")
		}
		return unless(invert, effect(s.Mark&mask == value))
	}
}

// cgroup0 is struct xt_cgroup_info_v0: the class of net_cls alone.
func cgroup0(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	id, invert := d.u32(0), d.u32(4) != 0
	w.option(invert, "--cgroup", fmt.Sprint(id))
	return func(s *netfilter.State) netfilter.Effect { return classIs(s, id, invert) }
}

// cgroup is xt_cgroup_info_v1 and 2, which differ in the size of the path only,
// and in that the class shares its place.
func cgroup(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	size, classAt := 512, 4
	if d.rev == 1 {
		size, classAt = 4096, 4100
	}
	path, notPath, notClass := "", d.u8(2) != 0, d.u8(3) != 0
	var class uint32
	if d.u8(0) != 0 {
		path = d.str(4, size)
		w.option(notPath, "--path")
		w.quote(path)
	}
	if d.u8(1) != 0 {
		class = d.u32(classAt)
		w.option(notClass, "--cgroup", fmt.Sprint(class))
	}
	return func(s *netfilter.State) netfilter.Effect {
		if d.u8(1) != 0 {
			return classIs(s, class, notClass)
		}
		if !hasFullSocket(s) {
			return netfilter.Break
		}
		if !s.Socket.Known || s.Socket.Cgroup == "" {
			return netfilter.Perhaps("the cgroup of the socket is not known")
		}
		return unless(notPath, effect(below(s.Socket.Cgroup, path)))
	}
}

func classIs(s *netfilter.State, id uint32, invert bool) netfilter.Effect {
	if !hasFullSocket(s) {
		return netfilter.Break
	}
	if !s.Socket.Known || s.Socket.ClassID == nil {
		return netfilter.Perhaps("the net_cls class of the socket is not known")
	}
	return unless(invert, effect(*s.Socket.ClassID == id))
}

// hasFullSocket tells whether cgroup_mt has a socket to look at. A SYN-ACK carries
// a request socket, which is none (sk_fullsock): other than owner, the match
// cgroup does not go on from there to the listener.
func hasFullSocket(s *netfilter.State) bool { return s.Socket != nil && !s.Request }

// below tells whether a cgroup is another, or a descendant of it.
func below(path, top string) bool {
	path, top = "/"+strings.Trim(path, "/"), "/"+strings.Trim(top, "/")
	return top == "/" || path == top || strings.HasPrefix(path, top+"/")
}
