package host

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netns"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/systemd"
)

const (
	// roomsTime bounds the look at what made the namespaces of units.
	roomsTime = 200 * time.Millisecond
	// maxRooms is of how many units the files are read.
	maxRooms = 8
)

// lookNamespaces finds listeners on the port in other network namespaces, and of a
// unit's why it has one of its own.
func lookNamespaces(ctx context.Context, port uint16) (*facts.Namespaces, error) {
	ns, err := netns.Find(ctx, port)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, roomsTime)
	defer cancel()
	units := 0
	for i := range ns.Found {
		n := &ns.Found[i]
		if n.Room.Kind != "unit" || units == maxRooms {
			continue
		}
		units++
		unitNetwork(ctx, &n.Room)
		if n.Room.Setting == "" && n.Name != "" {
			n.Room = facts.Room{Kind: "ip netns", Name: n.Name} // its program went there by itself
		}
	}
	return ns, nil
}

// unitNetwork reads the files of the unit.
func unitNetwork(ctx context.Context, room *facts.Room) {
	dirs, place := systemd.Directories, "/etc/systemd/system"
	if room.Manager == "systemd --user" {
		m, done, err := openManager(fmt.Sprintf("/run/user/%d/systemd/private", room.UID), room.UID, false)
		if err != nil {
			return
		}
		defer done()
		if dirs, err = m.Directories(); err != nil {
			return
		}
		dirs, place = dirs[:min(len(dirs), 50)], ""
		for _, d := range dirs {
			// The others are the system's, or gone when the session ends.
			if place == "" && strings.HasSuffix(d, "/.config/systemd/user") {
				place = d
			}
		}
	}
	var u systemd.Unit
	var err error
	if failed := asUser(room.UID, func() { u, err = systemd.Find(ctx, dirs, room.Name) }); failed != nil || err != nil {
		return
	}
	room.Setting = process.Tidy(u.Network())
	if place != "" {
		room.DropIns = path.Join(place, room.Name+".d")
	}
}
