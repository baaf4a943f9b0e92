/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the programs of sensor.bpf.c remember: settings, the ring, marks, counters,
 * and what keeps one process from filling the ring.
 */
#ifndef SENSOR_STATE_BPF_H
#define SENSOR_STATE_BPF_H

#include "event.h"
#include "kernel.bpf.h"
#include "process.bpf.h"

#include <bpf/bpf_helpers.h>

#define SECOND 1000000000ULL

/* ---- settings, written before the programs are loaded -------------------- */

/* Records that one process may cause in a second. */
const volatile __u32 rate = 2000;

/* ---- state --------------------------------------------------------------- */

/* Whose numbers are written: of the process that ran locate(). */
struct reader reader = {};

/* A process of which repetitions are told too, for the reader's test of itself. */
__u32 tested_pid = 0;

/* The records of event.h that begin with a record_header. Its size is set before
 * it is created. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring SEC(".maps");

/* Processes that the reader should look at, by its number for them, and when
 * (CLOCK_BOOTTIME) they were about to map a file; 0 when it is done. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32 << 10);
	__type(key, __u32);
	__type(value, __u64);
} marks SEC(".maps");

/* Which program told of which file: hashes of both, in slots by hash. Whoever comes
 * to the same slot takes it, which only repeats a record. */
#define TOLD_BITS 16
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << TOLD_BITS);
	__type(key, __u32);
	__type(value, __u64);
} told SEC(".maps");

/* How many records a process caused lately, in slots likewise. */
#define PACE_BITS 12
struct pace {
	__u64 process; /* hash of start and number */
	__u64 since;   /* of count */
	__u64 until;   /* only marked until then */
	__u32 count;
	__u32 pauses; /* in a row, each twice as long as the one before */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << PACE_BITS);
	__type(key, __u32);
	__type(value, struct pace);
} paces SEC(".maps");

/* A process; its number alone may be used again. */
struct process_key {
	__u64 start;
	__u64 pid;
};

/* Processes whose exit was told. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4 << 10);
	__type(key, struct process_key);
	__type(value, __u8);
} exited SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

/* Atomic although it is this CPU's: programs may be preempted by one another. */
static __always_inline void count(enum counter which)
{
	struct counters *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&counts, &zero);
	if (c)
		__sync_fetch_and_add(&c->of[which], 1);
}

static __always_inline void mark(__u32 pid, bool done)
{
	__u64 since = done ? 0 : bpf_ktime_get_boot_ns();

	if (bpf_map_update_elem(&marks, &pid, &since, BPF_ANY))
		count(LOST_MARK);
}

/* ---- the pace of a process ----------------------------------------------- */

/* A pause of up to 2^LONGEST_PAUSE seconds follows more than rate records in one. */
#define LONGEST_PAUSE 5

static __always_inline bool limited(__u64 process)
{
	__u32 slot = process & ((1 << PACE_BITS) - 1);
	__u64 now = bpf_ktime_get_boot_ns();
	struct pace *p;

	p = bpf_map_lookup_elem(&paces, &slot);
	if (!p)
		return false;
	if (p->process != process) {
		p->process = process;
		p->since = now;
		p->until = 0;
		p->count = 1;
		p->pauses = 0;
		return false;
	}
	if (now < p->until)
		return true;
	if (now - p->since >= SECOND) {
		if (p->count <= rate || now - p->since >= SECOND << (LONGEST_PAUSE + 1))
			p->pauses = 0;
		p->since = now;
		p->count = 0;
	}
	p->count++;
	if (p->count <= rate)
		return false;
	p->until = now + (SECOND << (p->pauses & 7));
	if (p->pauses < LONGEST_PAUSE)
		p->pauses++;
	return true;
}

#endif
