// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * What changes among processes, told as it happens: forks, execs, exits, and files
 * that become executable in a process. Everything is best effort: what cannot be
 * told marks its process and is counted, and the reader looks for itself.
 *
 * Each hook has variants for what kernels offer; the reader loads one of them.
 * None of them denies anything or waits.
 */
#include "compat.bpf.h"
#include "event.h"
#include "file.bpf.h"
#include "kernel.bpf.h"
#include "process.bpf.h"
#include "state.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types in the object's BTF, from which bpf2go reads them. */
struct fork_record *unused_fork __attribute__((unused));
struct exec_record *unused_exec __attribute__((unused));
struct map_record *unused_map __attribute__((unused));
enum counter unused_counter __attribute__((unused));
enum process_flag unused_flag __attribute__((unused));

/* ---- records ------------------------------------------------------------- */

static __always_inline void fill_header(bool typed, struct task_struct *task, enum record_kind kind, __u32 pid, __u64 start,
					struct record_header *h)
{
	h->kind = kind;
	h->pid = pid;
	h->at = bpf_ktime_get_boot_ns();
	h->start = start;
	h->image = GET(typed, task, self_exec_id);
	h->flags = 0;
}

static __always_inline __u64 start_of(bool typed, struct task_struct *task)
{
	struct task_struct *leader = GET(typed, task, group_leader);

	return GET(typed, leader, start_boottime);
}

/* The reader's number for a process, counted if it has none. */
static __always_inline __u32 visible_pid(bool typed, struct task_struct *task)
{
	__u32 pid = number_for(tgid_of(typed, task), &reader);

	if (!pid)
		count(COUNT_INVISIBLE);
	return pid;
}

/* ---- forks, execs, exits ------------------------------------------------- */

/* Threads and the kernel's own processes are left out. A fork is told in full, so
 * the process is marked only when that fails. */
static __always_inline int on_fork(bool typed, struct task_struct *parent, struct task_struct *child)
{
	struct fork_record *r;
	__u32 pid;

	if (GET(typed, child, pid) != GET(typed, child, tgid) || GET(typed, child, flags) & PF_KTHREAD)
		return 0;
	count(COUNT_FORK);
	pid = visible_pid(typed, child);
	if (!pid)
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		mark(pid, true);
		count(LOST_FORK);
		return 0;
	}
	fill_header(typed, child, RECORD_FORK, pid, GET(typed, child, start_boottime), &r->header);
	read_process(typed, child, parent, &reader, &r->process);
	bpf_ringbuf_submit(r, 0);
	return 0;
}

static __always_inline int on_exec(bool typed, struct task_struct *task, struct linux_binprm *bprm)
{
	struct task_struct *leader, *parent;
	struct exec_record *r;
	struct mm_struct *mm;
	struct file *exe;
	__u64 start;
	__u32 pid;

	count(COUNT_EXEC);
	pid = visible_pid(typed, task);
	if (!pid)
		return 0;
	mark(pid, true);
	start = start_of(typed, task);
	if (limited(mix(start, pid))) {
		count(COUNT_LIMITED);
		return 0;
	}
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		count(LOST_EXEC);
		return 0;
	}
	fill_header(typed, task, RECORD_EXEC, pid, start, &r->header);
	leader = GET(typed, task, group_leader);
	parent = GET(typed, leader, real_parent);
	read_process(typed, task, parent, &reader, &r->process);
	mm = GET(typed, task, mm);
	exe = GET(typed, mm, exe_file);
	if (exe)
		read_file(typed, exe, file_key_of(exe, r->process.mnt_ns), &r->file);
	else
		__builtin_memset(&r->file, 0, sizeof(r->file));
	if (bpf_probe_read_kernel_str(r->name, sizeof(r->name), GET(typed, bprm, filename)) < 0)
		r->name[0] = 0;
	bpf_ringbuf_submit(r, 0);
	return 0;
}

/* The process has ended when its last thread has (do_exit in kernel/exit.c counts
 * live down before it comes here). Several threads may find that they were the last,
 * one of them when the others have been reaped already: between the count and this
 * place a thread gives up its memory. Told twice is better than not told: only what is
 * in the map is left out, not what there was no room for. */
static __always_inline int on_exit(bool typed, struct task_struct *task)
{
	struct signal_struct *signal = GET(typed, task, signal);
	struct process_key key = {};
	struct record_header *r;
	__u8 one = 1;
	__u32 pid;

	if (GET(typed, signal, live.counter) != 0 || GET(typed, task, flags) & PF_KTHREAD)
		return 0;
	key.start = start_of(typed, task);
	key.pid = GET(typed, task, tgid);
	if (map_insert(&exited, &key, &one) == -EEXIST)
		return 0;
	count(COUNT_EXIT);
	pid = visible_pid(typed, task);
	if (!pid)
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		mark(pid, true);
		count(LOST_EXIT);
		return 0;
	}
	fill_header(typed, task, RECORD_EXIT, pid, key.start, r);
	bpf_ringbuf_submit(r, 0);
	bpf_map_delete_elem(&marks, &pid);
	return 0;
}

/* begin_new_exec (fs/exec.c) renames the task right before it raises self_exec_id
 * and maps the new program. Only for TierPerf, whose records do not tell the
 * image. */
static __always_inline int on_rename(bool typed, struct task_struct *task)
{
	struct record_header *r;
	__u32 pid;

	if (task != (void *)bpf_get_current_task() || !in_execve(task))
		return 0;
	pid = visible_pid(typed, task);
	if (!pid)
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		mark(pid, true);
		count(LOST_BEGIN);
		return 0;
	}
	fill_header(typed, task, RECORD_BEGIN, pid, start_of(typed, task), r);
	r->image++;
	bpf_ringbuf_submit(r, 0);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(fork_btf, struct task_struct *parent, struct task_struct *child)
{
	return on_fork(true, parent, child);
}

SEC("raw_tp/sched_process_fork")
int BPF_PROG(fork_raw, struct task_struct *parent, struct task_struct *child)
{
	return on_fork(false, parent, child);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_btf, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	return on_exec(true, task, bprm);
}

SEC("raw_tp/sched_process_exec")
int BPF_PROG(exec_raw, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	return on_exec(false, task, bprm);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_btf, struct task_struct *task)
{
	return on_exit(true, task);
}

SEC("raw_tp/sched_process_exit")
int BPF_PROG(exit_raw, struct task_struct *task)
{
	return on_exit(false, task);
}

SEC("tp_btf/task_rename")
int BPF_PROG(rename_btf, struct task_struct *task)
{
	return on_rename(true, task);
}

SEC("raw_tp/task_rename")
int BPF_PROG(rename_raw, struct task_struct *task)
{
	return on_rename(false, task);
}

/* ---- executable files ---------------------------------------------------- */

/* A file is told once for each program that maps it. The process is marked each
 * time: it may have unmapped the file, and the reader have noticed that. Unless it
 * is done, the file will be mapped shortly after. */
static __always_inline int on_map(bool typed, struct file *file, enum mapping_flag flags, bool done)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 start, process, pair, *slot;
	struct map_record *r;
	struct inode *inode;
	__u32 pid, index, nsec = 0;
	__s64 sec = 0;

	if (GET(false, task, flags) & PF_KTHREAD)
		return 0;
	count(flags & MAPPING_MPROTECT ? COUNT_MPROTECT : COUNT_MMAP);
	pid = visible_pid(false, task);
	if (!pid)
		return 0;
	mark(pid, done);
	start = start_of(false, task);
	process = mix(start, pid);
	inode = GET(typed, file, f_inode);
	inode_ctime(typed, inode, &sec, &nsec);
	pair = mix(mix(process, GET(false, task, self_exec_id)),
		   mix(mix(GET(typed, inode, i_ino), device_of(typed, inode)), mix(sec, nsec)));
	index = pair & ((1 << TOLD_BITS) - 1);
	slot = bpf_map_lookup_elem(&told, &index);
	if (slot && *slot == pair && pid != tested_pid) {
		count(COUNT_REPEATED);
		return 0;
	}
	if (limited(process)) {
		count(COUNT_LIMITED);
		return 0;
	}
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		count(LOST_MAP);
		return 0;
	}
	fill_header(false, task, RECORD_MAP, pid, start, &r->header);
	r->header.flags = flags;
	if (unlinked(typed, file))
		r->header.flags |= MAPPING_UNLINKED;
	read_file(typed, file, file_key_of(file, mnt_ns_of(false, task)), &r->file);
	bpf_ringbuf_submit(r, 0);
	if (slot)
		*slot = pair;
	return 0;
}

static __always_inline int on_mprotect(bool typed, struct vm_area_struct *vma)
{
	struct file *file = GET(typed, vma, vm_file);

	if (!file || GET(typed, vma, vm_flags) & VM_EXEC)
		return 0;
	return on_map(typed, file, MAPPING_MPROTECT, false);
}

/* security_mmap_file is given what was asked for, before mmap_prot
 * (security/security.c) adds what the personality implies; the hooks after it are
 * given the sum. */
static __always_inline bool asks_exec(unsigned long prot)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (prot & PROT_EXEC)
		return true;
	return prot & PROT_READ && GET(false, task, personality) & READ_IMPLIES_EXEC;
}

/* A file is NULL for anonymous memory, whatever the verifier thinks. */

SEC("lsm/mmap_file")
int BPF_PROG(lsm_mmap, struct file *file, unsigned long reqprot, unsigned long prot)
{
	if (file && prot & PROT_EXEC)
		on_map(true, file, 0, false);
	return 0;
}

SEC("lsm/file_mprotect")
int BPF_PROG(lsm_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	if (prot & PROT_EXEC)
		on_mprotect(true, vma);
	return 0;
}

SEC("fentry/security_mmap_file")
int BPF_PROG(fentry_mmap, struct file *file, unsigned long prot)
{
	if (file && asks_exec(prot))
		on_map(true, file, 0, false);
	return 0;
}

SEC("fentry/security_file_mprotect")
int BPF_PROG(fentry_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	if (prot & PROT_EXEC)
		on_mprotect(true, vma);
	return 0;
}

SEC("kprobe/security_mmap_file")
int kprobe_mmap(struct pt_regs *regs)
{
	struct file *file = (void *)REGS_ARG1(true, regs);

	if (file && asks_exec(REGS_ARG2(true, regs)))
		on_map(false, file, 0, false);
	return 0;
}

SEC("kprobe/security_file_mprotect")
int kprobe_mprotect(struct pt_regs *regs)
{
	if (REGS_ARG3(true, regs) & PROT_EXEC)
		on_mprotect(false, (void *)REGS_ARG1(true, regs));
	return 0;
}

/* After the fact, at the end of every system call. Only the first area of an
 * mprotect is looked at, and 32-bit programs are left to the reader's scan. */

static long on_area(struct task_struct *task, struct vm_area_struct *vma, enum mapping_flag *flags)
{
	struct file *file = vma->vm_file;

	if (file && vma->vm_flags & VM_EXEC)
		on_map(true, file, *flags, true);
	return 0;
}

SEC("raw_tp/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long result)
{
	long number = REGS_SYSCALL(false, regs);
	enum mapping_flag flags = 0;
	unsigned long address;
	struct task_struct *task;
	__u32 pid;

	if (number == NR_MMAP) {
		address = result;
		if (address >= -4095UL)
			return 0;
	} else if (number == NR_MPROTECT || number == NR_PKEY_MPROTECT) {
		flags = MAPPING_MPROTECT;
		address = REGS_SYSCALL_ARG1(false, regs);
		if (result || !(REGS_ARG3(false, regs) & PROT_EXEC))
			return 0;
	} else {
		return 0;
	}
	/* ENOENT: it is gone again. */
	task = bpf_get_current_task_btf();
	if (bpf_find_vma(task, address, on_area, &flags, 0) == -EBUSY) {
		pid = visible_pid(true, task);
		if (pid) {
			mark(pid, true);
			count(LOST_AREA);
		}
	}
	return 0;
}

/* ---- what the reader asks for -------------------------------------------- */

/* Both are run by BPF_PROG_TEST_RUN in the reader's own context and never
 * attached. */

SEC("raw_tp/locate")
int locate(void *ctx)
{
	reader = current_reader();
	return reader.pid_ns != 0;
}

SEC("raw_tp/sync")
int sync(struct bpf_raw_tracepoint_args *ctx)
{
	struct record_header *r;

	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r)
		return 0;
	__builtin_memset(r, 0, sizeof(*r));
	r->kind = RECORD_SYNC;
	r->at = bpf_ktime_get_boot_ns();
	r->start = ctx->args[0];
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
	return 1;
}
