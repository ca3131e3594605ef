package facts

import "time"

// Work is what the processes behind the port do: looked at where a connection is not
// accepted, or a question not answered. Two looks are taken, a moment apart.
type Work struct {
	ApartMS   float64   `json:"apart_ms"` // between the two looks
	Processes []Worker  `json:"processes"`
	Queues    []QueueAt `json:"queues,omitempty"` // of each listener of the port, in the order of the sockets
}

// Worker is one of the processes that hold a listener, or the server's side of our own
// connection.
type Worker struct {
	PID     int          `json:"pid"`
	State   string       `json:"state,omitempty"`    // the letter of /proc/PID/stat
	WaitsIn string       `json:"waits_in,omitempty"` // /proc/PID/wchan, a function of the kernel
	Threads int          `json:"threads,omitempty"`
	CPUMS   float64      `json:"cpu_ms"`            // that all its threads used between the two looks
	Busiest *Thread      `json:"busiest,omitempty"` // the one that used most of it
	Stuck   int          `json:"stuck,omitempty"`   // threads in state D
	Files   *OpenFiles   `json:"files,omitempty"`
	Cgroup  *CgroupState `json:"cgroup,omitempty"`
	NotSeen []string     `json:"not_seen,omitempty"` // what of this could not be looked at, and why: "descriptors (needs root)"
}

// Thread is one thread of a process.
type Thread struct {
	TID     int     `json:"tid"`
	Name    string  `json:"name,omitempty"`
	State   string  `json:"state,omitempty"`
	CPUMS   float64 `json:"cpu_ms"`
	WaitsIn string  `json:"waits_in,omitempty"`
}

// OpenFiles is how many descriptors a process has open, and may have.
type OpenFiles struct {
	Open  int `json:"open"`  // -1: not known
	Limit int `json:"limit"` // RLIMIT_NOFILE, the soft one
}

// Full tells whether the next accept() fails with EMFILE.
func (o *OpenFiles) Full() bool { return o != nil && o.Open >= 0 && o.Limit > 0 && o.Open >= o.Limit }

// CgroupState is what its cgroup keeps a process from (cgroups(7), version 2).
type CgroupState struct {
	Path        string             `json:"path"`
	Frozen      bool               `json:"frozen,omitempty"`
	ThrottledMS float64            `json:"throttled_ms,omitempty"` // by cpu.max, between the two looks
	CPUMax      string             `json:"cpu_max,omitempty"`      // "20000 100000"
	Memory      int64              `json:"memory,omitempty"`       // bytes
	MemoryMax   int64              `json:"memory_max,omitempty"`   // 0: no limit
	MemoryHigh  int64              `json:"memory_high,omitempty"`
	AtMemory    int64              `json:"at_memory,omitempty"` // times that it met memory.high or memory.max between the two looks
	OOMKills    int64              `json:"oom_kills,omitempty"` // since it was made
	Pressure    map[string]float64 `json:"pressure,omitempty"`  // "cpu", "memory", "io": share of the last 10 s that some task waited (PSI some avg10)
}

// QueueAt is one listener's accept queue at the second look.
type QueueAt struct {
	Inode  uint64    `json:"inode"`
	Queue  Queue     `json:"queue"`
	Before Queue     `json:"before"` // at the first one
	Oldest time.Time `json:"oldest,omitzero"`
}

// Of returns what a process does; nil if it was not looked at.
func (w *Work) Of(pid int) *Worker {
	if w != nil {
		for i := range w.Processes {
			if w.Processes[i].PID == pid {
				return &w.Processes[i]
			}
		}
	}
	return nil
}
