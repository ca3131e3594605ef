package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// Parse reads what JSON wrote, here or elsewhere. It is foreign: every string of
// it is cleaned. What it does not hold (facts, the status of a single target) is
// not made up.
func Parse(data []byte) (*Report, error) {
	// The schema first: a newer report may not fit in our types.
	var head struct {
		Schema  *int              `json:"schema"`
		Version string            `json:"version"`
		Targets []json.RawMessage `json:"targets"`
	}
	err := json.Unmarshal(data, &head)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("this is no report: it is not JSON (%w)", err)
	case err != nil || head.Schema == nil || head.Targets == nil:
		return nil, errors.New("this is no report: it is JSON, but not what --format json writes")
	case *head.Schema > Schema:
		return nil, fmt.Errorf("loopdoctor %s wrote it with schema %d, and this loopdoctor reads up to %d: use a newer one", Clean(head.Version), *head.Schema, Schema)
	case *head.Schema < 1:
		return nil, fmt.Errorf("there is no schema %d", *head.Schema)
	}
	var r Report
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&r); err != nil {
		return nil, fmt.Errorf("a damaged report: %w", err)
	}
	if len(r.Targets) == 0 {
		return nil, errors.New("there is nothing in this report")
	}
	scrub(reflect.ValueOf(&r).Elem(), false)
	return &r, nil
}
