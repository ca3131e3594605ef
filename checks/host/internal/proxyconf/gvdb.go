package proxyconf

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The user's database of dconf, ~/.config/dconf/user, is a hash table of GVDB
// (gvdb-format.h): a header, then for each key an item of 24 bytes that names its
// parent, its own part of the path, and where its value lies, a serialised GVariant.
// All of it is read in order, so that a damaged file costs no more than a sound one.

const (
	gvdbHeader = 24 // signature 8, version 4, options 4, start and end of the root table 4 each
	gvdbItem   = 24 // hash 4, parent 4, key's start 4, its size 2, type 1, unused 1, value's start and end 4 each
	gvdbDepth  = 8  // of the paths that are of interest
)

// GNOME reads the settings below /system/proxy of a user's dconf database.
func GNOME(data []byte) []facts.ProxySetting {
	if len(data) < gvdbHeader || len(data) > 8<<20 || !bytes.HasPrefix(data, []byte("GVariant")) {
		return nil
	}
	table := slice(data, u32(data, 16), u32(data, 20))
	if len(table) < 8 {
		return nil
	}
	bloom, buckets := uint64(u32(table, 0)&(1<<27-1)), uint64(u32(table, 4))
	from := 8 + 4*bloom + 4*buckets
	if from > uint64(len(table)) {
		return nil
	}
	items := table[from:]
	items = items[:len(items)/gvdbItem*gvdbItem]
	var out []facts.ProxySetting
	for i := 0; i < len(items) && len(out) < maxFound; i += gvdbItem {
		item := items[i : i+gvdbItem]
		if item[14] != 'v' {
			continue
		}
		name := gnomeName(strings.TrimPrefix(gvdbPath(data, items, item), "/"))
		if name == "" {
			continue
		}
		if value, ok := variant(slice(data, u32(item, 16), u32(item, 20))); ok {
			out = append(out, facts.ProxySetting{Program: "GNOME", Name: name, Value: strings.ToValidUTF8(value, "�")})
		}
	}
	return out
}

// gvdbPath joins the parts of a key's path, the last one first.
func gvdbPath(data, items, item []byte) string {
	path := ""
	for range gvdbDepth {
		start := u32(item, 8)
		path = string(slice(data, start, start+uint32(binary.LittleEndian.Uint16(item[12:])))) + path
		parent := uint64(u32(item, 4)) * gvdbItem
		if len(path) > 200 || parent+gvdbItem > uint64(len(items)) {
			return path
		}
		item = items[parent : parent+gvdbItem]
	}
	return ""
}

// variant reads a serialised variant of type s, i, b or as: value, zero byte, type.
func variant(b []byte) (string, bool) {
	at := bytes.LastIndexByte(b, 0)
	if at < 0 {
		return "", false
	}
	value := b[:at]
	switch string(b[at+1:]) {
	case "s":
		return string(bytes.TrimRight(value, "\x00")), true
	case "i":
		return strconv.Itoa(int(int32(u32(value, 0)))), len(value) == 4
	case "b":
		return strconv.FormatBool(len(value) == 1 && value[0] == 1), true
	case "as": // strings with their zero bytes, then the ends of each, which are not needed
		var list []string
		for i := bytes.IndexByte(value, 0); i >= 0 && len(list) < maxFound; i = bytes.IndexByte(value, 0) {
			if i > 0 {
				list = append(list, string(value[:i]))
			}
			value = value[i+1:]
		}
		return strings.Join(list, ","), true
	}
	return "", false
}

// slice is a part of the file; nothing if it lies outside.
func slice(b []byte, from, to uint32) []byte {
	if from > to || uint64(to) > uint64(len(b)) {
		return nil
	}
	return b[from:to]
}

func u32(b []byte, at int) uint32 {
	if len(b) < at+4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b[at:])
}
