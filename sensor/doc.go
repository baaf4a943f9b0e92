// Package sensor tells which running code on a Linux machine is older than what
// is installed, and what makes the patch effective.
//
// A patch has three states: pending (available), installed (on disk) and
// effective (no running code predates it). Package managers know the first two.
// This package knows the third.
//
//	report, err := sensor.New(sensor.Options{}).Scan(ctx)
//
// # How a verdict comes about
//
// The types appear here in the order in which data flows; each layer knows only
// those before it.
//
//   - snapshot.Process and snapshot.Mapping: what runs at one moment. Three
//     sources give the same: the BPF iterator (internal/probe, bpf/snapshot.bpf.c),
//     PROCMAP_QUERY and the text of /proc/PID/maps (internal/proc).
//   - view: one root directory in one mount namespace. Processes that share it
//     share its names. Names are only ever resolved inside a view.
//   - loaded: one mapped file, examined once however many processes map it,
//     through /proc/PID/map_files so that a deleted one can still be read.
//   - class: one loaded file, in one view, by the one name under which it was
//     loaded. Everything that does not differ between processes is found out once
//     for each class, so that cost grows with distinct files and with processes,
//     not with their product.
//   - packages: the package database of a view, asked once for all classes about
//     which a question is open. Each kind is one line in managers(); several in one
//     root are one (databases).
//   - Facts: all that is known about one load, as plain values.
//   - Verdict: what Decide, a pure function, makes of Facts: a State, a Reason,
//     how certain it is, and the rule as a sentence.
//   - Finding: the verdicts on the processes of one workload, with the versions,
//     the CVEs and one Remedy, so that a person acts once.
//
// # What counts as evidence
//
// Identity, content, and change time, in this order. Never the " (deleted)" in a
// name alone, a path alone, a start time against an installation time, or a link
// count of zero.
//
// The name by which a file was loaded matters as much as what it is now: the
// kernel shows where a renamed file went. It comes from the process's own memory:
// AT_EXECFN for the executable, the dynamic loader's link map for libraries. A
// process can write there what it likes, so a name decides nothing by itself: it
// only says where to look, inside the process's own root.
//
// A file that is the same inode as ever may have been written over. Decide takes
// the first proof there is: a change time before the process started; an
// executable, to which the kernel refuses writes; the checksum that the package
// recorded; the relocated pages that the process loses when the file is
// truncated. Without proof, the modification time has to do, and the verdict says
// that it is only likely.
//
// # Which version runs
//
// loadedVersion asks in this order: what a running sensor observed of the very file;
// what the file says of itself; a file of the same build ID, in the layers of the
// container's image or observed earlier; the package manager's history, held against
// the moment at which the old file lost its name. Where none tells, the version is not
// known. Files that no package ships may name the modules that they were built from
// (moduleLoads). What changed between the versions comes from changelogs (changesOf) and
// from imported advisories (advise), neither of which is evidence that nothing did.
//
// # Containers
//
// A container is one more view, judged like any other. Beside that:
//
//   - container.Find says by its cgroups which container a process is in; what a
//     runtime says of PIDs decides nothing.
//   - inventory.Inventory is what the runtimes say: names, images, layers, and what
//     the reference of a container's image names now.
//   - layer.Stack is a root, or an image, as the layers that it is made of: which of
//     them shipped a file (Package.Layer), and whether what is newer was put into the
//     container (Finding.Drift).
//   - supersede compares what a container has loaded with the image that its
//     reference names now.
//   - What containers of one image have from it is looked at once (borrow), and its
//     package database is parsed once.
//
// # The machine itself
//
// The kernel, its modules and the microcode are no files that a process maps, so they have
// facts and rules of their own, and one finding with a Cause for each:
//
//   - machine holds the facts, read by the leaves of internal/host; a running sensor keeps
//     them for as long as no name that was looked at leads to anything else
//     (machineMemory).
//   - judgeKernel, judgeModules and judgeMicrocode are pure.
//   - rebootVerdict says whether all that makes a reboot needed, or only advised: by
//     somebody's sentinel file, or because restarts would be dearer (RebootAdvice).
//
// # A sensor that runs
//
//	err := sensor.New(sensor.Options{Live: sensor.LiveOptions{Sinks: sinks}}).Run(ctx)
//
// Events mark processes as changed; a look decides. So there is one way only in
// which verdicts come about, the one above, and what Run adds is where its inputs
// come from:
//
//   - probe.Tracer tells of forks, execs, mappings and exits (trace.Event), and
//     which processes it had to leave out.
//   - track.State keeps what runs, pure and without a clock, and says what has to be
//     read again.
//   - watch.Watcher tells that a package database changed and has settled.
//   - memory is what is dear to find out anew: names, owners, and which package
//     version each file was when it was seen (evidence Observed).
//   - The worker, one goroutine, reads again what is marked, judges, and answers
//     questions. It looks at the whole only if what changed is not plainly current.
//   - ledger turns one report after another into events and exposures, and book
//     keeps these in the store.
//   - Sinks serve the world. They see a Live and nothing below it.
//
// # Three answers
//
// What cannot be read, raced away or is not certain is Unknown, and the report
// that holds it is not Complete. Nothing is Effective without a reason to say so.
package sensor
