package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What a person feels of an application that was reached. All of it needs a question,
// which is put only where a URL was given, or --speak.

var noAnswer = answerSymptom("no-answer", "the application is reached and does not answer", func(f *facts.Facts, a *facts.Answer) string {
	if f.Target.Network == "udp" || settled(f, a) != nil {
		return "" // of UDP silence is no fault: what is lost, and what is not understood, is not answered
	}
	if f.Target.Speak == facts.AskGuess {
		if !slices.ContainsFunc(heardAt(f, a.Addr), func(x *facts.Answer) bool { return x.Bytes > 0 || x.End == facts.NotAsked }) {
			return "%s takes the connection and says nothing: not by itself, nor to HTTP or TLS."
		}
		return ""
	}
	switch {
	case slowHandshake(a):
		return fmt.Sprintf("%%s begins the TLS handshake and does not come to its end: %s in %s.", count(a.Bytes, "byte"), waited(a))
	case a.End == facts.Stalled && a.Protocol != "tls" && a.HTTP == nil:
		return fmt.Sprintf("%%s begins to answer and does not come to an end: %s in %s.", count(a.Bytes, "byte"), waited(a))
	case a.Bytes > 0:
	case a.End == facts.Silence && a.TLS && a.Handshake != nil && a.Handshake.Version != "":
		return "%s takes the connection, agrees on TLS, and then says nothing for " + waited(a) + "."
	case a.End == facts.Silence:
		return "%s takes the connection and says nothing for " + waited(a) + "."
	case a.End == facts.EndOfFile:
		return "%s takes the connection and closes it without an answer."
	case a.End == facts.Reset:
		return "%s takes the connection and resets it instead of an answer."
	}
	return ""
})

var notUnderstood = answerSymptom("not-understood", "the server speaks another protocol than the client", func(f *facts.Facts, a *facts.Answer) string {
	if f.Target.Network == "udp" || f.Target.Speak == facts.AskGuess || understood(a) {
		return ""
	}
	h := a.Handshake
	switch {
	case h != nil && oldTLS(h.Version):
		return "%s speaks no version of TLS that clients of today take."
	case slowHandshake(a): // it may well be on the way
	case h != nil && h.Version == "" && a.Protocol == "tls":
		return "%s and the client do not agree on TLS."
	case settled(f, a) != nil || a.Bytes > 0 && a.End != facts.Stalled:
		return "%s does not speak " + tongue(a.Question, a.TLS) + "."
	}
	return ""
})

var certificateRefused = answerSymptom("certificate-refused", "a client refuses the server's certificate", func(f *facts.Facts, a *facts.Answer) string {
	if a.Handshake.Refused() != "" && f.Target.Speak != facts.AskGuess {
		return "A client refuses the certificate of %s: " + a.Handshake.NotTrusted + "."
	}
	return ""
})

var turnedAway = answerSymptom("turned-away", "the server answers that it will not serve this client or request", func(f *facts.Facts, a *facts.Answer) string {
	switch {
	case f.Target.Speak == facts.AskGuess: // a guess is no request that a client made
	case a.HTTP != nil && slices.Contains([]int{400, 403, 421, 431}, a.HTTP.Status) && understood(a):
		return "%s turns the request away: " + statusLine(a) + "."
	case a.Handshake != nil && wantsCertificate(a):
		return "%s turns the client away: it has no certificate to show."
	case refusesInWords(toldBy(f, a)):
		return "%s turns the client away: " + quotable(toldBy(f, a)) + "."
	}
	return ""
})

var serverError = answerSymptom("server-error", "the server answers with an error of its own", func(f *facts.Facts, a *facts.Answer) string {
	if a.HTTP != nil && a.HTTP.Status >= 500 && f.Target.Speak != facts.AskGuess {
		return "%s answers with an error of its own: " + statusLine(a) + "."
	}
	if f.Target.Speak != facts.AskGuess && failsItself(f, a) {
		return "%s answers with an error of its own: " + quotable(toldBy(f, a)) + "."
	}
	return ""
})

// quotable is what a server says, as a part of a format.
func quotable(a *facts.Answer) string {
	return strings.ReplaceAll(strings.TrimSuffix(a.Says, "."), "%", "%%")
}

// answerSymptom makes a symptom of the answers to the question as the client puts it.
// says is a sentence with %s for the address; empty: it is not felt.
func answerSymptom(name, doc string, says func(*facts.Facts, *facts.Answer) string) *Check {
	return &Check{
		Name: name, Doc: doc, Stage: StageAnswer, Intent: facts.Connect,
		Needs: []facts.Group{facts.GroupAnswers},
		Run: func(f *facts.Facts) []Finding {
			var fs []Finding
			for _, a := range asked(f) {
				text := says(f, a)
				if text == "" {
					continue
				}
				fs = append(fs, Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Settle: settleAnswer(f),
					// Many a server wants more than the bare question, and says so.
					Doubtful: a.HTTP != nil && a.HTTP.Status == 400,
					Summary:  fmt.Sprintf(text, at(f, a.Addr)), Evidence: all(f, a)})
			}
			return mergeAddresses(f, fs)
		},
	}
}

// asked lists the answer at each expected address to the question as the client puts it.
func asked(f *facts.Facts) []*facts.Answer {
	var out []*facts.Answer
	for i := range f.Answers {
		a := &f.Answers[i]
		first := !slices.ContainsFunc(out, func(x *facts.Answer) bool { return x.Addr == a.Addr })
		if first && a.With == "" && slices.Contains(f.Target.Expected(), a.Addr) {
			out = append(out, a)
		}
	}
	return out
}

// heardAt lists all answers at an address.
func heardAt(f *facts.Facts, addr netip.Addr) []*facts.Answer {
	var out []*facts.Answer
	for i := range f.Answers {
		if f.Answers[i].Addr == addr {
			out = append(out, &f.Answers[i])
		}
	}
	return out
}

// all quotes the answer, and of a guess every one.
func all(f *facts.Facts, a *facts.Answer) []Evidence {
	if f.Target.Speak != facts.AskGuess {
		return []Evidence{heard(a)}
	}
	var es []Evidence
	for _, x := range heardAt(f, a.Addr) {
		es = append(es, heard(x))
	}
	return es
}

// heard says what came of a question, in a line.
func heard(a *facts.Answer) Evidence {
	e := Evidence{"answer", ""}
	if a.With != "" {
		e.Source = "asked again"
	}
	what := "to " + tongue(a.Question, a.TLS)
	if a.Question == facts.AskNothing {
		what = "unasked"
	}
	switch {
	case a.HTTP != nil:
		e.Text = fmt.Sprintf("%s: %s", what, statusLine(a))
		if a.HTTP.Body != "" {
			e.Text += fmt.Sprintf(", %q", a.HTTP.Body)
		}
	case a.Handshake != nil && a.Handshake.Version != "" && a.Bytes == 0 && a.Question != facts.AskTLS:
		e.Text = fmt.Sprintf("%s: %s, then %s after %.0f ms", what, a.Handshake.Version, a.End, a.ElapsedMS)
	case a.Handshake != nil && a.Handshake.Version != "":
		e.Text = fmt.Sprintf("%s: a handshake, %s", what, a.Handshake.Version)
	case a.Says != "":
		e.Text = fmt.Sprintf("%s: %s", what, a.Says)
	case a.Bytes > 0:
		e.Text = fmt.Sprintf("%s: %s: %s", what, count(a.Bytes, "byte"), a.First)
	case a.End == facts.Silence:
		e.Text = fmt.Sprintf("%s: silence for %s", what, waited(a))
	case a.End == facts.NotAsked:
		e.Text = fmt.Sprintf("%s was not asked: %s", strings.TrimPrefix(what, "to "), a.Errno)
	default:
		e.Text = fmt.Sprintf("%s: %s after %.0f ms", what, a.End, a.ElapsedMS)
	}
	return e
}

// statusLine is "404 Not Found" of an answer.
func statusLine(a *facts.Answer) string {
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", a.HTTP.Status, strings.ReplaceAll(a.HTTP.Reason, "%", "")))
}

// waited is how long an answer was waited for.
func waited(a *facts.Answer) string { return fmt.Sprintf("%.1f s", a.ElapsedMS/1000) }

func count(n int, what string) string { return fmt.Sprintf("%d %s%s", n, what, cond(n == 1, "", "s")) }

// slowHandshake tells whether the server was still at the TLS handshake when the wait was
// over: nothing of it was wrong so far.
func slowHandshake(a *facts.Answer) bool {
	return a.End == facts.Stalled && a.Protocol == "tls" && a.Handshake != nil && a.Handshake.Version == ""
}

// settleAnswer is what shows the same to the person.
func settleAnswer(f *facts.Facts) string {
	if u := f.Target.URL; strings.HasPrefix(u, "http") {
		return "curl -v " + u
	}
	return ""
}
