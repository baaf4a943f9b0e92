/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The wire between kernel and user space. bpf2go generates the Go side from
 * these types, so they are written down once. Native byte order, no implicit
 * padding. Everything named "key" is an opaque number that is equal for equal
 * objects while they are in use, whichever program wrote it, and means nothing
 * else.
 */
#ifndef SENSOR_EVENT_H
#define SENSOR_EVENT_H

#include "kernel.bpf.h"

enum record_kind {
	/* Of a snapshot. */
	RECORD_PROCESS = 1, /* struct process_record: the process of what follows */
	RECORD_MAPPING = 2, /* struct mapping_record */
	RECORD_IDENTITY = 9, /* struct identity_record: a process alone */
	/* Of a trace. */
	RECORD_FORK = 3,  /* struct fork_record */
	RECORD_EXEC = 4,  /* struct exec_record */
	RECORD_EXIT = 5,  /* struct record_header: the last thread has ended */
	RECORD_MAP = 6,   /* struct map_record */
	RECORD_BEGIN = 7, /* struct record_header: execve begins to map its program */
	RECORD_SYNC = 8,  /* struct record_header: asked for by the reader */
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
	MAPPING_MPROTECT = 1 << 4, /* was mapped before, and became executable */
};

/* What is known of a process without its files. */
struct process_facts {
	__u32 pid;       /* thread group, in the reader's PID namespace */
	__u32 tid;       /* the live thread that was visited, same namespace */
	__u32 ppid;      /* parent, same namespace; 0 outside of it */
	__u32 inner_pid; /* thread group, in the process's own PID namespace */
	__u32 uid;       /* effective user, initial user namespace */
	__u32 pid_ns;    /* namespace inode numbers */
	__u32 mnt_ns;
	__u32 flags;      /* enum process_flag */
	__u64 start;      /* ns since boot, suspend included (CLOCK_BOOTTIME) */
	__u64 root_key;   /* root directory and its mount */
	__u64 cgroup_key; /* css_set: equal means the same cgroup everywhere */
	__u64 cgroup_id;  /* cgroup v2; not usable on v1 hosts */
	__u64 at_phdr;    /* auxiliary vector (getauxval(3)), 0 when absent */
	__u64 at_phnum;
	__u64 at_execfn;
	char comm[16]; /* of the main thread, NUL-padded */
};

/* What is known of a file that is mapped, through one name. */
struct file_facts {
	/* Directory entry, mount and mount namespace: tells hard links apart, and
	 * namespaces that share the private mount of an overlay's layer. */
	__u64 key;
	__u64 ino; /* of the layer's inode on overlayfs */
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

/* ---- of a snapshot ------------------------------------------------------ */

struct process_record {
	enum record_kind kind;
	__u32 pad;
	struct process_facts process; /* ppid: the real parent */
	/* The executable's path from the reader's root or, where that does not
	 * reach, from the root of its mount (d_path); empty if it is longer. */
	char exe[256];
};

struct identity_record {
	enum record_kind kind;
	__u32 pad;
	struct process_facts process; /* ppid: the real parent; no auxiliary vector */
};

struct mapping_record {
	enum record_kind kind;
	enum mapping_flag flags;
	__u64 start; /* addresses of the first such mapping */
	__u64 end;
	struct file_facts file;
};

/* ---- of a trace --------------------------------------------------------- */

struct record_header {
	enum record_kind kind;
	__u32 pid;   /* thread group, in the reader's PID namespace */
	__u64 at;    /* ns since boot, suspend included (CLOCK_BOOTTIME) */
	__u64 start; /* of the process, same clock; of a RECORD_SYNC the reader's token */
	/* Programs that the process and its ancestors have run (self_exec_id). For
	 * RECORD_BEGIN that of the program to come. */
	__u32 image;
	enum mapping_flag flags; /* of RECORD_MAP */
};

struct fork_record {
	struct record_header header;
	struct process_facts process; /* ppid: the one that called fork */
};

struct exec_record {
	struct record_header header;
	struct process_facts process; /* ppid: the real parent */
	struct file_facts file;       /* the executable; all 0 if there is none */
	char name[256]; /* as given to execve, NUL-terminated; cut off if it is longer */
};

struct map_record {
	struct record_header header;
	struct file_facts file;
};

/* What the programs count, each CPU for itself. */
enum counter {
	/* Seen. */
	COUNT_FORK,
	COUNT_EXEC,
	COUNT_EXIT,
	COUNT_MMAP,
	COUNT_MPROTECT,
	/* Left out. */
	COUNT_INVISIBLE, /* process outside of the reader's PID namespace */
	COUNT_REPEATED,  /* map: the same file in the same program as before */
	COUNT_LIMITED,   /* too many records of one process: only marked */
	/* Not told for want of room in the ring: marked only. */
	LOST_FORK,
	LOST_EXEC,
	LOST_EXIT,
	LOST_MAP,
	LOST_BEGIN,
	/* Not found out which file was mapped: marked only. */
	LOST_AREA,
	/* Not even marked. */
	LOST_MARK,
	COUNTERS,
};

struct counters {
	__u64 of[COUNTERS];
};

#endif
