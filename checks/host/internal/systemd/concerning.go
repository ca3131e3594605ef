package systemd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Concern is a unit that has to do with the port.
type Concern struct {
	Unit  Unit
	About string
	Sure  bool // its configuration makes it serve the port
}

// Instances are the patterns of template instances that may have to do with the
// port: app@62893.service, postgresql@15-main.service.
func Instances(port uint16) []string {
	patterns := []string{fmt.Sprintf("*@%d.service", port), fmt.Sprintf("*@%d.socket", port)}
	for _, name := range usual[port] {
		patterns = append(patterns, name+"@*.service")
	}
	return patterns
}

// Concerning picks the units that concern the port. loaded names the loaded
// instances of templates. The usual owner of a port counts where no unit says of
// itself that it serves the port.
func Concerning(all []Unit, loaded []string, port uint16, read func(file string) []byte) []Concern {
	var found []Concern
	byName := map[string]Unit{}
	for _, u := range all {
		byName[u.Name] = u
	}
	add := func(u Unit, about string, sure bool) {
		if !slices.ContainsFunc(found, func(c Concern) bool { return c.Unit.Name == u.Name }) {
			found = append(found, Concern{u, about, sure})
		}
	}
	for _, name := range loaded {
		if u, ok := instance(byName, name); ok {
			if c := u.Serves(port, read); c != nil {
				add(u, c.Text, c.Sure)
			}
		}
	}
	for _, u := range all {
		if strings.Contains(u.Name, "@.") {
			continue // a template is started as its instances
		}
		if c := u.Serves(port, read); c != nil {
			add(u, c.Text, c.Sure)
		}
	}
	for _, c := range slices.Clone(found) {
		if u, ok := byName[c.Unit.Triggers()]; ok {
			add(u, "started by "+c.Unit.Name, c.Sure)
		}
	}
	slices.SortStableFunc(found, func(a, b Concern) int { // what is sure comes first
		return cmp.Compare(btoi(b.Sure), btoi(a.Sure))
	})
	if len(found) > 0 && found[0].Sure {
		return found
	}
	about := fmt.Sprintf("usual owner of port %d", port)
	for _, name := range usual[port] {
		if u, ok := byName[name+".service"]; ok {
			add(u, about, false)
		}
		for _, l := range loaded {
			if u, ok := instance(byName, l); ok && strings.HasPrefix(l, name+"@") {
				add(u, about, false)
			}
		}
	}
	return found
}

// instance is the unit of that name, made of its template (systemd.unit(5): %i
// and %I are what stands behind the @).
func instance(byName map[string]Unit, name string) (Unit, bool) {
	at, dot := strings.IndexByte(name, '@'), strings.LastIndexByte(name, '.')
	if at < 0 || dot < at {
		u, ok := byName[name]
		return u, ok
	}
	u, ok := byName[name[:at+1]+name[dot:]]
	if !ok {
		return u, false
	}
	u.Name = name
	u.Settings = slices.Clone(u.Settings)
	for i := range u.Settings {
		u.Settings[i].Value = strings.NewReplacer("%i", name[at+1:dot], "%I", name[at+1:dot]).Replace(u.Settings[i].Value)
	}
	return u, true
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
