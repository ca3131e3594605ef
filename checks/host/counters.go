package host

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// counters are the kernel's packet counters by name: those of IPv4 and TCP as
// in /proc/net/snmp without the protocol, those of IPv6 likewise without "Ip6".
type counters map[string]int64

// parseSNMP reads the two-line form of /proc/net/snmp and /proc/net/netstat: a
// line of names, then a line of values, both behind the same prefix.
//
//	Tcp: RtoAlgorithm RtoMin … OutRsts
//	Tcp: 1 200 … 12
func (c counters) parseSNMP(data []byte, prefix string) error {
	var names []string
	for line := range bytes.Lines(data) {
		head, rest, ok := strings.Cut(string(line), ":")
		if !ok || head != prefix {
			continue
		}
		fields := strings.Fields(rest)
		if names == nil {
			names = fields
			continue
		}
		if len(fields) != len(names) {
			return fmt.Errorf("read counters of %s: %d names, %d values", prefix, len(names), len(fields))
		}
		for i, v := range fields {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return fmt.Errorf("read counters of %s: %w", prefix, err)
			}
			c[names[i]] = n
		}
		return nil
	}
	return fmt.Errorf("read counters: no line %s", prefix)
}

// parseSNMP6 reads the IP part of /proc/net/snmp6, one counter a line. ICMP
// errors of the family keep their names.
//
//	Ip6InReceives                   	1274
func (c counters) parseSNMP6(data []byte) {
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) != 2 {
			continue
		}
		name, ok := strings.CutPrefix(f[0], "Ip6")
		n, err := strconv.ParseInt(f[1], 10, 64)
		if !ok || name == "" || err != nil {
			continue
		}
		if name == "OutForwDatagrams" {
			name = "ForwDatagrams" // as IPv4 calls it
		}
		c[name] = n
	}
}

// parseXfrm reads /proc/net/xfrm_stat, one counter of IPsec a line.
//
//	XfrmInPolBlock          	33
func (c counters) parseXfrm(data []byte) {
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) != 2 || !strings.HasPrefix(f[0], "Xfrm") {
			continue
		}
		if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
			c[f[0]] = n
		}
	}
}

// parseDev reads the line of one interface in /proc/net/dev: eight values for
// receive, then eight for transmit, the second of each packets and the fourth
// drops.
//
//	lo:  179524    1532    0    0    0     0          0         0   179524    1532    0    0    0     0       0          0
func (c counters) parseDev(data []byte, name string) {
	for line := range bytes.Lines(data) {
		head, rest, ok := strings.Cut(strings.TrimSpace(string(line)), ":")
		f := strings.Fields(rest)
		if !ok || head != name || len(f) < 16 {
			continue
		}
		for key, i := range map[string]int{"lo.rx": 1, "lo.rxdrop": 3, "lo.tx": 9, "lo.txdrop": 11} {
			if n, err := strconv.ParseInt(f[i], 10, 64); err == nil {
				c[key] = n
			}
		}
	}
}

// needed are the counters whose absence a reader of the ledger has to know of.
var needed = []string{"OutRequests", "OutTransmits", "InReceives", "InDelivers", "InSegs", "OutSegs", "OutRsts"}

// since returns what moved, and which of the needed counters this kernel lacks.
func (c counters) since(before counters) (delta map[string]int64, missing []string) {
	delta = map[string]int64{}
	for name, v := range c {
		if d := v - before[name]; d != 0 {
			delta[name] = d
		}
	}
	for _, name := range needed {
		if _, ok := c[name]; !ok {
			missing = append(missing, name)
		}
	}
	return delta, missing
}
