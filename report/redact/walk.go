package redact

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// way is how the text of a field is treated.
type way int

const (
	asText    way = iota // everything in it that is known is replaced: what a field is that nobody named
	asEnum               // one of few words of the kernel or of loopdoctor: a user or a host that is called so changes no text
	asVersion            // looks like an address, and is none
	asUser
	asHost
	asHosts     // a line of a hosts file
	asAccess    // a line that says who may connect
	asArgs      // a command line
	asPrint     // the fingerprint of a certificate
	asSubject   // a distinguished name
	asValue     // of a header, a variable or a setting, by the name beside it
	asFrame     // the headers of a packet, whose addresses are blank
	asContainer // a name that stays, and makes hosts of that name stay
)

// ways says which fields are no free text. Types of strings with a name of their own
// (facts.Outcome and the like) are words of loopdoctor, and need no line.
var ways = sync.OnceValue(func() map[string]way {
	return map[string]way{
		"Recording.Version": asVersion, "Host.Kernel": asVersion, "Engine.Version": asVersion,

		"Host.OS": asEnum, "Host.Arch": asEnum, "Target.Network": asEnum, "ClientError.Errno": asEnum, "ClientError.Symptom": asEnum, "ClientError.Names": asEnum,
		"Dial.Errno": asEnum, "Dial.ICMP": asEnum, "Dial.Closed": asEnum, "ServerSide.State": asEnum, "Conversation.Network": asEnum, "Packet.Flags": asEnum, "Packet.ICMP": asEnum,
		"Bind.Errno": asEnum, "Socket.Network": asEnum, "Route.Type": asEnum, "Route.Errno": asEnum, "TableRow.Type": asEnum, "Rule.Action": asEnum,
		"Interface.Qdisc": asEnum, "Interface.XDPMode": asEnum, "Interface.Kind": asEnum, "NotReady.Why": asEnum,
		"Qdisc.Kind": asEnum, "Qdisc.Parent": asEnum, "Filter.At": asEnum, "Filter.Protocol": asEnum, "Filter.Kind": asEnum, "NameServer.Rcode": asEnum, "NameSwitch.Sources": asEnum,
		"FilterEngine.Name": asEnum, "FilterRule.Engine": asEnum, "FilterRule.Family": asEnum, "FilterRule.Hook": asEnum, "FilterWalk.Packet": asEnum,
		"FilterStop.Where": asEnum, "FilterStop.Verdict": asEnum, "FilterDoubt.Where": asEnum, "FilterDoubt.Verdict": asEnum, "FilterDivert.Kind": asEnum,
		"FilterTrace.Packet": asEnum, "FilterTrace.Where": asEnum, "FilterTrace.Verdict": asEnum, "FilterTrace.How": asEnum,
		"Container.Engine": asEnum, "Container.State": asEnum, "Container.Health": asEnum, "Engine.Name": asEnum, "Room.Kind": asEnum, "Room.Engine": asEnum,
		"Inside.WSL": asEnum, "Inside.VM": asEnum, "Inside.CI": asEnum, "Inside.Remote": asEnum, "Inside.Health": asEnum,
		"Unit.Manager": asEnum, "Unit.State": asEnum, "Unit.Sub": asEnum, "Unit.Result": asEnum, "Unit.Enabled": asEnum,
		"Answer.Protocol": asEnum, "Answer.Errno": asEnum, "Handshake.Version": asEnum, "Handshake.ALPN": asEnum, "Handshake.Alert": asEnum, "Handshake.NotTrusted": asEnum,
		"DNSAnswer.RCode": asEnum, "Attempt.Network": asEnum, "Attempt.Errno": asEnum, "Met.Signal": asEnum, "ConfigLine.Program": asEnum, "Process.State": asEnum,
		"Worker.State": asEnum, "Worker.WaitsIn": asEnum, "Worker.Waits": asEnum, "Worker.StuckIn": asEnum, "CgroupState.Pressure": asEnum,
		"Ledger.Delta": asEnum, "Ledger.Missing": asEnum, "Ledger.Outcomes": asEnum, "Conntrack.Dropped": asEnum, "Conntrack.Total": asEnum, "Variable.Name": asEnum, "Header.Name": asEnum,

		"Identity.User": asUser, "Process.User": asUser, "Socket.User": asUser,
		"Names.Name": asHost, "Target.Host": asHost, "ConfigLine.Host": asHost, "Certificate.Names": asHost,
		"HostsLine.Text": asHosts, "AccessLine.Text": asAccess,
		"Process.Args": asArgs, "Met.Args": asArgs, "Container.Check": asArgs, "Inside.Check": asArgs,
		"Certificate.SHA256": asPrint, "Certificate.Subject": asSubject, "Certificate.Issuer": asSubject,
		"Header.Value": asValue, "Variable.Value": asValue, "ProxySetting.Value": asValue,
		"Container.Name": asContainer, "Container.Service": asContainer, "Container.Project": asContainer, "Unit.Name": asContainer, "Process.Name": asContainer, "Process.Unit": asContainer,
		"Room.Name": asContainer, "Room.Service": asContainer, "Room.Project": asContainer, "Namespace.Name": asContainer, "Interface.Name": asContainer,
	}
})

// wayOf tells how a field is treated. Bytes that are called Header are those of a packet.
func wayOf(t reflect.Type, f reflect.StructField) way {
	if f.Type == bytesType && f.Name == "Header" {
		return asFrame
	}
	return ways()[t.Name()+"."+f.Name]
}

// walker copies facts, and shows the masker each text and each address on the way.
type walker struct {
	*masker
	turn turn
	os   string
}

// turn is what a walk is for.
type turn int

const (
	looking  turn = iota // for what is there that looks like a pseudonym, and for names that stay
	learning             // what has to be replaced
	writing
)

// walk learns from a recording, or returns its copy with everything replaced.
func (m *masker) walk(r *facts.Recording, t turn) *facts.Recording {
	clear(m.seen)
	w := &walker{masker: m, turn: t}
	out := w.value(reflect.ValueOf(r), asText, reflect.Value{})
	return out.Interface().(*facts.Recording)
}

var (
	addrType     = reflect.TypeFor[netip.Addr]()
	addrPortType = reflect.TypeFor[netip.AddrPort]()
	prefixType   = reflect.TypeFor[netip.Prefix]()
	timeType     = reflect.TypeFor[time.Time]()
	bytesType    = reflect.TypeFor[[]byte]()
)

// value returns a copy of v. in is the struct that it is a field of.
func (w *walker) value(v reflect.Value, how way, in reflect.Value) reflect.Value {
	t := v.Type()
	switch t {
	case timeType:
		return v
	case addrType:
		return reflect.ValueOf(w.address(v.Interface().(netip.Addr)))
	case addrPortType:
		a := v.Interface().(netip.AddrPort)
		if !a.Addr().IsValid() {
			return v
		}
		return reflect.ValueOf(netip.AddrPortFrom(w.address(a.Addr()), a.Port()))
	case prefixType:
		p := v.Interface().(netip.Prefix)
		if w.turn == learning && p.IsValid() {
			w.plan.see(p.Addr(), p.Bits())
		} else if w.turn == writing {
			p = w.prefix(p)
		}
		return reflect.ValueOf(p)
	case bytesType:
		var b []byte // of bytes nobody knows what they tell
		if how == asFrame {
			b = slices.Clone(v.Bytes())
		}
		return reflect.ValueOf(b)
	}
	out := reflect.New(t).Elem()
	switch v.Kind() {
	case reflect.String:
		if t.PkgPath() != "" && how == asText {
			how = asEnum
		}
		out.SetString(w.string(v.String(), how, in))
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		out.Set(v)
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(t.Elem()))
			out.Elem().Set(w.value(v.Elem(), how, in))
		}
	case reflect.Slice:
		if v.IsNil() {
			break
		}
		out.Set(reflect.MakeSlice(t, v.Len(), v.Len()))
		if how == asArgs && t.Elem().Kind() == reflect.String {
			for i, a := range w.args(v.Interface().([]string)) {
				out.Index(i).SetString(a)
			}
			break
		}
		for i := range v.Len() {
			out.Index(i).Set(w.value(v.Index(i), how, in))
		}
	case reflect.Map:
		if v.IsNil() {
			break
		}
		out.Set(reflect.MakeMapWithSize(t, v.Len()))
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		for _, k := range keys {
			out.SetMapIndex(w.value(k, how, in), w.value(v.MapIndex(k), how, in))
		}
	case reflect.Struct:
		if t == reflect.TypeFor[facts.Facts]() {
			w.os = v.FieldByName("Host").Interface().(facts.Host).OS
		}
		if w.turn == learning {
			w.special(v.Interface())
		}
		for i := range v.NumField() {
			if f := t.Field(i); f.IsExported() {
				out.Field(i).Set(w.value(v.Field(i), wayOf(t, f), v))
			}
		}
	}
	// What is of another kind is left out. A test knows when there is one.
	return out
}

func (w *walker) address(a netip.Addr) netip.Addr {
	if w.turn == writing {
		return w.addr(a)
	}
	if w.turn == learning && a.IsValid() {
		w.plan.see(a, -1)
	}
	return a
}

// string is what becomes of one text.
func (w *walker) string(s string, how way, in reflect.Value) string {
	if s == "" {
		return s
	}
	switch w.turn {
	case looking:
		w.glance(s, how)
		return s
	case learning:
		w.study(s, how)
		return s
	}
	switch how {
	case asVersion:
		return w.version(s)
	case asUser:
		s = w.userName(s)
	case asHost:
		s = w.hostName(s)
	case asHosts:
		s = hostsLine(s, w.hostName)
	case asAccess:
		s = access(s, w.userName, w.hostName)
	case asSubject:
		s = w.subject(s)
	case asValue:
		return w.named(s, in.FieldByName("Name").String())
	}
	return w.text(s)
}

// glance notes of one text what bears on how others are understood.
func (w *walker) glance(s string, how way) {
	switch how {
	case asEnum:
		w.enumerated(s)
	case asContainer:
		w.keep(s)
	}
	if !w.seen[s] {
		w.seen[s] = true
		if !perhapsLike(s) {
			return
		}
		for _, x := range like().FindAllString(s, -1) {
			w.taken[strings.ToLower(x)] = true
		}
	}
}

// study learns from one text.
func (w *walker) study(s string, how way) {
	switch how {
	case asVersion, asUser:
		return
	case asHost:
		w.host(s)
	case asHosts:
		s = hostsLine(s, func(n string) string { w.host(n); return n })
	case asAccess:
		access(s, func(u string) string { w.user(u); return u }, func(h string) string { w.host(h); return h })
		s = entryOf(s)
	case asPrint:
		if len(s) >= 8 && strings.Trim(s[:len(s)-6], "0") != "" {
			w.entry(Certificate, s)
		}
		return
	case asSubject:
		w.organizations(s)
	}
	w.learn(s)
}
