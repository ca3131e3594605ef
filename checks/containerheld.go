package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A container has the port, or cannot get it.

var dockerPortAlreadyAllocated = &Check{
	Name:     "docker-port-already-allocated",
	Doc:      "a container has the port published already, or cannot be started since somebody else has it",
	Stage:    StageBind,
	Intent:   facts.ToBind,
	Needs:    []facts.Group{facts.GroupSockets, facts.GroupBinds, facts.GroupContainers},
	Uses:     []facts.Group{facts.GroupOwners, facts.GroupForwards, facts.GroupSpare},
	Explains: []*Check{cannotBind},
	Refines:  []*Check{portHeldByOtherApp},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, s := range listeners(f) {
			on := bindsLostTo(f, s)
			if len(on) == 0 {
				continue
			}
			p := publishedOn(f, s)
			waits := notStarted(f, p)
			if p == nil && waits == nil {
				continue
			}
			x := Finding{Affects: on, Certainty: Proven, Since: since(f, s), Evidence: heldEvidence(f, s)}
			if p != nil {
				x.Certainty = cond(p.sure(), Proven, Inferred)
				x.Summary = fmt.Sprintf("%s is published from %s already%s.", s.Local, theContainer(p.Container), heldWith(f, s))
				x.Evidence = append(x.Evidence, containerEvidence(f, p)...)
				x.Fixes = []Fix{stopContainer(p.Container)}
			} else {
				if holdOf(f, s) != heldPlainly {
					continue // that says more
				}
				x.Summary = fmt.Sprintf("%s listens on %s already, so %s cannot publish it.", shown(f, s), s.Local, theContainer(waits))
				x.Fixes = stopHolders(f, s, "Stop %s.")
			}
			if waits != nil {
				if p != nil {
					x.Summary = strings.TrimSuffix(x.Summary, ".") + fmt.Sprintf(", so %s cannot be started.", theContainer(waits))
				}
				x.Evidence = append(x.Evidence, Evidence{waits.Engine, fmt.Sprintf("%s: %s", theContainer(waits), tame(waits.Error, 300))})
				x.Fixes = append(x.Fixes, Fix{Do: fmt.Sprintf("Publish %s on another port%s.", containerCalled(waits), cond(spare(f) != 0, fmt.Sprintf(" (%d is free)", spare(f)), "")), Interrupts: "that container is made again"})
			} else {
				x.Fixes = append(x.Fixes, anotherPort(f))
			}
			fs = append(fs, x)
		}
		return allHaveToGo(mergeAddresses(f, fs))
	},
}

// heldWith names who holds a published port, if that is seen.
func heldWith(f *facts.Facts, s facts.Socket) string {
	if ps := f.Owners.Of(s); len(ps) > 0 {
		return fmt.Sprintf(": %s holds it", who(ps[0]))
	}
	return ""
}

// notStarted finds a container that its engine could not start because of the port.
func notStarted(f *facts.Facts, has *containerPort) *facts.Container {
	for i := range f.Containers.Found {
		c := &f.Containers.Found[i]
		says := strings.Contains(c.Error, "already allocated") || strings.Contains(c.Error, "already in use")
		about := slices.ContainsFunc(strings.FieldsFunc(c.Error, func(r rune) bool { return r == ' ' || r == ',' || r == '/' }), func(word string) bool {
			return strings.HasSuffix(strings.TrimRight(word, ".:"), fmt.Sprintf(":%d", f.Target.Port))
		})
		if says && about && !lives(c) && (has == nil || has.ID != c.ID) {
			return c
		}
	}
	return nil
}

// stopContainer frees the port that a container has published.
func stopContainer(c *facts.Container) Fix {
	x := Fix{Do: fmt.Sprintf("Stop %s.", containerCalled(c)), Interrupts: "whatever it does", Elevated: !c.Rootless, Lasts: Persistent}
	stop, start := onContainer(c, "stop"), onContainer(c, "start")
	if stop != nil && start != nil {
		x.Steps, x.Undo = [][]string{stop}, [][]string{start}
	}
	return x
}
