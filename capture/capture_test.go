package capture

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
)

// fake is a socket that holds the frames it is given.
type fake struct {
	frames  []Frame
	ports   []uint16
	err     error // after the frames
	endless bool
	drops   uint32
	closed  int
}

func (s *fake) watch(ports []uint16) error { s.ports = slices.Clone(ports); return s.err }
func (s *fake) next() (Frame, error) {
	if s.endless {
		return Frame{At: epoch}, nil
	}
	if len(s.frames) == 0 {
		if s.err != nil {
			return Frame{}, s.err
		}
		return Frame{}, errNone
	}
	f := s.frames[0]
	s.frames = s.frames[1:]
	return f, nil
}
func (s *fake) overflowed() (uint32, error) { n := s.drops; s.drops = 0; return n, nil }
func (s *fake) close() error                { s.closed++; return nil }

func TestFramesAreBounded(t *testing.T) {
	c := &Capture{socket: &fake{endless: true, drops: 5}}
	first, err := c.Frames()
	if err != nil || len(first) != MaxFrames {
		t.Fatalf("got %d frames, %v; want %d", len(first), err, MaxFrames)
	}
	second, err := c.Frames()
	if err != nil || len(second) != 0 {
		t.Fatalf("got %d more frames, %v; want none", len(second), err)
	}
	for range 2 { // asking twice counts once
		if n, err := c.Dropped(); err != nil || n != MaxFrames+5 {
			t.Errorf("dropped %d, %v; want %d", n, err, MaxFrames+5)
		}
	}
}

func TestFramesGivesWhatCameBeforeAnError(t *testing.T) {
	broken := errors.New("broken")
	c := &Capture{socket: &fake{frames: []Frame{{At: epoch}}, err: broken}}
	if frames, err := c.Frames(); len(frames) != 1 || !errors.Is(err, broken) {
		t.Errorf("got %d frames, %v", len(frames), err)
	}
}

// The first frames may carry the time at which they were read.
func TestFramesTimesFollowTheQueue(t *testing.T) {
	a := seen(9*time.Millisecond, true, wire(t, client4, server4, syn, ""))
	b := seen(8*time.Millisecond, true, wire(t, server4, client4, &layers.TCP{RST: true}, ""))
	last := seen(time.Millisecond, true, wire(t, client4, server4, ack, ""))
	c := &Capture{socket: &fake{frames: []Frame{a, b, last}}}
	frames, err := c.Frames()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tell(Conversations(frames, 62893, nil)), "tcp "+client4+" "+server4+": >S/o <R/o >./o\n"; got != want {
		t.Errorf("got %swant %s", got, want)
	}
	if !frames[0].At.Equal(last.At) {
		t.Errorf("the first frame is from %v, later than the last, %v", frames[0].At, last.At)
	}
}

func TestAlso(t *testing.T) {
	s := &fake{}
	c := &Capture{socket: s, ports: []uint16{62893}}
	if err := c.Also(5, 62893, 4); err != nil {
		t.Fatal(err)
	}
	if err := c.Also(6); err != nil {
		t.Fatal(err)
	}
	if want := []uint16{4, 5, 6, 62893}; !slices.Equal(s.ports, want) {
		t.Errorf("watches %v, want %v", s.ports, want)
	}
	many := make([]uint16, MaxPorts)
	for i := range many {
		many[i] = uint16(i)
	}
	if err := c.Also(many...); err == nil {
		t.Error("more than MaxPorts ports gave no error")
	}
	// A port that could not be added is not taken for added.
	s.err = errors.New("broken")
	if err := c.Also(7); !errors.Is(err, s.err) || slices.Contains(c.ports, 7) {
		t.Errorf("got %v, ports %v", err, c.ports)
	}
}

func TestClose(t *testing.T) {
	s := &fake{drops: 3}
	c := &Capture{socket: s}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if s.closed != 1 {
		t.Errorf("the socket was closed %d times", s.closed)
	}
	if _, err := c.Frames(); !errors.Is(err, errClosed) {
		t.Errorf("Frames: %v", err)
	}
	if err := c.Also(1); !errors.Is(err, errClosed) {
		t.Errorf("Also: %v", err)
	}
	if n, err := c.Dropped(); n != 3 || err != nil {
		t.Errorf("Dropped: %d, %v", n, err)
	}
}
