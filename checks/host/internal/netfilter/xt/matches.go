package xt

import "github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"

// matchDecoder gives the size of the struct of a match, and what decodes it. A
// switch, and not a map: a map would be made at every start of the program.
func matchDecoder(k kind, family netfilter.Family) (size int, decode decoder) {
	switch k {
	case kind{"tcp", 0}:
		return 12, tcp // struct xt_tcp
	case kind{"udp", 0}, kind{"udplite", 0}:
		return 10, udp // struct xt_udp
	case kind{"icmp", 0}:
		return 4, icmp // struct ipt_icmp
	case kind{"icmp6", 0}:
		return 4, icmp6 // struct ip6t_icmp
	case kind{"multiport", 1}:
		return 48, multiport // struct xt_multiport_v1
	case kind{"conntrack", 1}:
		return 152, conntrack // struct xt_conntrack_mtinfo1
	case kind{"conntrack", 2}:
		return 156, conntrack // struct xt_conntrack_mtinfo2
	case kind{"conntrack", 3}:
		return 164, conntrack // struct xt_conntrack_mtinfo3
	case kind{"state", 0}:
		return 4, state // struct xt_state_info
	case kind{"comment", 0}:
		return 256, comment // struct xt_comment_info
	case kind{"owner", 1}:
		return 20, owner // struct xt_owner_match_info
	case kind{"addrtype", 0}:
		return 12, addrtype0 // struct xt_addrtype_info
	case kind{"addrtype", 1}:
		return 8, addrtype1 // struct xt_addrtype_info_v1
	case kind{"mark", 1}:
		return 12, mark // struct xt_mark_mtinfo1
	case kind{"connmark", 1}:
		return 12, connmark // struct xt_connmark_mtinfo1
	case kind{"limit", 0}:
		return 40, limit // struct xt_rateinfo
	case kind{"iprange", 1}:
		return 65, iprange // struct xt_iprange_mtinfo
	case kind{"cgroup", 0}:
		return 8, cgroup0 // struct xt_cgroup_info_v0
	case kind{"cgroup", 1}:
		return 4112, cgroup // struct xt_cgroup_info_v1
	case kind{"cgroup", 2}:
		return 528, cgroup // struct xt_cgroup_info_v2
	}
	return rarerMatchDecoder(k, family)
}
