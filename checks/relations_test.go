package checks

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What holds for every check alike, tried on every situation of every table and
// on everything that the lab recorded.

func everything(t *testing.T) map[string]*facts.Facts {
	t.Helper()
	all := recorded(t)
	for _, s := range situations() {
		all[s.String()] = s.facts
	}
	return all
}

func TestEveryRelationLeadsToARegisteredCheck(t *testing.T) {
	all := slices.Concat(symptoms, causes)
	names := map[string]bool{}
	for _, c := range all {
		if names[c.Name] {
			t.Errorf("%s: registered twice", c.Name)
		}
		names[c.Name] = true
		if c.Name != strings.ToLower(c.Name) || c.Doc == "" || strings.HasSuffix(c.Doc, ".") || c.Stage == StageNone || c.Run == nil || len(c.Needs) == 0 {
			t.Errorf("%s: incomplete: %+v", c.Name, c)
		}
		for _, e := range c.Explains {
			if !slices.Contains(all, e) {
				t.Errorf("%s explains %s, which is not registered", c.Name, e.Name)
			}
		}
		for _, p := range c.Refines {
			if !slices.Contains(causes, p) {
				t.Errorf("%s refines %s, which is no registered cause", c.Name, p.Name)
			}
		}
		for _, g := range c.Needs {
			if slices.Contains(c.Uses, g) {
				t.Errorf("%s both needs and uses %s", c.Name, g)
			}
		}
	}
	for _, c := range symptoms {
		if !c.IsSymptom() {
			t.Errorf("%s is registered as a symptom and explains something", c.Name)
		}
	}
	for _, c := range causes {
		if c.IsSymptom() {
			t.Errorf("%s is registered as a cause and brings nothing about", c.Name)
		}
	}
}

func TestRelationsHaveNoCycle(t *testing.T) {
	for name, next := range map[string]func(*Check) []*Check{
		"explains": func(c *Check) []*Check { return c.Explains },
		"refines":  func(c *Check) []*Check { return c.Refines },
	} {
		for _, c := range causes {
			if slices.Contains(reachable(c, next), c) {
				t.Errorf("%s %s itself in the end", c.Name, name)
			}
		}
	}
}

// reachable is every check at any distance along the relation.
func reachable(from *Check, next func(*Check) []*Check) []*Check {
	var seen []*Check
	todo := next(from)
	for len(todo) > 0 {
		c := todo[0]
		todo = todo[1:]
		if !slices.Contains(seen, c) {
			seen = append(seen, c)
			todo = append(todo, next(c)...)
		}
	}
	return seen
}

// A cause that explains no symptom could never head a report.
func TestEveryCauseEndsInASymptom(t *testing.T) {
	for _, c := range causes {
		ends := reachable(c, func(c *Check) []*Check { return c.Explains })
		if !slices.ContainsFunc(ends, (*Check).IsSymptom) {
			t.Errorf("%s explains %v: no symptom among them", c.Name, ends)
		}
	}
	felt := map[*Check]bool{}
	for _, c := range causes {
		for _, e := range c.Explains {
			felt[e] = true
		}
	}
	for _, s := range symptoms {
		if !felt[s] {
			t.Errorf("nothing explains %s", s.Name)
		}
	}
}

// onlyRemarks are causes that matter at another time, or to clients which
// loopdoctor is not and that no client's error (--error) makes more of.
var onlyRemarks = []*Check{ownerHiddenFromYou, temporaryPort, exposedBeyondLoopback, browserOnAnotherMachine, destinationWildcard,
	toolsDisagreeOnLocalhost, happyEyeballsTooShort, shadowSpecificVsWildcard, shadowV4V6Split,
	slowAnswer, redirectLeavesLoopback}

// Every cause is said in some situation, and is silent in another; and every one
// but the remarks heads or follows in the diagnosis of one.
func TestEveryCauseIsSaidAndNotSaid(t *testing.T) {
	said, silent, diagnosed := map[*Check]bool{}, map[*Check]bool{}, map[*Check]bool{}
	for _, s := range situations() {
		said[s.check] = said[s.check] || len(s.says) > 0
		silent[s.check] = silent[s.check] || len(s.says) == 0
	}
	for _, f := range everything(t) {
		for _, c := range Diagnose(f).Causes {
			diagnosed[c.Check] = true
		}
	}
	for _, c := range slices.Concat(symptoms, causes) {
		if !said[c] || !silent[c] {
			t.Errorf("%s: a table of its own should let it speak (%v) and be silent (%v)", c.Name, said[c], silent[c])
		}
	}
	for _, c := range causes {
		if diagnosed[c] == slices.Contains(onlyRemarks, c) {
			t.Errorf("%s: diagnosed %v, only a remark %v", c.Name, diagnosed[c], slices.Contains(onlyRemarks, c))
		}
	}
}

// A check that read a group it does not declare would judge by facts whose
// absence nobody reports: what it says must not depend on the other groups.
func TestChecksReadWhatTheyDeclare(t *testing.T) {
	poison := machine("62893", loIsDown, hosts("10.6.6.6"), routed("127.0.0.1", "blackhole", "EINVAL", "blackhole 127.0.0.0/8"),
		listens("0.0.0.0", 666, stopped, queue(9, 1), device("eth6")), holds(facts.Bound, "127.0.0.1", "", 667), holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:6", 0),
		dials("127.0.0.1", facts.Refused), dials("::1", facts.Timeout), counts("127.0.0.1", 32, forgedReset), counts("::1", 32, diedOnOutput), wentTo(6),
		binds("127.0.0.1", "EADDRINUSE", true), binds("127.0.0.1", "EACCES", false), privilegedBelow(65535), ephemeral(1, 65535), elsewhere(668, "/", 1000), proxies("http_proxy=http://x:6"), unit("poison.service", "failed"), contains("exited"))
	poison.Listeners = poison.Sockets
	fields := groupFields()
	if len(fields) != len(facts.Groups()) {
		t.Fatalf("%d groups in %d fields", len(facts.Groups()), len(fields))
	}
	for name, f := range everything(t) {
		for _, c := range slices.Concat(symptoms, causes) {
			if _, missing := lacks(f, c); missing {
				continue
			}
			declared := slices.Concat(c.Needs, c.Uses)
			poisoned := f.Only(declared...)
			for g, field := range fields {
				if !slices.Contains(declared, g) {
					reflect.ValueOf(poisoned).Elem().Field(field).Set(reflect.ValueOf(poison).Elem().Field(field))
				}
			}
			want, got := text(c.Run(f.Only(declared...))), text(c.Run(poisoned))
			if !slices.Equal(want, got) {
				t.Errorf("%s on %s: with nothing else\n\t%v\nwith other groups\n\t%v", c.Name, name, want, got)
			}
		}
	}
}

// groupFields is which field of Facts each group is.
func groupFields() map[facts.Group]int {
	fields := map[facts.Group]int{}
	for i, f := range reflect.VisibleFields(reflect.TypeFor[facts.Facts]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); slices.Contains(facts.Groups(), facts.Group(name)) {
			fields[facts.Group(name)] = i
		}
	}
	return fields
}

func text(fs []Finding) []string {
	var out []string
	for _, x := range fs {
		line := fmt.Sprint(x.Certainty, x.Remark, x.Affects, x.Summary, x.Evidence, x.Settle)
		for _, fix := range x.Fixes {
			line += fix.Do + fix.Risk + strings.Join(spell(fix), ", ")
		}
		out = append(out, line)
	}
	return out
}

// Without what it merely uses a check may say less. It never breaks, and never
// puts at the head what with more sight was nothing, or a remark.
func TestLosingWhatIsMerelyUsed(t *testing.T) {
	for name, f := range everything(t) {
		full := Diagnose(f)
		allowed := map[string]bool{}
		for _, c := range full.Causes {
			allow(allowed, c.Check)
		}
		for _, c := range causes {
			for _, g := range c.Uses {
				if _, missing := lacks(f, c); missing || !f.Has(g) || c.Intent != "" && c.Intent != f.Target.Intent {
					continue
				}
				less := f.Without(g)
				if _, err := run(c, less); err != nil {
					t.Errorf("%s on %s without %s: %v", c.Name, name, g, err)
				}
				less.Absent = maps.Clone(less.Absent)
				if less.Absent == nil {
					less.Absent = map[facts.Group]facts.Absence{}
				}
				less.Absent[g] = facts.Absence{Why: facts.CouldNot, Reason: "removed by the test"}
				if fs, _ := run(c, less); len(fs) == 0 || len(full.Causes) > 0 {
					continue // nothing that the diagnosis could put at the head
				}
				for _, x := range Diagnose(less).Causes {
					if x.Check == c && x.State == Active && !allowed[c.Name] {
						t.Errorf("%s without %s: %s is an active cause, and with it there was none: %v", name, g, c.Name, told(full))
					}
				}
			}
		}
	}
}

// No check breaks on the least there can be.
func TestChecksBearEmptyFacts(t *testing.T) {
	for _, intent := range []facts.Intent{facts.Connect, facts.ToBind} {
		empty := &facts.Facts{Target: facts.Target{Network: "tcp", Port: port, Intent: intent, Addresses: []facts.Address{{Addr: v4Loopback, Expected: true}, {Addr: v6Loopback, Expected: true}}},
			Names: &facts.Names{}, Interfaces: &facts.Interfaces{}, Routes: &facts.Routes{Lookups: []facts.Route{{To: v4Loopback}}}, Dials: []facts.Dial{{}, {Addr: v4Loopback, Outcome: facts.Connected}},
			Ledger: []facts.Ledger{{Addr: v4Loopback}}, Packets: &facts.Packets{Conversations: []facts.Conversation{{}}}, Sockets: &facts.Sockets{Sockets: []facts.Socket{{}, {Network: "tcp", State: facts.Listen, Local: addr("127.0.0.1"), Inode: 1}}},
			Owners: &facts.Owners{Holders: map[uint64][]facts.Holder{1: {{PID: 5}}}}, Binds: []facts.Bind{{}}, Limits: &facts.Limits{}, Namespaces: &facts.Namespaces{Found: []facts.Namespace{{}}}, Proxies: &facts.Proxies{}, Listeners: &facts.Sockets{},
			Spare: []facts.SparePort{{}}, ReusePort: []facts.Bind{{}}, Candidates: &facts.Candidates{Found: []facts.Candidate{{}}}, Units: &facts.Units{Units: []facts.Unit{{}}},
			Containers: &facts.Containers{Found: []facts.Container{{}}}, Configs: &facts.Configs{Lines: []facts.ConfigLine{{}}}, UnixSockets: &facts.UnixSockets{Found: []facts.UnixSocket{{}}},
			Environment: &facts.Environment{Variables: []facts.Variable{{}}}, Conntrack: &facts.Conntrack{Replies: []facts.ReplyTuple{{}}},
			Answers: []facts.Answer{{}}, Work: &facts.Work{Processes: []facts.Worker{{}}}, Forwards: &facts.Forwards{Found: []facts.Forward{{Far: []facts.FarEnd{{}}}}},
			Filters: &facts.Filters{Engines: []facts.FilterEngine{{}}, Walks: []facts.FilterWalk{{Stops: []facts.FilterStop{{}}, Unsure: []facts.FilterDoubt{{}}, Diverts: []facts.FilterDivert{{}}}}, Traced: []facts.FilterTrace{{}}}}
		for _, g := range facts.Groups() {
			if !empty.Has(g) {
				t.Errorf("%s is missing from this test", g)
			}
		}
		for _, c := range slices.Concat(symptoms, causes) {
			if _, err := run(c, empty); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		}
	}
}

// What may be run is safe to run: a signal is guarded against a reused number,
// whatever is not a signal can be undone, nothing needs a shell, and loopdoctor
// never advises to stop what it runs in.
func TestEveryFixIsSafe(t *testing.T) {
	for name, f := range everything(t) {
		for _, c := range causes {
			for _, x := range found(t, c, f) {
				for _, fix := range x.Fixes {
					if fault := unsafe(f, fix); fault != "" {
						t.Errorf("%s on %s: %s: %+v", c.Name, name, fault, fix)
					}
				}
			}
		}
	}
}

func unsafe(f *facts.Facts, fix Fix) string {
	if fix.Do == "" {
		return "it does not say what it does"
	}
	if len(fix.Steps)+len(fix.Files) == 0 {
		if len(fix.Undo) > 0 || fix.Elevated || fix.Lasts != "" || fix.Guard != nil {
			return "there is nothing to run, and yet something about running it"
		}
		return ""
	}
	for _, v := range fix.Steps {
		switch v[0] {
		case "kill":
			p := f.Owners.Process(pidOf(v))
			if p == nil && f.Forwards != nil {
				p = f.Forwards.Owners.Process(pidOf(v)) // one hop further
			}
			switch {
			case fix.Guard == nil || fix.Guard.Started.IsZero():
				return "a signal without a guard"
			case v[1] == "-CONT" && slices.ContainsFunc(fix.Steps, func(s []string) bool { return slices.Contains(s, "-TERM") }): // so that it can end
			case len(v) != 3 || p == nil:
				return "a signal to a process that was not seen"
			case p.Me:
				return "a signal to what loopdoctor runs in"
			case !fix.Elevated && p.UID != f.Host.As[0].UID:
				return "a signal to somebody else's process without root"
			case v[1] == "-CONT" && len(fix.Undo) == 0:
				return "it cannot be undone"
			}
		case "env", "ip", "tc", "sysctl", "cp", "sed", "chmod", "nft", "ufw", "firewall-cmd", "fail2ban-client",
			"iptables", "ip6tables", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy":
			if !fix.Elevated || len(fix.Undo) == 0 || fix.Lasts == "" {
				return "it changes the system: as root, with an undo, and for how long"
			}
		case "awk": // it writes one value into one file
			if len(v) != 2 || !oneValue.MatchString(v[1]) || !fix.Elevated || len(fix.Undo) == 0 || fix.Lasts == "" {
				return "it changes a cgroup: as root, with an undo, and for how long"
			}
		case "prlimit":
			if fix.Guard == nil || fix.Guard.Started.IsZero() || len(fix.Undo) == 0 {
				return "it changes a process: with a guard and an undo"
			}
		case "systemctl", "supervisorctl", "docker", "podman", "nerdctl":
			// A restart changes nothing that could be put back, and has to say what it interrupts.
			again := slices.Contains(v, "restart") && fix.Interrupts != "" || slices.Contains(v, "reload")
			if len(fix.Undo) == 0 && !again || fix.Lasts == "" {
				return "it starts or stops a service: with an undo, and for how long"
			}
			if !fix.Elevated && v[0] == "systemctl" && v[1] != "--user" {
				return "only root may ask the system's manager"
			}
		case "mkdir": // for the file that is written there
			if len(fix.Files) == 0 || len(fix.Undo) == 0 || fix.Lasts == "" {
				return "it makes a directory: for a file, with an undo, and for how long"
			}
		case "git": // a setting of the person's own
			if len(fix.Undo) == 0 || fix.Lasts == "" {
				return "it changes a file: with an undo, and for how long"
			}
		case "ss": // -K: a connection that is gone cannot be brought back
			if !fix.Elevated {
				return "only root may destroy sockets"
			}
		default:
			return "an unknown program: " + v[0]
		}
	}
	for _, v := range slices.Concat(fix.Steps, fix.Undo) {
		for _, a := range v {
			if filterTool(v[0]) && slices.Contains([]string{"flush", "-F", "-X", "-P", "--flush", "--policy", "disable", "policy", "stop"}, a) {
				return "more than the rule: " + strings.Join(v, " ")
			}
		}
	}
	if len(fix.Files) > 0 && len(fix.Undo) == 0 {
		return "a file is changed for good"
	}
	return ""
}

var oneValue = regexp.MustCompile(`^BEGIN \{ print "[0-9a-zA-Z -]+" > "/sys/fs/cgroup/[\w/.@:-]+" \}$`)

func filterTool(name string) bool {
	return name == "nft" || name == "ufw" || name == "firewall-cmd" || strings.HasPrefix(name, "iptables") || strings.HasPrefix(name, "ip6tables")
}

func pidOf(v []string) int {
	n := 0
	fmt.Sscan(v[len(v)-1], &n)
	return n
}
