package host

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func TestPacketQueues(t *testing.T) {
	name := func(port uint32) string {
		if port == 31415 {
			return "suricata (pid 31415)"
		}
		return ""
	}
	got, err := packetQueues(strings.NewReader("    3  31415     5 2  4096     2     1        8  1\n  200 4026531     0 2 65535     0     0        0  1\n"), name)
	want := &facts.PacketQueues{Read: []facts.PacketQueue{{Number: 3, Reader: "suricata (pid 31415)", Waiting: 5, Dropped: 3}, {Number: 200, Reader: "netlink socket 4026531"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := packetQueues(strings.NewReader(""), name); err != nil || len(got.Read) != 0 {
		t.Errorf("nobody reads any: %+v, %v", got, err)
	}
	for _, bad := range []string{"3 4", "x 1 2 3 4 5 6 7 8", "70000 1 2 3 4 5 6 7 8", "1 -1 2 3 4 5 6 7 8"} {
		if got, err := packetQueues(strings.NewReader(bad), name); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func FuzzPacketQueues(f *testing.F) {
	f.Add("    3  31415     5 2  4096     2     1        8  1\n")
	f.Fuzz(func(t *testing.T, s string) {
		q, err := packetQueues(strings.NewReader(s), func(p uint32) string { return fmt.Sprint(p) })
		if (q == nil) == (err == nil) && err == nil {
			t.Errorf("neither queues nor an error of %q", s)
		}
	})
}
