package report

import (
	"slices"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// said is what the client's error says, and whether loopdoctor met the same.
func said(f *facts.Facts, d *checks.Diagnosis) *ClientError {
	e := f.Target.Error
	if e == nil {
		return nil
	}
	out := &ClientError{Text: e.Text, Client: e.Client, Errno: e.Errno, Symptom: e.Symptom, Means: e.Means, Met: metSame(e, d)}
	if e.Addr.IsValid() {
		out.Address = e.Addr.Addr().String()
	}
	return out
}

// metSame is nil where loopdoctor cannot tell: what an application answers shows
// to who asks it in the same way.
func metSame(e *facts.ClientError, d *checks.Diagnosis) *bool {
	if d == nil {
		return nil
	}
	same := sameSymptom(e, d) != ""
	if !same && (d.Verdict == checks.Unknown || e.Symptom == "" && !e.Failed || e.Answer && d.Verdict == checks.Works) {
		return nil
	}
	return &same
}

// saidNote says in one line whether what loopdoctor met agrees with what the
// client or the server said.
func saidNote(f *facts.Facts, d *checks.Diagnosis) string {
	t, e := f.Target, f.Target.Error
	if e == nil || t.Met != nil { // then it is known what the client met, not only what it said
		return ""
	}
	who := "Your client"
	if t.Intent == facts.ToBind {
		who = "Your server"
	}
	if e.Client != "" {
		who += " (" + e.Client + ")"
	}
	of := ""
	if e.Addr.IsValid() && e.Addr.Port() != 0 {
		of = " of " + e.Addr.String()
	} else if t.Port != 0 {
		of = " of " + label(t)
	}
	return who + " says" + of + ": " + e.Means + ". " + agrees(t, e, d)
}

func agrees(t facts.Target, e *facts.ClientError, d *checks.Diagnosis) string {
	same := metSame(e, d)
	switch {
	case same != nil && *same && e.Failed:
		return "loopdoctor makes none either: " + sameSymptom(e, d) + "."
	case same != nil && *same:
		return "loopdoctor meets the same."
	case d == nil || d.Verdict == checks.Unknown:
		return "Whether loopdoctor would meet the same could not be told."
	case e.Names != "" && slices.ContainsFunc(d.Causes, func(c checks.Cause) bool { return c.Check.Name == e.Names }):
		return "loopdoctor finds what these words say."
	case len(d.Symptoms) > 0 && name(d.Symptoms[0].Finding) == "client-fails":
		return "loopdoctor gets an answer, and finds what keeps your client from one."
	case e.Answer && d.Verdict == checks.Works:
		if t.Speak == "" {
			return "loopdoctor connects, and was not told to ask anything: give the URL, or --speak."
		}
		return "loopdoctor asks, and gets an answer: it has healed since, or your client asks something else."
	case e.Answer && e.Symptom == "":
		return "That is about the application's answer; loopdoctor meets trouble before it."
	case same == nil:
		return "loopdoctor does not look for that: this report is about the connection."
	case d.Verdict != checks.Works && len(d.Symptoms) > 0:
		return "loopdoctor meets something else: " + d.Symptoms[0].Check.Doc + "."
	case e.Errno == "EPERM" && t.Intent != facts.ToBind:
		return "loopdoctor connects: what forbids it concerns your client alone (a sandbox such as seccomp, or a BPF program of its cgroup)."
	case t.Intent == facts.ToBind:
		return "loopdoctor can take it: it has healed since, or your server runs elsewhere or as somebody else."
	case t.Met != nil:
		return "loopdoctor connects: it has healed since, or comes and goes."
	case t.Port == 0:
		return "loopdoctor does not meet it: it has healed since, or your client runs elsewhere, as a container does."
	case len(d.Remarks) > 0 && concerns(e, d.Remarks[0]):
		return "loopdoctor connects: your client may meet what the first note is about, or it has healed since."
	}
	return "loopdoctor connects: it has healed since, or your client runs elsewhere, as somebody else or through a proxy."
}

// sameSymptom is the first symptom that is what the client met, in words.
func sameSymptom(e *facts.ClientError, d *checks.Diagnosis) string {
	for _, s := range d.Symptoms {
		if e.Fits(name(s.Finding)) {
			return s.Check.Doc
		}
	}
	return ""
}

// concerns tells whether a remark is about what the client met.
func concerns(e *facts.ClientError, x checks.Finding) bool {
	for _, c := range x.Brings {
		if e.Fits(c.Name) {
			return true
		}
	}
	return false
}
