/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Kernel drift, one helper per change, each with the commit that made it.
 * A structure named x___flavour is the kernel's x as it was at one time
 * (libbpf and cilium/ebpf ignore what follows the three underscores).
 */
#ifndef SENSOR_COMPAT_BPF_H
#define SENSOR_COMPAT_BPF_H

#include "kernel.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

/* Up to Linux 6.6. */
struct inode___timespec {
	struct timespec64 i_mtime;
	struct timespec64 i_ctime;
};

/* Linux 6.6 and 6.7: 13bc24457850 ("fs: rename i_ctime field to __i_ctime"),
 * then 12cd44023651 ("fs: rename inode i_atime and i_mtime fields"). */
struct inode___underscored {
	struct timespec64 __i_mtime;
	struct timespec64 __i_ctime;
};

/* Linux 6.11: 3aa63a569c64 ("fs: switch timespec64 fields in inode to
 * discrete integers"). */
struct inode___discrete {
	__s64 i_mtime_sec;
	__s64 i_ctime_sec;
	__u32 i_mtime_nsec;
	__u32 i_ctime_nsec;
};

#pragma clang attribute pop

/* As GET of file.bpf.h: typed says that the verifier knows the pointer's type. */
#define READ_TIME(typed, to, from)                                                     \
	do {                                                                           \
		if (typed)                                                             \
			(to) = (from);                                                 \
		else                                                                   \
			bpf_core_read(&(to), sizeof(to), &(from));                     \
	} while (0)

static __always_inline void inode_ctime(bool typed, struct inode *inode, __s64 *sec, __u32 *nsec)
{
	struct inode___discrete *d = (void *)inode;
	struct inode___underscored *u = (void *)inode;
	struct inode___timespec *t = (void *)inode;
	long wide = 0;

	if (bpf_core_field_exists(d->i_ctime_sec)) {
		READ_TIME(typed, *sec, d->i_ctime_sec);
		READ_TIME(typed, *nsec, d->i_ctime_nsec);
		/* Linux 6.13: 4e40eff0b573 ("fs: add infrastructure for multigrain
		 * timestamps") keeps I_CTIME_QUERIED in the topmost bit. */
		*nsec &= ~(1U << 31);
		return;
	}
	if (bpf_core_field_exists(u->__i_ctime)) {
		READ_TIME(typed, *sec, u->__i_ctime.tv_sec);
		READ_TIME(typed, wide, u->__i_ctime.tv_nsec);
	} else {
		READ_TIME(typed, *sec, t->i_ctime.tv_sec);
		READ_TIME(typed, wide, t->i_ctime.tv_nsec);
	}
	*nsec = wide;
}

static __always_inline void inode_mtime(bool typed, struct inode *inode, __s64 *sec, __u32 *nsec)
{
	struct inode___discrete *d = (void *)inode;
	struct inode___underscored *u = (void *)inode;
	struct inode___timespec *t = (void *)inode;
	long wide = 0;

	if (bpf_core_field_exists(d->i_mtime_sec)) {
		READ_TIME(typed, *sec, d->i_mtime_sec);
		READ_TIME(typed, *nsec, d->i_mtime_nsec);
		return;
	}
	if (bpf_core_field_exists(u->__i_mtime)) {
		READ_TIME(typed, *sec, u->__i_mtime.tv_sec);
		READ_TIME(typed, wide, u->__i_mtime.tv_nsec);
	} else {
		READ_TIME(typed, *sec, t->i_mtime.tv_sec);
		READ_TIME(typed, wide, t->i_mtime.tv_nsec);
	}
	*nsec = wide;
}

/* 0 or an error, -EEXIST for one. Up to Linux 6.3 the upper half of what the call
 * returns is not the error's sign: d7ba4cc900bf ("bpf: return long from bpf_map_ops
 * funcs"). */
static __always_inline int map_insert(void *map, const void *key, const void *value)
{
	return bpf_map_update_elem(map, key, value, BPF_NOEXIST);
}

/* execve is between its point of no return and its end. task_struct.in_execve is
 * there up to Linux 7.2 at least; without it nothing is known of a beginning. */
static __always_inline bool in_execve(struct task_struct *task)
{
	if (!bpf_core_field_exists(task->in_execve))
		return false;
	return BPF_CORE_READ_BITFIELD_PROBED(task, in_execve);
}

#endif
