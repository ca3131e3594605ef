package report

// Brief is the answer for a target in one sentence, with the name of the cause.
func (t *Target) Brief() string { return t.brief() }

// Vantage says in a sentence from where and as whom was looked; empty if that is
// not known.
func (r *Report) Vantage() string { return r.vantage() }
