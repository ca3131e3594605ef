package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host"
	"github.com/loopdoctor/loopdoctor/report"
)

// place is where to look from, if that is another place than loopdoctor's own. One of
// them at most is given.
type place struct {
	pid, container, netns, pod string
}

func (w *place) flags(f *pflag.FlagSet) {
	f.StringVar(&w.pid, "pid", "", "look from inside the namespaces of the process `PID`")
	f.StringVar(&w.container, "container", "", "look from inside the container `NAME|ID`")
	f.StringVar(&w.netns, "netns", "", "look from inside the network namespace `PATH|NAME`, of \"ip netns\" or any other")
	f.StringVar(&w.pod, "pod", "", "look from inside the Kubernetes pod `NAMESPACE/NAME[/CONTAINER]` of this node")
}

var places = []string{"pid", "container", "netns", "pod"}

func (w *place) all() []string { return []string{w.pid, w.container, w.netns, w.pod} }

// name is the flag that is given, empty if none is.
func (w *place) name() string {
	for i, value := range w.all() {
		if value != "" {
			return places[i]
		}
	}
	return ""
}

// check finds bad usage.
func (w *place) check(as []string, given func(string) bool) error {
	var names []string
	for i, value := range w.all() {
		switch {
		case !given(places[i]):
		case value == "":
			return fmt.Errorf("--%s: the name is empty", places[i])
		default:
			names = append(names, "--"+places[i])
		}
	}
	switch {
	case len(names) == 0:
		return nil
	case len(names) > 1:
		return fmt.Errorf("%s contradict each other: there is one place to look from", strings.Join(names, " and "))
	case slices.ContainsFunc(as, isNumber):
		return fmt.Errorf("--as %s and %s contradict each other: a process is looked from where it lives", as[slices.IndexFunc(as, isNumber)], names[0])
	case len(as) > 1 && w.netns == "":
		return fmt.Errorf("%s looks as one client: give --as once", names[0])
	}
	if pid, err := strconv.ParseUint(w.pid, 10, 31); w.pid != "" && (err != nil || pid == 0) {
		return fmt.Errorf("--pid %s: that is no process number", w.pid)
	}
	if parts := strings.Split(w.pod, "/"); w.pod != "" && (len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "")) {
		return fmt.Errorf("--pod %s: write NAMESPACE/NAME, or NAMESPACE/NAME/CONTAINER", w.pod)
	}
	return nil
}

// goTo finds the place, and those whose view is taken there, and goes to it. Where
// that means another network, loopdoctor begins anew there: it does not return then,
// and once it has, there is nowhere to go.
func (p *program) goTo(o *options) (host.Spot, []facts.Identity, error) {
	flag := o.place.name()
	value := o.place.all()[slices.Index(places, flag)]
	failed := func(err error) (host.Spot, []facts.Identity, error) {
		err = fmt.Errorf("--%s %s: %w", flag, value, err)
		var none *host.NoPlaceError
		var many *host.ManyMeantError
		if !errors.As(err, &none) && !errors.As(err, &many) { // these are bad usage, as is --as of nobody
			err = fail(err)
		}
		return host.Spot{}, nil, err
	}
	forbidden := func(err error) error {
		if os.Geteuid() == 0 {
			return fmt.Errorf("not permitted, even as root (%w): run it outside of the sandbox", err)
		}
		return fmt.Errorf("to look from there needs root: sudo loopdoctor %s", report.Command(p.args))
	}
	spot, err := host.Find(host.Place{Kind: flag, Name: value})
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		err = fmt.Errorf("%w; root sees more: sudo loopdoctor %s", err, report.Command(p.args))
	}
	if err != nil {
		return failed(err)
	}
	var users []facts.Identity
	if len(o.as) > 0 || spot.Client.PID == 0 {
		if users, err = identities(o.as, p.env, os.Geteuid()); err != nil {
			return host.Spot{}, nil, err
		}
	}
	as := spot.As(users)
	for _, id := range as {
		if err := host.Try(id); err != nil && id.Named {
			return failed(forbidden(err))
		}
	}
	if err := spot.Go(); errors.Is(err, fs.ErrPermission) {
		return failed(forbidden(err))
	} else if err != nil {
		return failed(err)
	}
	return spot, as, nil
}
