package systemd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// maxAnswer bounds what a manager may say in all. The properties of a service
// are about 20 KiB.
const maxAnswer = 4 << 20

// Manager is a connection to a systemd manager, or to the bus it is on. Of
// godbus only the messages are used: its connection reads in a goroutine of its
// own, where nobody could catch a panic.
type Manager struct {
	w      io.Writer
	r      *bufio.Reader
	serial uint32
}

// State is what a manager says of a unit.
type State struct {
	Load, Active, Sub, Result string
	Enabled, File             string
	Exit                      int
	Signal                    bool // Exit is one
	Restarts, MainPID         int
	Since                     time.Time
}

// Open introduces us: as a user to a manager's own socket, or to the bus.
//
//	C: \0AUTH EXTERNAL 30
//	C: BEGIN
//	S: OK 1234deadbeef
//
// BEGIN does not wait for the OK, as in systemd's own client: a manager that
// reads BEGIN together with the first call forgets the call.
func Open(rw io.ReadWriter, uid int, bus bool) (*Manager, error) {
	m := &Manager{w: rw, r: bufio.NewReader(io.LimitReader(rw, maxAnswer))}
	if _, err := fmt.Fprintf(rw, "\x00AUTH EXTERNAL %x\r\nBEGIN\r\n", strconv.Itoa(uid)); err != nil {
		return nil, fmt.Errorf("greet the manager: %w", err)
	}
	line, err := m.r.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("greet the manager: %w", err)
	}
	if !bytes.HasPrefix(line, []byte("OK ")) {
		return nil, fmt.Errorf("greet the manager: %w", errRejected)
	}
	if bus {
		if _, err := m.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello"); err != nil {
			return nil, err
		}
	}
	return m, nil
}

var errRejected = errors.New("rejected")

const (
	service = "org.freedesktop.systemd1"
	object  = "/org/freedesktop/systemd1"
	manager = service + ".Manager"
)

// Directories returns where the manager looks for units.
func (m *Manager) Directories() ([]string, error) {
	body, err := m.call(service, object, "org.freedesktop.DBus.Properties", "Get", manager, "UnitPath")
	if err != nil {
		return nil, err
	}
	v, _ := body[0].(dbus.Variant)
	dirs, ok := v.Value().([]string)
	if !ok {
		return nil, errors.New("read UnitPath: not a list")
	}
	return dirs, nil
}

// Matching lists the loaded units whose name fits one of the patterns, in the
// manner of glob(7).
func (m *Manager) Matching(patterns ...string) ([]string, error) {
	body, err := m.call(service, object, manager, "ListUnitsByPatterns", []string{}, patterns)
	if err != nil {
		return nil, err
	}
	rows, _ := body[0].([][]any) // a(ssssssouso): the name comes first
	var names []string
	for _, row := range rows {
		if len(row) > 0 {
			if name, ok := row[0].(string); ok {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// State asks for the state of a unit. One that is not loaded is not loaded by
// the question: it is inactive.
func (m *Manager) State(name string) (State, error) {
	s := State{Active: "inactive"}
	body, err := m.call(service, object, manager, "GetUnit", name)
	if e := (*refusal)(nil); errors.As(err, &e) && e.name == service+".NoSuchUnit" {
		body, err = m.call(service, object, manager, "GetUnitFileState", name)
		if err == nil {
			s.Enabled, _ = body[0].(string)
		}
		return s, nil
	}
	if err != nil {
		return s, err
	}
	unit, _ := body[0].(dbus.ObjectPath)
	p, err := m.properties(unit, service+".Unit")
	if err != nil {
		return s, err
	}
	s.Load, s.Active, s.Sub = p.text("LoadState"), p.text("ActiveState"), p.text("SubState")
	s.Enabled, s.File = p.text("UnitFileState"), p.text("FragmentPath")
	if usec := p.number("StateChangeTimestamp"); usec > 0 {
		s.Since = time.UnixMicro(usec).UTC()
	}
	kind := map[string]string{"service": ".Service", "socket": ".Socket"}[name[strings.LastIndexByte(name, '.')+1:]]
	if kind == "" {
		return s, nil
	}
	if p, err = m.properties(unit, service+kind); err != nil {
		return s, err
	}
	s.Result = p.text("Result")
	s.Restarts, s.MainPID, s.Exit = int(p.number("NRestarts")), int(p.number("MainPID")), int(p.number("ExecMainStatus"))
	s.Signal = p.number("ExecMainCode") >= 2 // CLD_KILLED, CLD_DUMPED
	return s, nil
}

type properties map[string]dbus.Variant

func (m *Manager) properties(unit dbus.ObjectPath, of string) (properties, error) {
	body, err := m.call(service, unit, "org.freedesktop.DBus.Properties", "GetAll", of)
	if err != nil {
		return nil, err
	}
	p, ok := body[0].(map[string]dbus.Variant)
	if !ok {
		return nil, fmt.Errorf("read properties of %s: not a map", unit)
	}
	return p, nil
}

func (p properties) text(key string) string {
	s, _ := p[key].Value().(string)
	return s
}

func (p properties) number(key string) int64 {
	switch n := p[key].Value().(type) {
	case int32:
		return int64(n)
	case uint32:
		return int64(n)
	case uint64:
		return int64(n)
	}
	return 0
}

// refusal is an error that the manager sent.
type refusal struct{ name, text string }

func (e *refusal) Error() string { return strings.TrimSpace(e.name + ": " + e.text) }

// call sends one question and returns the answer, which has at least one value.
func (m *Manager) call(dest string, path dbus.ObjectPath, iface, member string, args ...any) ([]any, error) {
	m.serial++
	msg := &dbus.Message{Type: dbus.TypeMethodCall, Flags: dbus.FlagNoAutoStart, Body: args, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(dest), dbus.FieldPath: dbus.MakeVariant(path),
		dbus.FieldInterface: dbus.MakeVariant(iface), dbus.FieldMember: dbus.MakeVariant(member)}}
	if len(args) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(args...))
	}
	var b bytes.Buffer
	if err := msg.EncodeTo(&b, binary.LittleEndian); err != nil {
		return nil, fmt.Errorf("call %s: %w", member, err)
	}
	// The serial number, which a connection of godbus would have put there.
	binary.LittleEndian.PutUint32(b.Bytes()[8:], m.serial)
	if _, err := m.w.Write(b.Bytes()); err != nil {
		return nil, fmt.Errorf("call %s: %w", member, err)
	}
	for {
		answer, err := dbus.DecodeMessage(m.r)
		if err != nil {
			return nil, fmt.Errorf("call %s: %w", member, err)
		}
		to, _ := answer.Headers[dbus.FieldReplySerial].Value().(uint32)
		switch {
		case to != m.serial: // signals of the bus come in between
		case answer.Type == dbus.TypeError:
			name, _ := answer.Headers[dbus.FieldErrorName].Value().(string)
			e := &refusal{name: name}
			if len(answer.Body) > 0 {
				e.text, _ = answer.Body[0].(string)
			}
			return nil, fmt.Errorf("call %s: %w", member, e)
		case answer.Type == dbus.TypeMethodReply && len(answer.Body) > 0:
			return answer.Body, nil
		default:
			return nil, fmt.Errorf("call %s: an empty answer", member)
		}
	}
}
