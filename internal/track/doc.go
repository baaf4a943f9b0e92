// Package track knows what runs: for each process, known by its PID and when it
// was born, the files from which it can execute code. It is pure state, without
// I/O, clock and locks; whoever uses it has the one lock.
//
// # How it stays true
//
// Events mark processes dirty, and a reading decides. What a reading that began at
// some time says of a process stands for everything before that time; what was
// told of the process for a later time stays in force and keeps it dirty. So it
// does not matter in which order events and readings arrive, nor how often. A
// process that is not dirty has all the files that it has mapped, and no others
// than those that it had mapped once: unmapping is not told.
//
//   - A process is a number and a span of time in which it was born: some sources
//     tell when exactly, some in ticks, some only that it was there at a moment.
//     Spans that meet mean the same process. A number with another span has a new
//     holder, and the exit of the old one was lost.
//   - A fork has its parent's mappings, the same list, and is as clean as its
//     parent was. It is dirty if that is not certain: its parent is not known, or
//     changed later than the fork. What is told of the past of a process makes
//     forks since then dirty.
//   - A new program begins with its first mapping (trace.Event.Image), with an
//     Image, or with its Exec, whichever is known first. What was mapped before is
//     gone.
//   - A mapping that is told counts at once. It is told before it is made, so that
//     a reading that does not show it does not refute it, for a second.
//   - An exit is told while memory still can be read, so a reading does not revive
//     who ended, for a second. The last to end are remembered, against events that
//     come late.
//   - A loss puts everything in doubt that was read before it.
//
// What events told before the reading of a process stays with it: when a file was
// mapped. It is left out where an earlier mapping may have gone untold.
//
// The source of readings must give the same snapshot.File.Key for a file in each
// reading, or files are never the same. Events may give a Key of 0: such a file is
// the one with its ID, and is told from no other name of it.
//
// # What it costs
//
// Measured by BenchmarkMemory on amd64 at 10,000 processes of 30 files each, of
// 500: 55 bytes for each pair of process and file if no two processes have the
// same list (40 of them are the snapshot.Mapping, and the process itself takes 360
// bytes), and 12 if all are forks. A file costs some 200 bytes once.
//
// BenchmarkApply: some 250 ns of CPU an event for processes that are forked, execute,
// map five files and end, beside 10,000 others. What goes through all processes
// (Dirty, Processes, Count, a full snapshot) is for calls that are rare.
package track
