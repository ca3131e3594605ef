package report

import (
	"encoding/json"
	"io"
)

// JSON writes the report as docs/report.md describes it, indented, with a final
// line feed.
func JSON(w io.Writer, r *Report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // a step shall read as it is typed: >, & and < are no danger in JSON
	e.SetIndent("", "  ")
	return e.Encode(r)
}
