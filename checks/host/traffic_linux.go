package host

import (
	"fmt"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/rtnetlink"
)

// trafficReader reads what traffic control of lo has dropped. Where it cannot
// be asked, it reads nothing.
type trafficReader struct {
	client *rtnetlink.Client
	link   int
}

// loopback is LOOPBACK_IFINDEX: lo, in every network namespace.
const loopback = 1

func trafficCounters() trafficReader {
	c, err := rtnetlink.Open()
	if err != nil {
		return trafficReader{}
	}
	return trafficReader{c, loopback}
}

func (r trafficReader) close() {
	if r.client != nil {
		r.client.Close()
	}
}

func (r trafficReader) read() counters {
	if r.client == nil {
		return nil
	}
	t, err := r.client.Traffic(r.link)
	if err != nil {
		return nil
	}
	return dropsOf(t)
}

// since returns what was dropped after the first look. A counter that was not
// there then was reset meanwhile, and says nothing.
func (r trafficReader) since(before counters) map[string]int64 {
	moved := map[string]int64{}
	for name, v := range r.read() {
		if was, ok := before[name]; ok && v != was {
			moved[name] = v - was
		}
	}
	return moved
}

// dropsOf names the counters of traffic control: "tc.root", "tc.clsact" and
// "tc.ingress.5", a filter's.
func dropsOf(t *facts.Traffic) counters {
	c := counters{}
	for _, q := range t.Qdiscs {
		c["tc."+q.Parent] += int64(q.Drops)
		if q.Parent == "root" {
			c["tc.backlog"] += int64(q.Backlog)
		}
	}
	for _, f := range t.Filters {
		if f.Drops != nil {
			c[fmt.Sprintf("tc.%s.%d", f.At, f.Priority)] += int64(*f.Drops)
		}
	}
	return c
}
