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

static __always_inline void inode_ctime(const struct inode *inode, __s64 *sec, __u32 *nsec)
{
	const struct inode___discrete *d = (const void *)inode;
	const struct inode___underscored *u = (const void *)inode;
	const struct inode___timespec *t = (const void *)inode;

	if (bpf_core_field_exists(d->i_ctime_sec)) {
		*sec = d->i_ctime_sec;
		/* Linux 6.13: 4e40eff0b573 ("fs: add infrastructure for multigrain
		 * timestamps") keeps I_CTIME_QUERIED in the topmost bit. */
		*nsec = d->i_ctime_nsec & ~(1U << 31);
	} else if (bpf_core_field_exists(u->__i_ctime)) {
		*sec = u->__i_ctime.tv_sec;
		*nsec = u->__i_ctime.tv_nsec;
	} else {
		*sec = t->i_ctime.tv_sec;
		*nsec = t->i_ctime.tv_nsec;
	}
}

static __always_inline void inode_mtime(const struct inode *inode, __s64 *sec, __u32 *nsec)
{
	const struct inode___discrete *d = (const void *)inode;
	const struct inode___underscored *u = (const void *)inode;
	const struct inode___timespec *t = (const void *)inode;

	if (bpf_core_field_exists(d->i_mtime_sec)) {
		*sec = d->i_mtime_sec;
		*nsec = d->i_mtime_nsec;
	} else if (bpf_core_field_exists(u->__i_mtime)) {
		*sec = u->__i_mtime.tv_sec;
		*nsec = u->__i_mtime.tv_nsec;
	} else {
		*sec = t->i_mtime.tv_sec;
		*nsec = t->i_mtime.tv_nsec;
	}
}

#endif
