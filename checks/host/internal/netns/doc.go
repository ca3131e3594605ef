// Package netns finds listeners on a port in other network namespaces: those of
// containers, of "ip netns", of sandboxes.
//
// Without privilege it reads /proc/PID/net, which is open to everybody; with it
// a thread of its own enters each namespace and asks the kernel there. It
// refuses to connect to what it finds, to start a program inside a namespace,
// and to go back out of one: a thread that has entered ends there, so nothing
// else of loopdoctor can ever look from the wrong place.
package netns
