package host

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// packetQueues reads /proc/net/netfilter/nfnetlink_queue, which has a line for each
// queue that a program reads: its number, the port of the netlink socket that reads
// it, how many packets wait, and how many found no room or could not be sent
// (seq_show in net/netfilter/nfnetlink_queue.c).
//
//	3  31415     0 2  4096     0     0        8  1
//
// name gives the process behind the port, if there is one: most programs use their
// process number, which the kernel gives to the first netlink socket of a process.
// There can be 65536 queues; no more lines are read.
func packetQueues(r io.Reader, name func(port uint32) string) (*facts.PacketQueues, error) {
	q := &facts.PacketQueues{}
	lines := bufio.NewScanner(io.LimitReader(r, 8<<20))
	for lines.Scan() && len(q.Read) < 1<<16 {
		w := strings.Fields(lines.Text())
		if len(w) == 0 {
			continue
		}
		if len(w) < 7 {
			return nil, fmt.Errorf("read nfnetlink_queue: %d columns, not 9", len(w))
		}
		number, err := strconv.ParseUint(w[0], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("read nfnetlink_queue: %w", err)
		}
		port, err := strconv.ParseUint(w[1], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read nfnetlink_queue: %w", err)
		}
		x := facts.PacketQueue{Number: uint16(number), Reader: name(uint32(port))}
		if x.Reader == "" {
			x.Reader = fmt.Sprintf("netlink socket %d", port)
		}
		count := func(s string) int { n, _ := strconv.ParseUint(s, 10, 31); return int(n) }
		x.Waiting, x.Dropped = count(w[2]), count(w[5])+count(w[6])
		q.Read = append(q.Read, x)
	}
	return q, lines.Err()
}
