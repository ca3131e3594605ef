package report

import (
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Client is one kind of client, and how it fares with the target's name.
type Client struct {
	Name       string   `json:"name"`
	Rule       string   `json:"rule"`       // how it comes to its addresses
	Addresses  []string `json:"addresses"`  // in the order in which it tries them
	Unknown    string   `json:"unknown"`    // why they are not known; empty: they are
	TriesNext  bool     `json:"tries_next"` // where one fails it tries the next
	PatienceMS float64  `json:"patience_ms"`
	Reaches    []string `json:"reaches"` // addresses at which the service answers
	Works      *bool    `json:"works"`   // null: not known
}

func clients(cs []checks.Client) []Client {
	var out []Client
	for _, c := range cs {
		out = append(out, Client{Name: c.Name, Rule: c.Rule, Addresses: texts(c.Addresses), Unknown: c.Unknown, TriesNext: c.Next,
			PatienceMS: float64(c.Patience.Milliseconds()), Reaches: texts(c.Reaches), Works: c.Works})
	}
	return out
}

// tries is "::1, then 127.0.0.1"; of one that takes the first alone, that one.
func (c *Client) tries() string {
	switch {
	case c.Unknown != "":
		return "not known (" + c.Unknown + ")"
	case len(c.Addresses) == 0:
		return "no address"
	case !c.TriesNext:
		return c.Addresses[0]
	}
	return strings.Join(c.Addresses, ", then ")
}

// fares is what becomes of it.
func (c *Client) fares() string {
	switch {
	case c.Works == nil:
		return ""
	case *c.Works:
		return "works"
	}
	return "fails"
}

// detail is one line of the table.
func (c *Client) detail() string {
	text := c.tries() + " (" + c.Rule + ")"
	if f := c.fares(); f != "" {
		text = f + ": " + text
	}
	return text
}

// covered are remarks that name the clients which fail.
var covered = []string{"v6-first-v4-only-server", "healthcheck-client-no-fallback", "happy-eyeballs-too-short", "tools-disagree-on-localhost"}

// failing says which kinds of clients do not reach a target that works, a
// sentence for each way to fail.
func (t *Target) failing() []string {
	said := slices.ContainsFunc(t.Remarks, func(c Cause) bool { return slices.Contains(covered, c.Name) })
	if t.Verdict != checks.Works || t.Intent != facts.Connect || t.IsLoopback() || said {
		return nil
	}
	names := map[string][]string{}
	var order []string
	for i := range t.Clients {
		c := &t.Clients[i]
		if c.fares() != "fails" {
			continue
		}
		if names[c.tries()] == nil {
			order = append(order, c.tries())
		}
		names[c.tries()] = append(names[c.tries()], c.Name)
	}
	var out []string
	for _, tries := range order {
		who := names[tries]
		what := plural(len(who), "tries ", "try ") + tries + " alone"
		switch {
		case tries == "no address":
			what = plural(len(who), "finds", "find") + " no address for it"
		case strings.Contains(tries, ","):
			what = plural(len(who), "tries ", "try ") + tries
		}
		out = append(out, join(who, "and")+" "+plural(len(who), "does", "do")+" not reach it as "+t.Host+": "+plural(len(who), "it ", "they ")+what+".")
	}
	return out
}
