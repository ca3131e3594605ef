package forward

import (
	"slices"
	"strings"
)

// pastas are the names of pasta(1): it is passt under another name, in two builds.
var pastas = []string{"pasta", "pasta.avx2", "passt", "passt.avx2"}

// pasta reads the TCP ports that it leads into the network of a process. What is there is
// its own matter: it connects to the loopback in there, or to the address.
//
//	pasta --config-net -t 127.0.0.1/62893:80 -u none -T none -U none --netns /run/user/1000/netns/x
//	pasta -t 8000-8010:9000-9010,~8005 4121
func pasta(args []string) []Way {
	var ways []Way
	for i := 1; i < len(args); i++ {
		at, value := i, ""
		switch a := args[i]; {
		case (a == "-t" || a == "--tcp-ports") && i+1 < len(args):
			i++
			value = args[i]
		case strings.HasPrefix(a, "--tcp-ports="):
			value = strings.TrimPrefix(a, "--tcp-ports=")
		case strings.HasPrefix(a, "-t"):
			value = a[2:]
		}
		bind, where := "*", ""
		if address, ports, ok := strings.Cut(short(value), "/"); ok {
			bind, _, _ = strings.Cut(address, "%")
			where, value = address+"/", ports
		}
		var not []uint16
		var some []Way
		for spec := range strings.SplitSeq(short(value), ",") {
			spec, except := strings.CutPrefix(spec, "~")
			outer, _, _ := strings.Cut(spec, ":")
			low, high, ok := strings.Cut(outer, "-")
			if !ok {
				high = low
			}
			if number(low) == 0 {
				continue // "none", "auto", "all"
			}
			for port := int(number(low)); port <= int(number(high)) && len(ways)+len(some) < maxWays; port++ {
				if except {
					not = append(not, uint16(port))
					continue
				}
				some = append(some, Way{Kind: "pasta", From: argument(at), Text: "-t " + where + spec, Bind: bind, Port: uint16(port), Takes: "tcp"})
			}
		}
		ways = append(ways, slices.DeleteFunc(some, func(w Way) bool { return slices.Contains(not, w.Port) })...)
	}
	return ways
}
