package compare

import (
	"cmp"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// background is where, as whom and with what a side looked.
func background(s *Side) topic {
	out := topic{name: "background"}
	r := s.Report
	out.add("system", strings.TrimSpace(r.Host.OS+" "+r.Host.Arch))
	out.add("kernel", r.Host.Kernel)
	out.add("loopdoctor", r.Version)
	out.add("looked from", cmp.Or(r.Host.Vantage, "not known"))
	var who []string
	for _, id := range r.Host.As {
		who = append(who, id.Name)
	}
	out.add("as", cmp.Or(strings.Join(who, ", "), "not known"))
	privileged := "no"
	if len(r.Host.LookedWith) > 0 {
		privileged = "yes"
	}
	out.add("with privileges", privileged)
	if len(s.Facts) > 0 {
		surroundings(&out, s.Facts[0])
	}
	return out
}

// surroundings is what only facts tell of the machine.
func surroundings(out *topic, f *facts.Facts) {
	in := f.Host.Inside
	for _, x := range []struct{ what, text string }{
		{"WSL", in.WSL}, {"virtual machine", in.VM}, {"job of", in.CI}, {"remote", in.Remote}, {"inside", in.Room.String()},
		{"asked for", cmp.Or(f.Target.URL, string(f.Target.Speak))},
	} {
		if x.text != "" {
			out.add(x.what, x.text)
		}
	}
	if f.Interfaces != nil {
		for _, i := range f.Interfaces.Others {
			if i.Kind != "veth" { // of a container, under another name each time
				out.add("interface "+i.Name, up(i))
			}
		}
	}
}

func up(i facts.Interface) string {
	text := "down"
	if i.Up {
		text = "up"
	}
	return strings.TrimPrefix(i.Kind+", "+text, ", ")
}
