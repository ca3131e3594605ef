package host

import (
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// maxQueues bounds how many queues with a reader are kept: an IPS has one for each
// CPU.
const maxQueues = 256

// parseQueues reads /proc/net/netfilter/nfnetlink_queue (seq_show of
// net/netfilter/nfnetlink_queue.c): number, the reader's netlink socket, packets that
// wait, how much of each is copied, in which way, dropped for want of room, dropped
// for the reader, the last packet's number, and 1.
//
//	3  31507     0 2 65531     0     0        0  1
//
// reader names who has the socket of that number.
func parseQueues(data []byte, reader func(port uint32) string) *facts.PacketQueues {
	q := &facts.PacketQueues{Read: []facts.PacketQueue{}}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 7 || len(q.Read) == maxQueues {
			continue
		}
		number, err1 := strconv.ParseUint(f[0], 10, 16)
		port, err2 := strconv.ParseInt(f[1], 10, 64) // printed as an int: those that the kernel chose are negative
		var counts [3]uint64
		var bad bool
		for i, s := range []string{f[2], f[5], f[6]} {
			n, err := strconv.ParseUint(s, 10, 32)
			counts[i], bad = n, bad || err != nil
		}
		if err1 != nil || err2 != nil || bad {
			continue
		}
		q.Read = append(q.Read, facts.PacketQueue{Number: uint16(number), Reader: reader(uint32(port)), Waiting: int(counts[0]), Dropped: int(counts[1] + counts[2])})
	}
	return q
}
