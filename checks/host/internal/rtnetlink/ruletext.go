package rtnetlink

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// words of the selector in the order in which "ip rule" prints them, "from"
// always first.
func (r rule) words() []string {
	var w []string
	add := func(when bool, words ...any) {
		if when {
			w = append(w, strings.TrimSuffix(fmt.Sprintln(words...), "\n"))
		}
	}
	add(r.flags&ruleInvert != 0, "not")
	w = append(w, "from "+prefix(r.from))
	add(r.to.Bits() > 0, "to", prefix(r.to))
	add(r.tos != 0, "tos", fmt.Sprintf("0x%02x", r.tos))
	if r.mark != nil || r.mask != nil {
		mark, mask := value(r.mark), value(r.mask)
		add(r.mask == nil || mask == none32, "fwmark", hex(mark))
		add(r.mask != nil && mask != none32, "fwmark", hex(mark)+"/"+hex(mask))
	}
	add(r.iif != "", "iif", r.iif)
	add(r.oif != "", "oif", r.oif)
	add(r.l3mdev, "l3mdev")
	if r.uids != nil {
		add(true, "uidrange", r.uids)
	}
	add(r.ipproto != 0, "ipproto", protocolName(r.ipproto))
	if r.sports != nil {
		add(true, "sport", r.sports)
	}
	if r.dports != nil {
		add(true, "dport", r.dports)
	}
	if r.tunID != nil {
		add(true, "tun_id", *r.tunID)
	}
	return w
}

// qualifiers change what the action does with what was selected.
func (r rule) qualifiers() []string {
	var w []string
	if r.table != 0 && r.suppressPrefix != none32 {
		w = append(w, fmt.Sprint("suppress_prefixlength ", r.suppressPrefix))
	}
	if r.table != 0 && r.suppressGroup != none32 {
		w = append(w, fmt.Sprint("suppress_ifgroup ", r.suppressGroup))
	}
	switch from, to := r.realms>>16, r.realms&0xffff; {
	case from != 0:
		w = append(w, fmt.Sprintf("realms %d/%d", from, to))
	case to != 0:
		w = append(w, fmt.Sprintf("realms %d", to))
	}
	return w
}

// selector is the rule without priority and action, in a form that ip-rule(8)
// takes to add and to delete the very same one.
func (r rule) selector() string {
	w := append(r.words(), r.qualifiers()...)
	if from := slices.Index(w, "from all"); len(w) > from+1 && from == 0 {
		w = w[1:] // says nothing beside another word
	}
	if r.made() {
		w = append(w, fmt.Sprint("protocol ", r.protocol))
	}
	return strings.Join(w, " ")
}

// made tells whether a daemon has marked the rule as its own. An unmarked one
// is RTPROT_UNSPEC, one of the kernel's is RTPROT_KERNEL (2).
func (r rule) made() bool { return r.protocol != 0 && r.protocol != 2 }

// deed is the action in the words of ip-rule(8), without the table.
func (r rule) deed() string {
	switch r.action {
	case actLookup:
		return "lookup"
	case actGoto:
		return fmt.Sprint("goto ", r.target)
	case actNop:
		return "nop"
	}
	return routeType(r.action) // FR_ACT_BLACKHOLE and on are RTN_BLACKHOLE and on
}

// text is the line that "ip rule" prints, tables by number but for the three
// that every system has.
func (r rule) text() string {
	var w []string
	for _, word := range r.words() {
		switch {
		case word == "l3mdev":
			word = "lookup [l3mdev-table]"
		case strings.HasPrefix(word, "iif ") && r.flags&ruleIifGone != 0, strings.HasPrefix(word, "oif ") && r.flags&ruleOifGone != 0:
			word += " [detached]"
		}
		w = append(w, word)
	}
	if r.table != 0 {
		w = append(w, "lookup "+tableName(r.table))
	}
	w = append(w, r.qualifiers()...)
	switch {
	case r.action == actGoto && r.flags&ruleUnresolved != 0:
		w = append(w, r.deed(), "[unresolved]")
	case r.action != actLookup:
		w = append(w, r.deed())
	}
	if r.made() {
		w = append(w, "proto "+originName(r.protocol))
	}
	for _, typ := range r.unknown {
		w = append(w, fmt.Sprintf("[unknown selector %d]", typ))
	}
	return fmt.Sprintf("%d: %s", r.priority, strings.Join(w, " "))
}

// prefix writes 127.0.0.1/32 as 127.0.0.1 and 0.0.0.0/0 as all.
func prefix(p netip.Prefix) string {
	switch {
	case p.Bits() == 0:
		return "all"
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}

// hex is C's %#x, which writes 0 without 0x.
func hex(n uint32) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", n)
}

// protocolName is the name of the common ones in /etc/protocols.
func protocolName(p uint8) string {
	switch p {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "ipv6-icmp"
	case 132:
		return "sctp"
	}
	return fmt.Sprint(p)
}

func tableName(t uint32) string {
	switch t {
	case 253:
		return "default"
	case 254:
		return "main"
	case tableLocal:
		return "local"
	}
	return fmt.Sprint(t)
}

// originName is the name of the common ones in rt_protos of iproute2.
func originName(p uint8) string {
	switch p {
	case 1:
		return "redirect"
	case 3:
		return "boot"
	case 4:
		return "static"
	case 16:
		return "dhcp"
	}
	return fmt.Sprint(p)
}
