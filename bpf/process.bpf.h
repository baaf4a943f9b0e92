/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Processes, as every program describes them.
 */
#ifndef SENSOR_PROCESS_BPF_H
#define SENSOR_PROCESS_BPF_H

#include "event.h"
#include "file.bpf.h"
#include "kernel.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* A PID namespace and how deep it is nested: whose numbers are written. */
struct reader {
	__u64 pid_ns; /* address of the struct pid_namespace */
	__u32 level;
};

/* The number and namespace of a process at one level of PID namespaces. */
static __always_inline struct upid pid_at(struct pid *pid, __u32 level)
{
	struct upid upid = {};

	if (!pid || level >= MAX_PID_NS_LEVEL || (level && level > BPF_CORE_READ(pid, level)))
		return upid;
	bpf_core_read(&upid, sizeof(upid), (void *)&pid->numbers[0] + level * sizeof(upid));
	return upid;
}

/* The reader's number for a process or thread; 0 outside of its namespace. */
static __always_inline __u32 number_for(struct pid *pid, const struct reader *reader)
{
	struct upid upid = pid_at(pid, reader->level);

	return (__u64)upid.ns == reader->pid_ns ? upid.nr : 0;
}

/* The PID namespace of the current process. */
static __always_inline struct reader current_reader(void)
{
	struct task_struct *self = (void *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(self, thread_pid);
	struct reader reader = {};

	reader.level = BPF_CORE_READ(pid, level);
	reader.pid_ns = (__u64)pid_at(pid, reader.level).ns;
	return reader;
}

static __always_inline struct pid *tgid_of(bool typed, struct task_struct *task)
{
	struct signal_struct *signal = GET(typed, task, signal);

	return GET(typed, signal, pids[PIDTYPE_TGID]);
}

static __always_inline __u32 mnt_ns_of(bool typed, struct task_struct *task)
{
	struct nsproxy *nsproxy = GET(typed, task, nsproxy);
	struct mnt_namespace *mnt_ns = GET(typed, nsproxy, mnt_ns);

	return GET(typed, mnt_ns, ns.inum);
}

static __always_inline void read_auxv(bool typed, struct mm_struct *mm, struct process_facts *p)
{
	/* Pairs of type and value (create_elf_tables in fs/binfmt_elf.c). */
	int i;

#pragma unroll
	for (i = 0; i < AUXV_WORDS; i += 2) {
		unsigned long pair[2] = {};

		if (typed) {
			pair[0] = mm->saved_auxv[i];
			pair[1] = mm->saved_auxv[i + 1];
		} else {
			bpf_core_read(pair, sizeof(pair), &mm->saved_auxv[i]);
		}
		if (pair[0] == AT_PHDR)
			p->at_phdr = pair[1];
		else if (pair[0] == AT_PHNUM)
			p->at_phnum = pair[1];
		else if (pair[0] == AT_EXECFN)
			p->at_execfn = pair[1];
	}
}

/* Fills p, whose memory may hold anything, but for the auxiliary vector. task is a
 * live thread of the process, parent the process whose number becomes ppid. */
static __always_inline void read_identity(bool typed, struct task_struct *task, struct task_struct *parent,
					  const struct reader *reader, struct process_facts *p)
{
	struct task_struct *leader = GET(typed, task, group_leader);
	struct pid *tgid = tgid_of(typed, task);
	struct upid inner = pid_at(tgid, GET(typed, tgid, level));
	struct cred *cred = GET(typed, task, cred);
	struct fs_struct *fs = GET(typed, task, fs);
	struct css_set *cgroups = GET(typed, task, cgroups);
	struct cgroup *cgroup = GET(typed, cgroups, dfl_cgrp);
	struct kernfs_node *node = GET(typed, cgroup, kn);
	struct place root = place_of(&fs->root);
	__u64 css_set = 0;

	__builtin_memset(p, 0, sizeof(*p));
	p->pid = number_for(tgid, reader);
	p->tid = number_for(GET(typed, task, thread_pid), reader);
	p->ppid = number_for(tgid_of(typed, parent), reader);
	p->inner_pid = inner.nr;
	p->uid = GET(typed, cred, euid.val);
	p->pid_ns = BPF_CORE_READ(inner.ns, ns.inum);
	p->mnt_ns = mnt_ns_of(typed, task);
	if (GET(typed, leader, flags) & PF_FORKNOEXEC)
		p->flags |= PROCESS_FORKNOEXEC;
	if (GET(typed, leader, exit_state) & (EXIT_ZOMBIE | EXIT_DEAD))
		p->flags |= PROCESS_ZOMBIE_LEADER;
	p->start = GET(typed, leader, start_boottime);
	p->root_key = mix(root.dentry, root.mnt);
	bpf_core_read(&css_set, sizeof(css_set), &task->cgroups);
	p->cgroup_key = mix(css_set, 0);
	p->cgroup_id = GET(typed, node, id);
	bpf_probe_read_kernel_str(p->comm, sizeof(p->comm), leader->comm);
}

/* Fills all of p. */
static __always_inline void read_process(bool typed, struct task_struct *task, struct task_struct *parent,
					 const struct reader *reader, struct process_facts *p)
{
	read_identity(typed, task, parent, reader, p);
	read_auxv(typed, GET(typed, task, mm), p);
}

#endif
