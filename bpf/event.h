/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The wire between kernel and user space. bpf2go generates the Go side from
 * these types, so they are written down once. Native byte order, no implicit
 * padding. Everything named "key" is an opaque number that is equal for equal
 * objects within one snapshot and means nothing else.
 */
#ifndef SENSOR_EVENT_H
#define SENSOR_EVENT_H

enum record_kind {
	RECORD_PROCESS = 1, /* struct process_record: the process of what follows */
	RECORD_MAPPING = 2, /* struct mapping_record */
};

enum process_flag {
	PROCESS_FORKNOEXEC = 1 << 0,   /* forked and has not called execve since */
	PROCESS_ZOMBIE_LEADER = 1 << 1, /* main thread is dead, tid is another one */
};

enum mapping_flag {
	MAPPING_EXE = 1 << 0,     /* the process's executable, mapped or not: no addresses */
	MAPPING_WRITE = 1 << 1,   /* writable as well as executable */
	MAPPING_SHARED = 1 << 2,  /* VM_SHARED */
	MAPPING_UNLINKED = 1 << 3, /* the name it was opened by is gone */
};

struct process_record {
	enum record_kind kind;
	__u32 pid;       /* thread group, in the reader's PID namespace */
	__u32 tid;       /* the live thread that was visited, same namespace */
	__u32 ppid;      /* real parent, same namespace; 0 outside of it */
	__u32 inner_pid; /* thread group, in the process's own PID namespace */
	__u32 uid;       /* effective user, initial user namespace */
	__u32 pid_ns;    /* namespace inode numbers */
	__u32 mnt_ns;
	enum process_flag flags;
	__u32 pad;
	__u64 start;      /* ns since boot, suspend included (CLOCK_BOOTTIME) */
	__u64 root_key;   /* root directory and its mount */
	__u64 cgroup_key; /* css_set: equal means the same cgroup everywhere */
	__u64 cgroup_id;  /* cgroup v2; not usable on v1 hosts */
	__u64 at_phdr;    /* auxiliary vector (getauxval(3)), 0 when absent */
	__u64 at_phnum;
	__u64 at_execfn;
	char comm[16]; /* of the main thread, NUL-padded */
	/* The executable's path from the reader's root or, where that does not
	 * reach, from the root of its mount (d_path); empty if it is longer. */
	char exe[256];
};

struct mapping_record {
	enum record_kind kind;
	enum mapping_flag flags;
	__u64 start; /* addresses of the first such mapping */
	__u64 end;
	/* Directory entry, mount and mount namespace: tells hard links apart, and
	 * namespaces that share the private mount of an overlay's layer. */
	__u64 file_key;
	__u64 ino;      /* of the layer's inode on overlayfs */
	__u64 size;
	__s64 ctime; /* seconds since the epoch */
	__s64 mtime;
	__u32 ctime_nsec;
	__u32 mtime_nsec;
	__u32 dev; /* kernel encoding: major << 20 | minor */
	__u32 generation;
	__u32 fs_magic; /* type of its file system (statfs(2), linux/magic.h) */
	__u32 pad;
};

#endif
