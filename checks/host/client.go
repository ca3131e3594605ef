package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The clients whose view is taken: who they are, and whether loopdoctor can be
// them.

// User is the client that the user of that name is, with the groups that login
// gives it.
func User(name string) (facts.Identity, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return facts.Identity{}, errors.New("no user has this name here (a uid is written +1000)")
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil { // a SID of Windows
		return facts.Identity{}, errors.New("users have no numbers here")
	}
	return UID(uint32(uid)), nil
}

// UID is the client that the user of that number is. One without a name has a
// group of the same number and no other.
func UID(uid uint32) facts.Identity {
	id := facts.Identity{UID: uid, GID: uid}
	u, err := user.LookupId(fmt.Sprint(uid))
	if err != nil {
		return id
	}
	id.User = u.Username
	if n, err := strconv.ParseUint(u.Gid, 10, 32); err == nil {
		id.GID = uint32(n)
	}
	groups, _ := u.GroupIds()
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil && uint32(n) != id.GID {
			id.Groups = append(id.Groups, uint32(n))
		}
	}
	return id
}

// Process is the client that the process of that number is.
func Process(pid int) (facts.Identity, error) {
	if here.process == nil {
		return facts.Identity{}, errors.New("processes cannot be looked at here")
	}
	return here.process(pid)
}

// Try finds out whether loopdoctor can be the client, before anything is looked
// at: who asks as somebody else never gets an answer about oneself.
func Try(id facts.Identity) error {
	if here.try != nil {
		return here.try(id)
	}
	if own := os.Getuid(); own >= 0 && uint32(own) != id.UID {
		return errors.New("no other user can be taken on this system")
	}
	return nil
}

// Enter goes to the network namespace of the clients if that is another one, since
// everything looked at here would be about another localhost. That begins the
// program anew: where there is something to do, and it can be done, it does not
// return.
func Enter(as []facts.Identity) error {
	i := slices.IndexFunc(as, func(id facts.Identity) bool { return id.NetNS != 0 })
	if i < 0 || here.enter == nil {
		return nil
	}
	for _, id := range as {
		if id.PID != 0 && id.NetNS != as[i].NetNS { // a user lives in none, and comes along
			return fmt.Errorf("%s and %s live in two network namespaces, each with a localhost of its own: ask about one at a time", as[i].Name(), id.Name())
		}
	}
	if err := here.enter(as[i]); err != nil {
		return fmt.Errorf("%s: %w", as[i].Name(), err)
	}
	return nil
}

// Second is what main calls first: in a loopdoctor that another one has started as
// its helper, it does that work and does not return.
func Second() {
	if here.second != nil {
		here.second()
	}
}

// client is one whose view is taken, ready to connect.
type client struct {
	facts.Identity
	socket makeSocket // nil: as every socket is made
}

// makeSocket makes a socket of that family and type.
type makeSocket = func(family, kind int) (int, error)

// inCgroups prepares the clients whose cgroup is another than ours.
func inCgroups(as []facts.Identity, forbidden bool) (sockets map[int]makeSocket, end func()) {
	sockets = map[int]makeSocket{}
	var ends []func()
	for i := range as {
		if as[i].Cgroup != "" && here.cgroup != nil {
			socket, end := here.cgroup(&as[i], forbidden)
			sockets[as[i].PID] = socket
			ends = append(ends, end)
		}
	}
	return sockets, func() {
		for _, end := range ends {
			end()
		}
	}
}

// client is that identity, ready to connect.
func (l *look) client(id facts.Identity) client { return client{id, l.sockets[id.PID]} }

// routesOfWhoFails looks at the routes once more, since rules may go by the user:
// those of the first client say nothing where that one connects and another does not.
func (l *look) routesOfWhoFails(ctx context.Context, open []connection) {
	first := l.f.Host.As[0].UID
	fails := func(c connection) bool {
		d := c.Fact()
		return !d.Outcome.Works() && d.Outcome != facts.Skipped && expected(l.f.Target, d.Addr)
	}
	i := slices.IndexFunc(open, fails)
	if i >= 0 && open[i].Fact().As != first && !slices.ContainsFunc(open, func(c connection) bool { return fails(c) && c.Fact().As == first }) {
		l.routesOf(ctx, open[i].Fact().As)
	}
}
