package facts

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// Has, Only and Without each list the groups once more: a new one that is
// forgotten in one of them shows here.
func TestEveryGroupIsAField(t *testing.T) {
	full := reflect.ValueOf(fill(t)).Elem()
	fields := map[Group]string{}
	for i := range full.NumField() {
		field := full.Type().Field(i)
		switch field.Name {
		case "Time", "ElapsedMS", "Target", "Host", "Absent":
			continue
		}
		name, option, _ := strings.Cut(field.Tag.Get("json"), ",")
		if option != "omitempty" {
			t.Errorf("%s: a group that is absent must not be written", field.Name)
		}
		fields[Group(name)] = field.Name
	}
	var names []Group
	for g := range fields {
		names = append(names, g)
	}
	groups := slices.Sorted(slices.Values(Groups()))
	slices.Sort(names)
	if !slices.Equal(groups, names) {
		t.Fatalf("groups %v, fields %v", groups, names)
	}
	f := full.Addr().Interface().(*Facts)
	for _, g := range groups {
		if (&Facts{}).Has(g) || !f.Has(g) {
			t.Errorf("Has(%s) looks at the wrong field", g)
		}
		only, without := f.Only(g), f.Without(g)
		for _, other := range groups {
			if only.Has(other) != (other == g) {
				t.Errorf("Only(%s): Has(%s) is %v", g, other, only.Has(other))
			}
			if without.Has(other) != (other != g) {
				t.Errorf("Without(%s): Has(%s) is %v", g, other, without.Has(other))
			}
		}
		field := func(f *Facts) any { return reflect.ValueOf(f).Elem().FieldByName(fields[g]).Interface() }
		if !reflect.DeepEqual(field(only), field(f)) {
			t.Errorf("Only(%s) holds something else in %s", g, fields[g])
		}
	}
}

// What is known about the target and the machine belongs to no group.
func TestOnlyKeepsWhatIsNoGroup(t *testing.T) {
	f := fill(t)
	c := f.Only()
	for _, name := range []string{"Time", "ElapsedMS", "Target", "Host", "Absent"} {
		field := func(f *Facts) any { return reflect.ValueOf(f).Elem().FieldByName(name).Interface() }
		if !reflect.DeepEqual(field(c), field(f)) {
			t.Errorf("Only() loses %s", name)
		}
	}
	if f.Has("weather") || f.Only("weather").Has(GroupNames) {
		t.Error("a group that does not exist is there")
	}
	if !reflect.DeepEqual(f.Without(), f) || !reflect.DeepEqual(f.Only(Groups()...), f) {
		t.Error("with every group it is not the same")
	}
}

// A recording made here is judged elsewhere: not a field may be lost on the way.
func TestRecordingIsLossless(t *testing.T) {
	r := Recording{Schema: Schema, Version: "1.2.3", Facts: []*Facts{fill(t), {Target: Target{Raw: "1"}}}}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Recording
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, r) {
		again, _ := json.Marshal(back)
		t.Errorf("wrote\n%s\nread\n%s", data, again)
	}
}

// Nothing that was seen may turn into something that was not looked at: an empty
// list that says "none" has to survive, or be no group of its own.
func TestNothingFoundIsStillSeen(t *testing.T) {
	f := &Facts{Sockets: &Sockets{}, Owners: &Owners{}, Namespaces: &Namespaces{}, Proxies: &Proxies{}, Packets: &Packets{}, Names: &Names{}, Interfaces: &Interfaces{}, Routes: &Routes{}, Limits: &Limits{}, Listeners: &Sockets{}}
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var back Facts
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	for _, g := range Groups() {
		if f.Has(g) != back.Has(g) {
			t.Errorf("%s: seen %v, after the recording %v", g, f.Has(g), back.Has(g))
		}
	}
}

// fill puts something into every field there is, at any depth.
func fill(t *testing.T) *Facts {
	t.Helper()
	f := &Facts{}
	n := 0
	put(t, reflect.ValueOf(f).Elem(), &n)
	return f
}

func put(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(*n), 5).UTC()))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{127, 0, 0, byte(*n)})))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.AddrPortFrom(netip.IPv6Loopback(), uint16(*n))))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("::1/128")))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		put(t, v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			put(t, v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			put(t, v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			put(t, key, n)
			put(t, value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text <&> ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.25)
	default:
		t.Fatalf("a field of kind %s: teach this test", v.Kind())
	}
}

func TestExpectedAddresses(t *testing.T) {
	target := Target{Addresses: []Address{{Addr: netip.MustParseAddr("127.0.0.1")}, {Addr: netip.MustParseAddr("::1"), Expected: true}}}
	if got := target.Expected(); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("::1")}) {
		t.Errorf("got %v", got)
	}
	if got := (Target{}).Expected(); len(got) != 0 {
		t.Errorf("got %v for no address", got)
	}
}

func TestIsLocalhost(t *testing.T) {
	for name, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "localhost.": true, "app.localhost": true, "a.b.localhost.": true, "localhost.localdomain": true, "x.localhost.localdomain": true,
		"": false, "notlocalhost": false, "localhost.example": false, "localhost4": false, "127.0.0.1": false, ".": false, "localdomain": false,
	} {
		if got := IsLocalhost(name); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}

func TestReservedPorts(t *testing.T) {
	for list, want := range map[string]bool{"": false, "62893": true, "5000,62893,62900": true, "62000-62999": true, "5000,62000-62893": true,
		"6289": false, "62894-62999": false, "x,-,62893-": false, "99999-100000": false, " 62893 ": true} {
		if got := (&Limits{Reserved: list}).IsReserved(62893); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
}
