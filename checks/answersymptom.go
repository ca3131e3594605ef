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

var noAnswer = answerSymptom("no-answer", "the application is reached and does not answer", "%s takes the connection and says nothing%s.", func(f *facts.Facts, a *facts.Answer) bool {
	return a.End == facts.Silence && a.Question == f.Target.Speak && a.Bytes == 0
})

var notUnderstood = answerSymptom("not-understood", "the server speaks another protocol than the client", "%s answers in another protocol than %s.", func(f *facts.Facts, a *facts.Answer) bool {
	return false // see protocol.go
})

var certificateRefused = answerSymptom("certificate-refused", "a client refuses the server's certificate", "A client refuses the certificate of %s%s.", func(f *facts.Facts, a *facts.Answer) bool {
	return a.Handshake != nil && a.Handshake.NotTrusted != ""
})

var turnedAway = answerSymptom("turned-away", "the server answers that it will not serve this client or request", "%s turns the request away%s.", turnsAway)

var serverError = answerSymptom("server-error", "the server answers with an error of its own", "%s answers with an error of its own%s.", func(f *facts.Facts, a *facts.Answer) bool {
	return a.HTTP != nil && a.HTTP.Status >= 500
})

// answerSymptom makes a symptom of the answers to the question as the client puts it.
func answerSymptom(name, doc, text string, fits func(*facts.Facts, *facts.Answer) bool) *Check {
	return &Check{
		Name: name, Doc: doc, Stage: StageAnswer, Intent: facts.Connect,
		Needs: []facts.Group{facts.GroupAnswers},
		Run: func(f *facts.Facts) []Finding {
			var fs []Finding
			for i := range f.Answers {
				a := &f.Answers[i]
				if a.With != "" || !fits(f, a) || !slices.Contains(f.Target.Expected(), a.Addr) {
					continue
				}
				fs = append(fs, Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Settle: settleAnswer(f),
					Summary:  fmt.Sprintf(text, at(f, a.Addr), ""),
					Evidence: []Evidence{{"answer", heard(a)}}})
			}
			return mergeAddresses(f, fs)
		},
	}
}

// heard says what came of a question, in a line.
func heard(a *facts.Answer) string {
	switch {
	case a.HTTP != nil:
		return strings.TrimSpace(fmt.Sprintf("%s: %d %s", a.Protocol, a.HTTP.Status, a.HTTP.Reason))
	case a.Bytes > 0:
		return a.First
	}
	return fmt.Sprintf("%s after %.0f ms", a.End, a.ElapsedMS)
}

// settleAnswer is what shows the same to the person.
func settleAnswer(f *facts.Facts) string {
	if f.Target.URL != "" {
		return "curl -v " + f.Target.URL
	}
	return ""
}
