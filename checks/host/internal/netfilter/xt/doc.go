// Package xt reads the tables of the legacy packet filters ip_tables and
// ip6_tables by getsockopt (linux/netfilter_ipv4/ip_tables.h), and knows the
// matches and targets of xtables (linux/netfilter/xt_*.h), which nf_tables uses
// as well, for iptables-nft. It refuses to ask for a table that does not exist
// yet: the kernel would make it.
package xt
