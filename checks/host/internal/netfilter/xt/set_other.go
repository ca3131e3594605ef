//go:build !linux

package xt

import "github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"

var sets ipset = noSets{}

// noSets stands where there is no kernel to ask.
type noSets struct{}

func (noSets) nameOf(uint16) string { return "" }

func (noSets) has(string, netfilter.Family, []side) netfilter.Truth { return netfilter.Unknown }
