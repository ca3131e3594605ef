package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// retransmitMS is how long TCP waits at the most for an acknowledgement over loopback,
// in milliseconds, before it sends again (TCP_RTO_MIN of include/net/tcp.h).
const retransmitMS = 200

// leastBuffer is less than any program gets that asks for the smallest receive buffer
// there is: SOCK_MIN_RCVBUF of include/net/sock.h, 2048 bytes and a struct sk_buff.
// net.ipv4.tcp_rmem alone can give less.
const leastBuffer = 2048

var dataLostAfterHandshake = &Check{
	Name:     "data-lost-after-handshake",
	Doc:      "the connection is made, and what is sent over it is lost on the way",
	Stage:    StageInput,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupFilters},
	Explains: []*Check{noAnswer},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			l := lostData(a)
			if l == nil || l.noRoom() {
				continue
			}
			// The kernel acknowledges for a program that is stopped or does not read, too.
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: cond(a.ElapsedMS > retransmitMS, Proven, Inferred), Settle: findRule + "; " + findOnWire,
				Fixes: []Fix{{Do: "Accept loopback ahead of the rule that does it, in its chain: nft insert rule FAMILY TABLE CHAIN iif lo accept (oif lo on the way out), or iptables (for IPv6 ip6tables) -I INPUT 1 -i lo -j ACCEPT, -I OUTPUT 1 -o lo -j ACCEPT."}, acceptAhead(StageWire)}}
			const perhaps = "a packet filter that lets the handshake pass (it looks at lengths, contents or marks), or a traffic control, netdev or XDP program on lo"
			what := "and what the client sends over it is lost on the way"
			if l.answer {
				x.Stage, what = StageReply, "and answers, and the answer is lost on the way"
			}
			x.Summary = fmt.Sprintf("%s takes the connection%s %s: %s.", at(f, a.Addr), cond(l.answer, "", ","), what, perhaps)
			x.Evidence = []Evidence{l.evidence(a)}
			if notPermitted(f) {
				x.Settle = cond(f.Target.URL != "" && pasteable(f.Target.URL), "sudo loopdoctor "+f.Target.URL, asRoot(f, a.Addr))
			}
			if hs := carriedInto(f, a, l.answer); len(hs) > 0 {
				h := hs[0]
				// That it is lost was seen; which rule does it only the rules say.
				x.Summary = fmt.Sprintf("%s takes the connection%s %s: %s%s%s.", at(f, a.Addr), cond(l.answer, "", ","), what,
					cond(h.doubt == "", "a packet filter drops it, ", "a packet filter probably drops it, if its rule matches, "), placeOf(f, h.rule), cond(h.doubt == "", "", " ("+h.doubt+")"))
				x.Certainty = cond(h.doubt == "", x.Certainty, Inferred)
				x.Settle = cond(h.doubt == "", "", lookAt(f, h.rule))
				x.Evidence = append([]Evidence{{"rule", ruleText(f, h.rule)}}, x.Evidence...)
				for i, o := range rulesIn(hs)[1:] {
					if i < 8 {
						x.Evidence = append(x.Evidence, Evidence{"behind it", ruleText(f, o)})
					}
				}
				x.Fixes = filterFixes(f, hs...)
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}

// dataTells is in the reasons of doubts that data may settle otherwise than a handshake:
// they are about the length or the content of a packet, about what is used up by and by, or
// about what loopdoctor does not know. Of chance, of an owner or of the time a handshake has as
// much.
var dataTells = []string{"length", "string", "u32", "bpf", "bytes", "packets", "quota", "limit", "checksum", "unknown"}

// carriedInto are the rules that stop data of the question's connection, and let its
// handshake pass: those of the direction in which something is lost come first.
func carriedInto(f *facts.Facts, a *facts.Answer, answer bool) []hurdle {
	d := facts.Dial{Addr: a.Addr, As: a.As, AsPID: a.AsPID}
	passed := func(r facts.FilterRule) bool { // each packet of a handshake did, though it might match them, too
		for _, packet := range []string{facts.Syn, facts.SynAck, facts.Ack} {
			if w := f.Filters.Walk(d, packet); w != nil && (slices.ContainsFunc(w.Unsure, func(x facts.FilterDoubt) bool { return sameRule(x.Rule, r) }) ||
				slices.ContainsFunc(w.Stops, func(x facts.FilterStop) bool { return sameRule(x.Rule, r) })) {
				return true
			}
		}
		return false
	}
	var sure, likely, unlikely []hurdle
	for _, packet := range cond(answer, []string{facts.DataBack, facts.Data}, []string{facts.Data, facts.DataBack}) {
		w := f.Filters.Walk(d, packet)
		if w == nil {
			continue
		}
		for _, x := range w.Unsure {
			switch h := hurdleOf(f, w, packet, x.Rule, cmp.Or(cut(x.Why, 120), "doubt")); {
			case !stops(x.Verdict):
			case passed(x.Rule) && !slices.ContainsFunc(dataTells, func(word string) bool { return strings.Contains(x.Why, word) }):
			case passed(x.Rule):
				unlikely = append(unlikely, h)
			default:
				likely = append(likely, h)
			}
		}
		for _, x := range w.Stops {
			if stops(x.Verdict) && !passed(x.Rule) {
				sure = append(sure, hurdleOf(f, w, packet, x.Rule, ""))
			}
		}
	}
	all := slices.Concat(sure, likely, unlikely)
	if len(all) == 0 || all[0].reply != answer { // of the other direction alone, it is something else
		return nil
	}
	return all
}

// undelivered is what one end of the connection of a question has sent, or wants to, and
// the other does not acknowledge.
type undelivered struct {
	answer          bool // of the server's; otherwise it is the question
	unacked, unsent int
	room            *facts.ReceiveRoom // of who ought to take it; nil: not seen
}

// lostData is what was not delivered of a question, or of the answer to it; nil if all was,
// or if nobody can say.
func lostData(a *facts.Answer) *undelivered {
	switch {
	case a.Bytes > 0 || a.End != facts.Silence || a.Server == nil:
		return nil
	case a.Unacked > 0:
		return &undelivered{unacked: a.Unacked, unsent: a.Unsent, room: a.Server.Room}
	case a.Server.Unacked > 0:
		return &undelivered{true, int(a.Server.Unacked), int(a.Server.Unsent), a.Room}
	}
	return nil
}

// closed tells whether nothing of it is on the way: TCP keeps it back, since the other end
// says that it has no room.
func (u *undelivered) closed() bool { return u.unsent > 0 && u.unsent >= u.unacked }

// noRoom tells whether it did arrive, or would have, and there is no room for it.
func (u *undelivered) noRoom() bool { return u.closed() || u.tiny() && u.room.Dropped > 0 }

// tiny tells whether the receiver's buffer is smaller than any program can make it.
func (u *undelivered) tiny() bool { return u.room != nil && u.room.Buffer < leastBuffer }

func (u *undelivered) evidence(a *facts.Answer) Evidence {
	if u.answer {
		return Evidence{"connection", fmt.Sprintf("%d bytes of the server's are not acknowledged after %.0f ms", u.unacked, a.ElapsedMS)}
	}
	return Evidence{"connection", fmt.Sprintf("of %d bytes sent, %d are not acknowledged after %.0f ms", a.Sent, u.unacked, a.ElapsedMS)}
}

// receiveWindowClosed is no loss: the sender waits, and asks from time to time whether there
// is room now (RFC 9293 section 3.8.6.1).
var receiveWindowClosed = &Check{
	Name:     "receive-window-closed",
	Doc:      "the connection is made, and its receiver has no room for what is to be sent",
	Stage:    StageInput, // or on the way back
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupAnswers},
	Uses:     []facts.Group{facts.GroupFilters},
	Explains: []*Check{noAnswer},
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, a := range asked(f) {
			u := lostData(a)
			if u == nil || !u.noRoom() || !u.answer && a.Server.Unread > 0 { // a program that does not read fills it
				continue
			}
			x := Finding{Affects: []netip.Addr{a.Addr}, Certainty: Inferred, Stage: cond(u.answer, StageReply, StageInput)}
			what := fmt.Sprintf("%s takes the connection, and the client may send nothing over it", at(f, a.Addr))
			who, end := "the server's", "the server's end"
			if u.answer {
				what = fmt.Sprintf("%s takes the connection, and its answer finds no room at the client", at(f, a.Addr))
				who, end = "the client's", "the client's end"
			}
			x.Evidence = []Evidence{u.evidence(a)}
			if u.closed() {
				x.Evidence = []Evidence{{"connection", fmt.Sprintf("%d bytes wait to be sent after %.0f ms, none is on the way: the window that %s announced is closed", u.unsent, a.ElapsedMS, end)}}
			}
			if u.room != nil {
				x.Evidence = append(x.Evidence, Evidence{"socket", fmt.Sprintf("%s receive buffer is %s%s", who, plural(int(u.room.Buffer), "byte"), cond(u.tiny() && u.room.Dropped > 0, fmt.Sprintf(", and it threw away %s", plural(int(u.room.Dropped), "packet")), ""))})
			}
			switch {
			case u.tiny():
				x.Certainty = Proven
				x.Summary = fmt.Sprintf("%s: the receive buffer there is %s, as net.ipv4.tcp_rmem has it.", what, plural(int(u.room.Buffer), "byte"))
				x.Fixes = []Fix{{Do: "Give sockets room again (the kernel's own values; until reboot): sudo sysctl -w net.ipv4.tcp_rmem='4096 131072 6291456'. Then start the server again: its connections have the buffer of its listener. Take the line out of /etc/sysctl.conf or /etc/sysctl.d as well."}}
				x.Settle = "sysctl net.ipv4.tcp_rmem"
			case u.room == nil:
				x.Summary = fmt.Sprintf("%s: the receive window is closed, by net.ipv4.tcp_rmem, by the program's own SO_RCVBUF, or by a packet filter that rewrites the window.", what)
				x.Settle = "sysctl net.ipv4.tcp_rmem; " + findRule
			default:
				x.Summary = fmt.Sprintf("%s: the receive window is closed, though nothing lies in the buffer there: a packet filter probably rewrites the window.", what)
				x.Settle = cond(notPermitted(f) && f.Target.URL != "" && pasteable(f.Target.URL), "sudo loopdoctor "+f.Target.URL, findRule)
				x.Fixes = []Fix{{Do: "Take out the rule that writes the window (tcp window set), or accept loopback ahead of it, in its chain: nft insert rule FAMILY TABLE CHAIN oif lo accept (iif lo on the way in)."}}
			}
			fs = append(fs, x)
		}
		return mergeAddresses(f, fs)
	},
}
