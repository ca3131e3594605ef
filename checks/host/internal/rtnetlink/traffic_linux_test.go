package rtnetlink

import (
	"os/exec"
	"strings"
	"testing"
)

func tcRun(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("tc", args...).CombinedOutput(); err != nil {
		t.Skipf("this kernel cannot do tc %v: %v: %s", args, err, out)
	}
}

// What the parsers read of messages made by hand, they read of the kernel's.
func TestTrafficOfAKernel(t *testing.T) {
	c := enterNamespace(t)
	if _, err := exec.LookPath("tc"); err != nil {
		t.Skip("needs the tc program")
	}
	if got, err := c.Traffic(1); err != nil || len(got.Qdiscs)+len(got.Filters) != 0 || got.Root() != nil {
		t.Errorf("nothing is on lo: %+v, %v", got, err)
	}
	tcRun(t, "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "8kbit", "burst", "60", "limit", "3000")
	tcRun(t, "qdisc", "add", "dev", "lo", "clsact")
	tcRun(t, "filter", "add", "dev", "lo", "ingress", "protocol", "ip", "prio", "5", "bpf", "da", "bytecode", "1,6 0 0 2")
	tcRun(t, "filter", "add", "dev", "lo", "egress", "protocol", "all", "prio", "7", "bpf", "da", "bytecode", "1,6 0 0 0")
	got, err := c.Traffic(1)
	if err != nil || got.Root() == nil || !got.Root().Full || strings.Join(got.Root().Options, " ") != "rate 8000bit burst 60b limit 3000b" {
		t.Errorf("the bucket: %+v, %v", got, err)
	}
	if len(got.Filters) != 2 || got.Filters[0].At != "egress" || got.Filters[0].Protocol != "all" || !got.Filters[1].Full ||
		got.Filters[1].Priority != 5 || strings.Join(got.Filters[1].Options, " ") != "da bytecode 1,6 0 0 2" {
		t.Errorf("the filters: %+v", got.Filters)
	}
}
