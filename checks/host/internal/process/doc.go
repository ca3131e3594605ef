// Package process finds the processes behind sockets and says what they are.
//
// It only reads /proc and the cgroup file system. It refuses to signal, to
// trace or to open the descriptors it finds, to ask name services about user
// names (they may go to the network), and to keep a command line without
// masking the secrets in it.
package process
