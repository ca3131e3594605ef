package xt

import "github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"

// rarerMatchDecoder goes on where matchDecoder ends.
func rarerMatchDecoder(k kind, family netfilter.Family) (size int, decode decoder) {
	switch k {
	case kind{"hashlimit", 1}:
		return 56, hashlimit // struct xt_hashlimit_mtinfo1
	case kind{"hashlimit", 2}:
		return 304, hashlimit // struct xt_hashlimit_mtinfo2
	case kind{"hashlimit", 3}:
		return 312, hashlimit // struct xt_hashlimit_mtinfo3
	case kind{"recent", 0}:
		return 212, recent // struct xt_recent_mtinfo
	case kind{"recent", 1}:
		return 228, recent // struct xt_recent_mtinfo_v1
	case kind{"connlimit", 1}:
		return 32, connlimit // struct xt_connlimit_info
	case kind{"quota", 0}:
		return 24, quota // struct xt_quota_info
	case kind{"statistic", 0}:
		return 24, statistic // struct xt_statistic_info
	case kind{"string", 0}, kind{"string", 1}:
		return 160, stringMatch // struct xt_string_info
	case kind{"time", 0}:
		return 24, timeMatch // struct xt_time_info
	case kind{"length", 0}:
		return 6, length // struct xt_length_info
	case kind{"dscp", 0}:
		return 2, dscp // struct xt_dscp_info
	case kind{"tos", 1}:
		return 3, tos // struct xt_tos_match_info
	case kind{"ttl", 0}, kind{"hl", 0}:
		return 2, ttl // struct ipt_ttl_info, ip6t_hl_info
	case kind{"ecn", 0}:
		return 4, ecn // struct xt_ecn_info
	case kind{"mac", 0}:
		return 12, mac // struct xt_mac_info
	case kind{"pkttype", 0}:
		return 8, pkttype // struct xt_pkttype_info
	case kind{"physdev", 0}:
		return 66, physdev // struct xt_physdev_info
	case kind{"socket", 0}:
		return 0, socket
	case kind{"socket", 1}, kind{"socket", 2}, kind{"socket", 3}:
		return 1, socket // struct xt_socket_mtinfo1 …
	case kind{"cpu", 0}:
		return 8, cpu // struct xt_cpu_info
	case kind{"bpf", 0}, kind{"bpf", 1}:
		return 528, bpf // struct xt_bpf_info, xt_bpf_info_v1
	case kind{"rpfilter", 0}:
		return 1, rpfilter // struct xt_rpfilter_info
	case kind{"tcpmss", 0}:
		return 6, tcpmss // struct xt_tcpmss_match_info
	case kind{"u32", 0}:
		return 1984, u32Match // struct xt_u32
	case kind{"helper", 0}:
		return 36, helper // struct xt_helper_info
	case kind{"connbytes", 0}:
		return 24, connbytes // struct xt_connbytes_info
	case kind{"policy", 0}:
		return 308, policy // struct xt_policy_info
	case kind{"esp", 0}:
		return 12, spi // struct xt_esp
	case kind{"ah", 0}:
		if family == netfilter.IPv6 {
			return 16, spi // struct ip6t_ah
		}
		return 12, spi // struct ipt_ah
	case kind{"ipv6header", 0}:
		return 3, ipv6header // struct ip6t_ipv6header_info
	case kind{"set", 1}, kind{"set", 2}:
		return 4, set // struct xt_set_info_match_v1
	case kind{"set", 3}, kind{"set", 4}:
		return 48, set // struct xt_set_info_match_v3, 4
	}
	return 0, nil
}

// rarerTargetDecoder goes on where targetDecoder ends.
func rarerTargetDecoder(k kind, family netfilter.Family) (size int, decode decoder) {
	switch k {
	case kind{"TCPMSS", 0}:
		return 2, setMSS // struct xt_tcpmss_info
	case kind{"TOS", 1}:
		return 2, setTOS // struct xt_tos_target_info
	case kind{"DSCP", 0}:
		return 1, setDSCP // struct xt_DSCP_info
	case kind{"TTL", 0}, kind{"HL", 0}:
		return 2, setTTL // struct ipt_TTL_info, ip6t_HL_info
	case kind{"CLASSIFY", 0}:
		return 4, classify // struct xt_classify_target_info
	case kind{"AUDIT", 0}:
		return 1, audit // struct xt_audit_info
	case kind{"SECMARK", 0}, kind{"SECMARK", 1}:
		return 264, secmark // struct xt_secmark_target_info, _v1
	case kind{"CONNSECMARK", 0}:
		return 1, connsecmark // struct xt_connsecmark_target_info
	case kind{"TEE", 1}:
		return 40, tee // struct xt_tee_tginfo
	case kind{"CHECKSUM", 0}:
		return 1, checksum // struct xt_CHECKSUM_info
	case kind{"IDLETIMER", 0}:
		return 40, idletimer // struct idletimer_tg_info
	case kind{"IDLETIMER", 1}:
		return 48, idletimer // struct idletimer_tg_info_v1
	case kind{"NETMAP", 0}:
		if family == netfilter.IPv6 {
			return 40, netmap // struct nf_nat_range
		}
		return 20, netmap // struct nf_nat_ipv4_multi_range_compat
	case kind{"SET", 1}:
		return 8, setTarget // struct xt_set_info_target_v1
	case kind{"SET", 2}:
		return 16, setTarget // struct xt_set_info_target_v2
	case kind{"SET", 3}:
		return 20, setTarget // struct xt_set_info_target_v3
	}
	return 0, nil
}
