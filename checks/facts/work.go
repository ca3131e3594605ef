package facts

// Work is what the processes behind the port do: looked at where a connection is not
// accepted, or a question not answered. Two looks are taken, a moment apart.
type Work struct {
	ApartMS   float64   `json:"apart_ms"` // between the two looks
	Processes []Worker  `json:"processes"`
	Queues    []QueueAt `json:"queues,omitempty"` // of each listener of the port
	Left      int       `json:"left,omitempty"`   // connections that waited to be accepted at the first look and did not later
	Partial   string    `json:"partial,omitempty"`
}

// Worker is one of the processes that hold a listener, or the server's side of our own
// connection.
type Worker struct {
	PID      int            `json:"pid"`                // of the process
	State    string         `json:"state,omitempty"`    // the letter of /proc/PID/stat, at the second look
	WaitsIn  string         `json:"waits_in,omitempty"` // where its first thread waited at both looks: /proc/PID/wchan, a function of the kernel
	Threads  int            `json:"threads,omitempty"`  // those that live
	CPUMS    float64        `json:"cpu_ms"`             // that all its threads used between the two looks
	Busiest  *Thread        `json:"busiest,omitempty"`  // the one that ran, or wanted to, most of it
	Waits    map[string]int `json:"waits,omitempty"`    // how many threads waited at both looks in the same function; "" for those of which it cannot be seen
	Stuck    int            `json:"stuck,omitempty"`    // threads in state D at both looks
	StuckIn  string         `json:"stuck_in,omitempty"` // where one of them waits
	Headless bool           `json:"headless,omitempty"` // its first thread has ended, others live
	Files    *OpenFiles     `json:"files,omitempty"`
	Cgroup   *CgroupState   `json:"cgroup,omitempty"`
	NotSeen  []string       `json:"not_seen,omitempty"` // what of this could not be looked at, and why: "where it waits (needs root)"
}

// Thread is one thread of a process.
type Thread struct {
	TID      int     `json:"tid"` // its number in /proc/PID/task
	Name     string  `json:"name,omitempty"`
	CPUMS    float64 `json:"cpu_ms"`              // that it used between the two looks
	QueuedMS float64 `json:"queued_ms,omitempty"` // that it waited for a processor
	Tireless bool    `json:"tireless,omitempty"`  // it did not wait for anything else, not once
}

// Busy tells whether the thread ran long enough to accept a connection many times over.
func (t *Thread) Busy() bool { return t != nil && t.CPUMS >= 10 }

// OpenFiles is how many descriptors a process has open, and may have.
type OpenFiles struct {
	Open  int `json:"open"`  // -1: not known
	Limit int `json:"limit"` // RLIMIT_NOFILE, the soft one
	Hard  int `json:"hard"`  // up to which its user may raise it; 0: no limit
}

// Full tells whether the next accept() fails with EMFILE.
func (o *OpenFiles) Full() bool { return o != nil && o.Open >= 0 && o.Limit > 0 && o.Open >= o.Limit }

// CgroupState is what its cgroup, or one above it, keeps a process from (cgroups(7)).
type CgroupState struct {
	Path        string             `json:"path"`                   // as /proc/PID/cgroup names it
	Frozen      bool               `json:"frozen,omitempty"`       //
	FrozenBy    string             `json:"frozen_by,omitempty"`    // the file that keeps it so: "/sys/fs/cgroup/x/cgroup.freeze"
	ThrottledMS float64            `json:"throttled_ms,omitempty"` // by its limit of CPU time, between the two looks
	Periods     int64              `json:"periods,omitempty"`      // of that limit, which ended between the two looks
	Throttled   int64              `json:"throttled,omitempty"`    // of these, those in which the limit was met
	CPUMax      string             `json:"cpu_max,omitempty"`      // "20000 100000": microseconds, in each period
	CPUAt       string             `json:"cpu_at,omitempty"`       // the file that sets this limit
	CPUUsedMS   float64            `json:"cpu_used_ms,omitempty"`  // by all its processes between the two looks
	Memory      int64              `json:"memory,omitempty"`       // bytes
	MemoryMax   int64              `json:"memory_max,omitempty"`   // 0: no limit
	MemoryHigh  int64              `json:"memory_high,omitempty"`  // bytes, above which it is slowed down; 0: no limit
	MemoryAt    string             `json:"memory_at,omitempty"`    // the file that sets the limit
	AtMemory    int64              `json:"at_memory,omitempty"`    // times that it met a limit of memory between the two looks
	UnderOOM    bool               `json:"under_oom,omitempty"`    // it is out of memory, and nobody is killed for it
	OOMKills    int64              `json:"oom_kills,omitempty"`    // since it was made
	Pressure    map[string]float64 `json:"pressure,omitempty"`     // "cpu", "memory", "io": percent of the last 10 s in which some task waited (PSI some avg10)
}

// QueueAt is one listener's accept queue at both looks.
type QueueAt struct {
	Inode  uint64 `json:"inode"` // the listener's
	Before Queue  `json:"before"`
	Queue  Queue  `json:"queue"`
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

// Stays tells whether connections waited at a listener at both looks, and no program
// took any from any listener in between.
func (w *Work) Stays(s Socket) bool {
	if w == nil || w.Left > 0 || s.Inode == 0 {
		return false
	}
	for _, q := range w.Queues {
		if q.Inode == s.Inode {
			return q.Before.Length > 0 && q.Queue.Length >= q.Before.Length
		}
	}
	return false
}
