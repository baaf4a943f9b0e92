/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The members of kernel structures that the programs read. Offsets are
 * relocated at load time against the running kernel's BTF (CO-RE), so only
 * names and types matter here. Sources: include/linux/{fs,dcache,mount,
 * mm_types,sched,pid,cgroup-defs,nsproxy,binfmts}.h, include/linux/sched/signal.h,
 * arch/{x86,arm64}/include/asm/ptrace.h.
 */
#ifndef SENSOR_KERNEL_BPF_H
#define SENSOR_KERNEL_BPF_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef _Bool bool;
#define true 1
#define false 0

typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

/* include/uapi/linux/bpf.h, enum bpf_map_type */
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_MAP_TYPE_RINGBUF 27

/* The same, flags of bpf_map_update_elem and bpf_ringbuf_submit. */
#define BPF_ANY 0
#define BPF_NOEXIST 1
#define BPF_RB_FORCE_WAKEUP 2

#define PROT_READ 0x1
#define PROT_EXEC 0x4

#define VM_WRITE 0x2UL
#define VM_EXEC 0x4UL
#define VM_SHARED 0x8UL

#define PF_FORKNOEXEC 0x40
#define PF_KTHREAD 0x200000

/* include/uapi/linux/personality.h */
#define READ_IMPLIES_EXEC 0x400000

#define EXIT_ZOMBIE 0x20
#define EXIT_DEAD 0x10

#define EBUSY 16
#define EEXIST 17

#define PIDTYPE_TGID 1
#define MAX_PID_NS_LEVEL 32

/* AT_VECTOR_SIZE words; the smallest is 46, AT_EXECFN within 44. */
#define AUXV_WORDS 44
#define AT_PHDR 3
#define AT_PHNUM 5
#define AT_EXECFN 31

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct ns_common {
	unsigned int inum;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct pid_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
	long long i_size;
	__u32 i_generation;
};

struct hlist_bl_node {
	struct hlist_bl_node *next, **pprev;
};

struct dentry {
	struct hlist_bl_node d_hash;
};

struct vfsmount;

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
};

struct mm_struct {
	unsigned long saved_auxv[AUXV_WORDS];
	struct file *exe_file;
};

struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	unsigned long vm_flags;
	struct file *vm_file;
};

struct fs_struct {
	struct path root;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t euid;
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live; /* threads that have not begun to exit */
	struct pid *pids[2];
};

struct linux_binprm {
	const char *filename;
};

struct task_struct {
	unsigned int flags;
	int exit_state;
	unsigned int personality;
	unsigned int in_execve : 1;
	int tgid;
	int pid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct mm_struct *mm;
	__u64 start_boottime;
	__u64 self_exec_id;
	struct cred *cred;
	char comm[16];
	struct fs_struct *fs;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct css_set *cgroups;
};

/* include/uapi/linux/bpf.h */
struct bpf_raw_tracepoint_args {
	__u64 args[1];
};

/* Where a system call's arguments and number are, and a function's arguments. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx, orig_ax;
};
#define REGS_ARG1(typed, regs) GET(typed, regs, di)
#define REGS_ARG2(typed, regs) GET(typed, regs, si)
#define REGS_ARG3(typed, regs) GET(typed, regs, dx)
#define REGS_SYSCALL(typed, regs) GET(typed, regs, orig_ax)
#define REGS_SYSCALL_ARG1(typed, regs) GET(typed, regs, di)
#define NR_MMAP 9
#define NR_MPROTECT 10
#define NR_PKEY_MPROTECT 329
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	__u64 regs[3];
	__u64 orig_x0; /* regs[0] is the result when a system call ends */
	__s32 syscallno;
};
#define REGS_ARG1(typed, regs) GET(typed, regs, regs[0])
#define REGS_ARG2(typed, regs) GET(typed, regs, regs[1])
#define REGS_ARG3(typed, regs) GET(typed, regs, regs[2])
#define REGS_SYSCALL(typed, regs) GET(typed, regs, syscallno)
#define REGS_SYSCALL_ARG1(typed, regs) GET(typed, regs, orig_x0)
#define NR_MMAP 222
#define NR_MPROTECT 226
#define NR_PKEY_MPROTECT 288
#else
#error "registers of this architecture"
#endif

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma;
};

#pragma clang attribute pop

#endif
