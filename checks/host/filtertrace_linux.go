package host

// trace has the kernel name the rule.
func (l *filterLook) trace(s suspect, may bool) {
	if !may {
		l.out.NotTraced = "--no-system-changes"
	}
}
