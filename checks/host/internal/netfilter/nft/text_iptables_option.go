package nft

import (
	"strings"
)

// limit prints a rate in the largest unit that it fills: xtables does so (print_rate).
func (p *iptables) limit(e *Limit) bool {
	if e.Bytes || e.Inverse || e.Rate == 0 {
		return false
	}
	const scale = 10000 // XT_LIMIT_SCALE
	period := scale * e.Unit / e.Rate
	units := []struct {
		size uint64
		name string
	}{{scale * 86400, "day"}, {scale * 3600, "hour"}, {scale * 60, "min"}, {scale, "sec"}}
	if period == 0 {
		return false
	}
	i := 1
	for i < len(units) && period <= units[i].size && units[i].size/period >= units[i].size%period {
		i++
	}
	words := []string{"-m", "limit", "--limit", decimal(units[i-1].size/period) + "/" + units[i-1].name}
	if e.Burst != 5 {
		words = append(words, "--limit-burst", decimal(uint64(e.Burst)))
	}
	m := said(false, words...)
	p.matches = append(p.matches, &m)
	return true
}

// log is the target NFLOG.
func (p *iptables) log(e *Log) bool {
	if !e.HasGroup || e.HasLevel || e.Flags != 0 {
		return false
	}
	o := said(false, "-j", "NFLOG")
	add := func(flag, value, printed string) {
		o.words = append(o.words, flag, value)
		o.text += " " + flag + " " + printed
	}
	if e.Prefix != "" {
		add("--nflog-prefix", e.Prefix, shown(e.Prefix))
	}
	if e.Group != 0 {
		n := decimal(uint64(e.Group))
		add("--nflog-group", n, n)
	}
	if e.Snaplen != 0 {
		n := decimal(uint64(e.Snaplen))
		add("--nflog-size", n, n)
	}
	if e.Qthreshold > 1 {
		n := decimal(uint64(e.Qthreshold))
		add("--nflog-threshold", n, n)
	}
	p.target = o
	return true
}

// shown is a string as xtables_save_string prints it.
func shown(s string) string {
	const bare = "_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if s != "" && strings.Trim(s, bare) == "" {
		return s
	}
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, `'`, `\'`).Replace(s) + `"`
}
