// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * One pass over every virtual memory area of every process, or of one (BPF
 * iterator task_vma, Linux 5.12 and newer, 6.1 for one), or over the processes
 * alone (iterator task), written to the reader as records of event.h. Runs in the
 * reader's read(2); nothing is attached to the kernel.
 */
#include "event.h"
#include "file.bpf.h"
#include "kernel.bpf.h"
#include "process.bpf.h"

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types in the object's BTF, from which bpf2go reads them. */
struct process_record *unused_process __attribute__((unused));
struct identity_record *unused_identity __attribute__((unused));
struct mapping_record *unused_mapping __attribute__((unused));
enum process_flag unused_flag __attribute__((unused));

/* ---- what was written already ------------------------------------------- */

/* The number of this pass. The reader raises it, so that nothing which an earlier
 * pass wrote counts as written. */
__u64 pass = 0;

/* The thread of the last record, by number, start time and pass. The reader is a
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

/* Too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct process_record);
} scratch SEC(".maps");

static __always_inline struct pair *seen_slot(__u64 process, __u64 file_key)
{
	__u32 index = mix(process, file_key) & ((1 << SEEN_BITS) - 1);

	return bpf_map_lookup_elem(&seen, &index);
}

/* Writes the process and its executable; the latter's key, or 0, is returned
 * through exe_key. */
static __always_inline bool write_process(struct seq_file *seq, struct task_struct *task, __u64 *exe_key)
{
	struct mapping_record m = {};
	struct process_record *p;
	struct reader reader;
	struct file *exe;
	__u32 zero = 0;

	p = bpf_map_lookup_elem(&scratch, &zero);
	if (!p)
		return false;
	reader = current_reader();
	p->kind = RECORD_PROCESS;
	p->pad = 0;
	read_process(true, task, task->group_leader->real_parent, &reader, &p->process);
	p->exe[0] = 0;
	exe = task->mm->exe_file;
	if (exe && bpf_d_path(&exe->f_path, p->exe, sizeof(p->exe)) < 0)
		p->exe[0] = 0;
	if (bpf_seq_write(seq, p, sizeof(*p)))
		return false;
	if (!exe)
		return true;
	*exe_key = file_key_of(exe, p->process.mnt_ns);
	m.kind = RECORD_MAPPING;
	m.flags = MAPPING_EXE;
	if (unlinked(true, exe))
		m.flags |= MAPPING_UNLINKED;
	read_file(true, exe, *exe_key, &m.file);
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
	process = mix(mix(task->start_boottime, task->pid), pass);
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
		file_key = file_key_of(file, mnt_ns_of(true, task));
		slot = seen_slot(process, file_key);
		if (slot && slot->process == process && slot->file == file_key && !fresh)
			return 0;
		if (file_key != exe_key) {
			read_file(true, file, file_key, &m.file);
			m.kind = RECORD_MAPPING;
			if (unlinked(true, file))
				m.flags |= MAPPING_UNLINKED;
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

/* ---- processes alone ----------------------------------------------------- */

/* What a process does to itself without a system call that is traced: another root
 * directory, mount namespace, cgroup or user. Of a process whose main thread has
 * ended each thread is written; the reader takes the first. */
SEC("iter/task")
int processes(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct identity_record r = {};
	struct reader reader;

	if (!task || !task->mm || (task->exit_state & (EXIT_ZOMBIE | EXIT_DEAD)))
		return 0;
	if (task != task->group_leader && !(task->group_leader->exit_state & (EXIT_ZOMBIE | EXIT_DEAD)))
		return 0;
	reader = current_reader();
	r.kind = RECORD_IDENTITY;
	read_identity(true, task, task->group_leader->real_parent, &reader, &r.process);
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}
