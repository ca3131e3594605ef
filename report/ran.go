package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Ran is a client that loopdoctor ran, and what it met.
type Ran struct {
	Program         string    `json:"program"`
	Args            []string  `json:"args"`
	PID             int       `json:"pid"`
	Exit            int       `json:"exit"`
	Signal          string    `json:"signal"`
	ElapsedMS       float64   `json:"elapsed_ms"`
	Unwatched       string    `json:"unwatched"`
	Connects        []Connect `json:"connects"`
	More            int       `json:"more"`
	Elsewhere       int       `json:"elsewhere"`
	FailedElsewhere int       `json:"failed_elsewhere"`
}

// Connect is one connect() of a client, or several that met the same.
type Connect struct {
	To        string        `json:"to"` // an endpoint, or the path of a UNIX socket
	Network   string        `json:"network"`
	From      string        `json:"from"`
	PID       int           `json:"pid"`
	Program   string        `json:"program"`
	Outcome   facts.Outcome `json:"outcome"`
	Errno     string        `json:"errno"`
	AfterMS   float64       `json:"after_ms"`
	ElapsedMS float64       `json:"elapsed_ms"`
	Count     int           `json:"count"`
	Sent      uint64        `json:"sent"`
	Received  uint64        `json:"received"`
	EndedBy   facts.EndedBy `json:"ended_by"`
	Proxy     string        `json:"proxy"`
}

func ran(m *facts.Met) *Ran {
	if m == nil {
		return nil
	}
	out := &Ran{Program: m.Program, Args: slices.Clone(m.Args), PID: m.PID, Exit: m.Exit, Signal: m.Signal, ElapsedMS: m.ElapsedMS,
		Unwatched: m.Unwatched, More: m.More, Elsewhere: m.Elsewhere, FailedElsewhere: m.Failed}
	for _, c := range m.Connects {
		x := Connect{To: end(c), Network: c.Network, PID: c.PID, Program: c.Program, Outcome: c.Outcome, Errno: c.Errno, AfterMS: c.AfterMS,
			ElapsedMS: c.ElapsedMS, Count: c.Count, Sent: c.Sent, Received: c.Received, EndedBy: c.End, Proxy: c.Proxy}
		if c.From.IsValid() {
			x.From = c.From.String()
		}
		out.Connects = append(out.Connects, x)
	}
	return out
}

func end(c facts.Attempt) string {
	if c.Network == "unix" {
		return c.Path
	}
	return c.To.String()
}

// ranNotes tell how the client fared at this target, whether loopdoctor meets the same, and
// what of the client could not be seen.
func ranNotes(f *facts.Facts, d *checks.Diagnosis) []string {
	m := f.Target.Met
	if m == nil {
		return nil
	}
	s := fmt.Sprintf("%s %s", m.Name(), m.Ended())
	var met []string
	for _, c := range m.Connects {
		switch {
		case c.Network == "unix", c.Proxy != "":
		case f.Target.Port != c.To.Port() || f.Target.Network != c.Network:
			continue
		}
		met = append(met, fare(m, c))
	}
	for _, b := range m.Binds {
		if f.Target.Intent == facts.ToBind && f.Target.Port == b.To.Port() && f.Target.Network == b.Network {
			met = append(met, fare(m, b)+" as it wanted the port for itself")
		}
	}
	if len(met) > 0 {
		s += ". It met " + strings.Join(met, "; ")
	}
	if m.Unwatched != "" {
		s += ". It could not be traced: " + m.Unwatched
	}
	switch {
	case m.Elsewhere == 1:
		s += ". It connected to another machine once" + failed(m)
	case m.Elsewhere > 1:
		s += fmt.Sprintf(". It connected to other machines %d times", m.Elsewhere) + failed(m)
	}
	s += "."
	if e := f.Target.Error; e != nil {
		s += " " + agrees(f.Target, e, d)
	}
	return append([]string{s}, m.Notes...)
}

func failed(m *facts.Met) string {
	if m.Failed == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d failed)", m.Failed)
}

// fare is one connect in words: "ECONNREFUSED at [::1]:3000, 3 times".
func fare(m *facts.Met, c facts.Attempt) string {
	s := cmp.Or(c.Errno, string(c.Outcome)) + " at " + end(c)
	switch {
	case c.Outcome == facts.Timeout && c.Errno == "":
		s = fmt.Sprintf("no reply from %s in %.1f s", end(c), c.ElapsedMS/1000)
	case c.Outcome == facts.Failed && c.Errno == "":
		s = "no connection to " + end(c)
	case c.Works() && c.Network == "tcp":
		s = fmt.Sprintf("a connection to %s, %d bytes sent, %d received%s", end(c), c.Sent, c.Received,
			map[facts.EndedBy]string{facts.EndedByServer: ", closed by the other side", facts.EndedByReset: ", reset"}[c.End])
	}
	if c.Proxy != "" {
		s += " (the proxy of " + c.Proxy + ")"
	}
	if c.Program != m.Program {
		s += fmt.Sprintf(" by %s (pid %d)", c.Program, c.PID)
	}
	if c.Count > 1 {
		s += fmt.Sprintf(", %d times", c.Count)
	}
	return s
}
