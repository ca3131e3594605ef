package host

import (
	"context"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A queue that becomes shorter while the processes are looked at is that of a program which
// was only busy.
func TestAQueueThatMovesLaterProvesNothing(t *testing.T) {
	for left, waits := range map[uint32]bool{1: true, 0: false} {
		m := newMachine(listening("127.0.0.1", false))
		m.dials["127.0.0.1"] = facts.Dial{Outcome: facts.Connected, Server: &facts.ServerSide{}}
		m.work = func(context.Context, *facts.Facts) (*facts.Work, error) {
			return &facts.Work{ApartMS: 120, Queues: []facts.QueueAt{{Inode: 1, Before: facts.Queue{Length: 1}, Queue: facts.Queue{Length: left}}}}, nil
		}
		if f := mustLook(t, m, target("127.0.0.1"), Options{}); (f.Dials[0].Server != nil) != waits {
			t.Errorf("%d left: %+v", left, f.Dials[0])
		}
	}
}

// Who has more patience for an answer has it for being accepted, too.
func TestPatienceIsForAcceptingToo(t *testing.T) {
	m := newMachine(listening("127.0.0.1", false))
	m.dials["127.0.0.1"] = facts.Dial{Outcome: facts.Connected, Server: &facts.ServerSide{}}
	begin := time.Now()
	mustLook(t, m, target("127.0.0.1"), Options{Patience: acceptLate + 300*time.Millisecond})
	if waited := time.Since(begin); waited < acceptLate+300*time.Millisecond {
		t.Errorf("it was watched for %v", waited)
	}
}
