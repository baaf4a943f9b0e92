/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Files, as every program describes them: what one of them writes of a file has
 * to agree with what the others do.
 */
#ifndef SENSOR_FILE_BPF_H
#define SENSOR_FILE_BPF_H

#include "compat.bpf.h"
#include "event.h"
#include "kernel.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* Reads a field. Pointers whose type the verifier knows (typed) are followed
 * directly: a fault reads as zero, at a fraction of the cost of a helper call. The
 * others (a kprobe's registers, raw_tp's arguments, bpf_get_current_task) have to
 * be read by helper. typed is a constant, so one of the two remains. */
#define GET(typed, pointer, field)                                                     \
	({                                                                             \
		typeof((pointer)->field) value_ = {0};                                 \
		if (typed)                                                             \
			value_ = (pointer)->field;                                     \
		else                                                                   \
			bpf_core_read(&value_, sizeof(value_), &(pointer)->field);     \
		value_;                                                                \
	})

/* splitmix64's finaliser, so that no pointer is written out. */
static __always_inline __u64 mix(__u64 a, __u64 b)
{
	__u64 x = a ^ (b << 32 | b >> 32);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* Addresses become keys through a read by helper: the verifier allows no
 * arithmetic on pointers whose type it knows. */
struct place {
	__u64 mnt;
	__u64 dentry;
};

static __always_inline struct place place_of(struct path *path)
{
	struct place place = {};

	bpf_core_read(&place.mnt, sizeof(place.mnt), &path->mnt);
	bpf_core_read(&place.dentry, sizeof(place.dentry), &path->dentry);
	return place;
}

static __always_inline __u64 file_key_of(struct file *file, __u32 mnt_ns)
{
	struct place place = place_of(&file->f_path);

	return mix(mix(place.dentry, place.mnt), mnt_ns);
}

static __always_inline __u32 device_of(bool typed, struct inode *inode)
{
	struct super_block *sb = GET(typed, inode, i_sb);

	return GET(typed, sb, s_dev);
}

static __always_inline bool unlinked(bool typed, struct file *file)
{
	struct dentry *dentry = GET(typed, file, f_path.dentry);

	return !GET(typed, dentry, d_hash.pprev);
}

static __always_inline void read_file(bool typed, struct file *file, __u64 key, struct file_facts *f)
{
	struct inode *inode = GET(typed, file, f_inode);
	struct super_block *sb = GET(typed, inode, i_sb);

	f->key = key;
	f->ino = GET(typed, inode, i_ino);
	f->size = GET(typed, inode, i_size);
	inode_ctime(typed, inode, &f->ctime, &f->ctime_nsec);
	inode_mtime(typed, inode, &f->mtime, &f->mtime_nsec);
	f->dev = GET(typed, sb, s_dev);
	f->fs_magic = GET(typed, sb, s_magic);
	f->generation = GET(typed, inode, i_generation);
	f->pad = 0;
}

#endif
