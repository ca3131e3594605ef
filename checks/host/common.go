package host

import (
	"fmt"
	"net"
	"net/netip"
	"os/user"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// userName is the name of a uid, empty if it has none.
func userName(uid uint32) string {
	u, err := user.LookupId(fmt.Sprint(uid))
	if err != nil {
		return ""
	}
	return u.Username
}

// ownAddress tells whether an interface of this machine holds the address, for
// systems on which interfaces were not looked at.
func ownAddress(a netip.Addr) bool {
	as, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, x := range as {
		if n, ok := x.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok && own.Unmap() == a.Unmap() {
				return true
			}
		}
	}
	return false
}

// icmpText is an ICMP type and code as reports print it.
func icmpText(typ, code uint8) string { return fmt.Sprintf("%d/%d", typ, code) }

// Mask hides what looks like a secret in a line that somebody pasted.
func Mask(line string) string { return process.Mask([]string{"", line})[1] }
