package host

import (
	"errors"
	"fmt"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The place to look from, where that is another one than loopdoctor's own: inside of
// a container, of a pod, of a network namespace, of a process.

// Spot is such a place.
type Spot struct {
	Room     facts.Room     // whose it is, as far as that is known
	Client   facts.Identity // the process that was found there; PID 0: none
	Path     string         // of the file that keeps the namespace, where no process does
	Etc      string         // directory whose files lie over those of /etc there
	netns    uint64         // its number, once loopdoctor went there by the file
	Networks []string       // as the engine told: see facts.Inside
	Health   string
	Check    []string
}

// Place is how a person names it.
type Place struct {
	Kind string // "pid", "container", "netns", "pod"
	Name string // "4121"; a name or the beginning of an id; a name or a path; "namespace/name[/container]"
}

// Find finds the place. Nothing has been looked at there yet.
func Find(p Place) (Spot, error) {
	if here.find == nil {
		return Spot{}, errors.New("there are no namespaces to look from on this system")
	}
	return here.find(p)
}

// Go goes to the network of the place. As Enter, it begins the program anew where
// there is something to do.
func (s Spot) Go() error {
	if here.enter == nil {
		return nil
	}
	if s.Path != "" {
		return here.enterFile(s.Path)
	}
	if s.Client.NetNS == 0 {
		return nil
	}
	return here.enter(s.Client)
}

// As is the client there: the process itself, or a user with what it sees.
func (s Spot) As(users []facts.Identity) []facts.Identity {
	if s.Client.PID == 0 {
		var as []facts.Identity
		for _, id := range users {
			id.Etc, id.NetNS = s.Etc, s.netns
			as = append(as, id)
		}
		return as
	}
	if len(users) == 0 {
		s.Client.Named = true
		return []facts.Identity{s.Client}
	}
	id := s.Client
	u := users[0]
	id.UID, id.GID, id.Groups, id.User, id.LowPort, id.Named = u.UID, u.GID, u.Groups, u.User, u.UID == 0, true
	return []facts.Identity{id}
}

// NoPlaceError says that what was named is not there, or is nothing to look from. Where it
// may be there and could not be seen, the error is another one.
type NoPlaceError struct{ Why string }

func (e *NoPlaceError) Error() string { return e.Why }

func noPlace(format string, args ...any) error { return &NoPlaceError{fmt.Sprintf(format, args...)} }

// ManyMeantError says that a name means several containers.
type ManyMeantError struct {
	Name string
	Are  []string // "shop-web-1 (docker, 3f2a9c1b7d5e)"
}

func (e *ManyMeantError) Error() string {
	return fmt.Sprintf("%s means several containers: %s; name one of them", e.Name, strings.Join(e.Are, ", "))
}

// tell writes down where loopdoctor looks from.
func (s Spot) tell(h *facts.Host) {
	if s.Room.Kind == "" {
		return
	}
	h.Inside.Room, h.Inside.Networks, h.Inside.Health, h.Inside.Check = s.Room, s.Networks, s.Health, s.Check
}
