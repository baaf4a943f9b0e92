// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * One pass over every virtual memory area of every process (BPF iterator
 * task_vma, Linux 5.12 and newer), written to the reader as records of
 * event.h. Runs in the reader's read(2); nothing is attached to the kernel.
 */
#include "kernel.bpf.h"
#include "compat.bpf.h"
#include "event.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the record types in the object's BTF, from which bpf2go reads them. */
struct process_record *unused_process __attribute__((unused));
struct mapping_record *unused_mapping __attribute__((unused));

/* ---- what was written already ------------------------------------------- */

/* The thread of the last record, by number and start time. The reader is a
 * single thread. */
__u64 last_process = 0;

/* A direct-mapped cache of (process, file) pairs that were written. A collision
 * only lets a duplicate through, which the reader drops. */
#define SEEN_BITS 13
struct pair {
	__u64 process;
	__u64 file;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << SEEN_BITS);
	__type(key, __u32);
	__type(value, struct pair);
} seen SEC(".maps");

/* Addresses become keys through a read by helper: the verifier allows no
 * arithmetic on pointers whose type it knows. */
struct place {
	__u64 mnt;
	__u64 dentry;
};

static __always_inline struct place place_of(const struct path *path)
{
	struct place place = {};

	bpf_core_read(&place.mnt, sizeof(place.mnt), &path->mnt);
	bpf_core_read(&place.dentry, sizeof(place.dentry), &path->dentry);
	return place;
}

/* Too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct process_record);
} scratch SEC(".maps");

static __always_inline __u64 mix(__u64 a, __u64 b)
{
	/* splitmix64's finaliser, so that no pointer is written out */
	__u64 x = a ^ (b << 32 | b >> 32);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* ---- processes ---------------------------------------------------------- */

/* Pointers that come from the iterator's context are followed directly: the
 * verifier knows their types and a fault reads as zero, at a fraction of the
 * cost of a helper call. */

/* The number and namespace of a process at one level of PID namespaces. */
static __always_inline struct upid pid_at(struct pid *pid, __u32 level)
{
	struct upid upid = {};

	if (!pid || level >= MAX_PID_NS_LEVEL || level > BPF_CORE_READ(pid, level))
		return upid;
	bpf_core_read(&upid, sizeof(upid), (void *)&pid->numbers[0] + level * sizeof(upid));
	return upid;
}

static __always_inline __u32 number_for(struct pid *pid, __u32 level, struct pid_namespace *ns)
{
	struct upid upid = pid_at(pid, level);

	return upid.ns == ns ? upid.nr : 0;
}

static __always_inline void read_auxv(struct mm_struct *mm, struct process_record *p)
{
	/* Pairs of type and value (create_elf_tables in fs/binfmt_elf.c). */
	int i;

#pragma unroll
	for (i = 0; i < 44; i += 2) {
		unsigned long type = mm->saved_auxv[i], value = mm->saved_auxv[i + 1];

		if (type == AT_PHDR)
			p->at_phdr = value;
		else if (type == AT_PHNUM)
			p->at_phnum = value;
		else if (type == AT_EXECFN)
			p->at_execfn = value;
	}
}

static __always_inline void read_process(struct task_struct *task, struct process_record *p)
{
	struct task_struct *self = (void *)bpf_get_current_task();
	struct task_struct *leader = task->group_leader;
	struct pid *self_pid = BPF_CORE_READ(self, thread_pid);
	struct pid *tgid = task->signal->pids[PIDTYPE_TGID];
	__u32 level = BPF_CORE_READ(self_pid, level);
	struct pid_namespace *ns = pid_at(self_pid, level).ns;
	struct upid inner = pid_at(tgid, tgid->level);
	struct place root;
	__u64 cgroups = 0;

	__builtin_memset(p, 0, sizeof(*p));
	p->kind = RECORD_PROCESS;
	p->pid = number_for(tgid, level, ns);
	p->tid = number_for(task->thread_pid, level, ns);
	p->ppid = number_for(leader->real_parent->signal->pids[PIDTYPE_TGID], level, ns);
	p->inner_pid = inner.nr;
	p->uid = task->cred->euid.val;
	p->pid_ns = BPF_CORE_READ(inner.ns, ns.inum);
	p->mnt_ns = task->nsproxy->mnt_ns->ns.inum;
	if (leader->flags & PF_FORKNOEXEC)
		p->flags |= PROCESS_FORKNOEXEC;
	if (leader->exit_state & (EXIT_ZOMBIE | EXIT_DEAD))
		p->flags |= PROCESS_ZOMBIE_LEADER;
	p->start = leader->start_boottime;
	root = place_of(&task->fs->root);
	p->root_key = mix(root.dentry, root.mnt);
	bpf_core_read(&cgroups, sizeof(cgroups), &task->cgroups);
	p->cgroup_key = mix(cgroups, 0);
	p->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	bpf_probe_read_kernel_str(p->comm, sizeof(p->comm), leader->comm);
	read_auxv(task->mm, p);
}

/* ---- mappings ----------------------------------------------------------- */

static __always_inline __u64 file_key_of(struct task_struct *task, struct file *file)
{
	struct place place = place_of(&file->f_path);

	return mix(mix(place.dentry, place.mnt), task->nsproxy->mnt_ns->ns.inum);
}

static __always_inline void read_file(struct file *file, __u64 file_key, struct mapping_record *m)
{
	struct inode *inode = file->f_inode;

	m->kind = RECORD_MAPPING;
	if (!file->f_path.dentry->d_hash.pprev)
		m->flags |= MAPPING_UNLINKED;
	m->file_key = file_key;
	m->ino = inode->i_ino;
	m->size = inode->i_size;
	inode_ctime(inode, &m->ctime, &m->ctime_nsec);
	inode_mtime(inode, &m->mtime, &m->mtime_nsec);
	m->dev = inode->i_sb->s_dev;
	m->fs_magic = inode->i_sb->s_magic;
	m->generation = inode->i_generation;
}

static __always_inline struct pair *seen_slot(__u64 process, __u64 file_key)
{
	__u32 index = mix(process, file_key) & ((1 << SEEN_BITS) - 1);

	return bpf_map_lookup_elem(&seen, &index);
}

/* Writes the process and its executable; the latter's key, or 0, is returned
 * through exe_key. */
static __always_inline bool write_process(struct seq_file *seq, struct task_struct *task, __u64 *exe_key)
{
	struct process_record *p;
	struct mapping_record m = {};
	struct file *exe;
	__u32 zero = 0;

	p = bpf_map_lookup_elem(&scratch, &zero);
	if (!p)
		return false;
	read_process(task, p);
	exe = task->mm->exe_file;
	if (exe && bpf_d_path(&exe->f_path, p->exe, sizeof(p->exe)) < 0)
		p->exe[0] = 0;
	if (bpf_seq_write(seq, p, sizeof(*p)))
		return false;
	if (!exe)
		return true;
	*exe_key = file_key_of(task, exe);
	read_file(exe, *exe_key, &m);
	m.flags |= MAPPING_EXE;
	return !bpf_seq_write(seq, &m, sizeof(m));
}

SEC("iter/task_vma")
int snapshot(struct bpf_iter__task_vma *ctx)
{
	struct vm_area_struct *vma = ctx->vma;
	struct task_struct *task = ctx->task;
	struct seq_file *seq = ctx->meta->seq;
	__u64 process, file_key = 0, exe_key = 0;
	struct mapping_record m = {};
	struct pair *slot = 0;
	struct file *file;
	bool fresh;

	if (!task || !vma)
		return 0;
	process = mix(task->start_boottime, task->pid);
	fresh = process != last_process;
	file = vma->vm_file;
	if (!fresh && (!file || !(vma->vm_flags & VM_EXEC)))
		return 0;

	/* When the reader's buffer is full, the kernel drops what this call
	 * wrote and calls again for the same area, so nothing may be remembered
	 * unless all of it was written (bpf_seq_read in kernel/bpf/bpf_iter.c). */
	if (fresh && !write_process(seq, task, &exe_key))
		return 0;
	if (file && (vma->vm_flags & VM_EXEC)) {
		file_key = file_key_of(task, file);
		slot = seen_slot(process, file_key);
		if (slot && slot->process == process && slot->file == file_key && !fresh)
			return 0;
		if (file_key != exe_key) {
			read_file(file, file_key, &m);
			if (vma->vm_flags & VM_WRITE)
				m.flags |= MAPPING_WRITE;
			if (vma->vm_flags & VM_SHARED)
				m.flags |= MAPPING_SHARED;
			m.start = vma->vm_start;
			m.end = vma->vm_end;
			if (bpf_seq_write(seq, &m, sizeof(m)))
				return 0;
		}
		if (slot) {
			slot->process = process;
			slot->file = file_key;
		}
	}
	if (fresh) {
		last_process = process;
		slot = seen_slot(process, exe_key);
		if (slot) {
			slot->process = process;
			slot->file = exe_key;
		}
	}
	return 0;
}
