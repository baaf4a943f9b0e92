// Package store keeps what the daemon must not forget: patch events, which
// package version a file was, windows of exposure, gaps in observation, and the
// events that clients resume from. It is one SQLite database (pure Go) and knows
// no decisions: rows go in and come out as they are.
//
// # What survives what
//
//   - kill -9 at any point: every Batch whose Write returned nil is there, no
//     other is, not even in part.
//   - Power loss: the database is intact; the last batches may be gone, see
//     settings in connect.go. Sequence numbers of events are not handed out twice.
//   - A full disk: Write returns [ErrFull] and changes nothing. When there is
//     space again, the same Store works on.
//   - A file that is corrupt, no database, or of a newer schema: Open moves it
//     aside and starts anew; [Recovery] says so. Corruption that shows later is
//     [ErrCorrupt]: Close, [Discard], Open.
//
// SQLite has no checksums over its pages. What is found is damage to structure;
// a bit that flips inside the text of a row is read as it is.
//
// # One process, one connection
//
// A lock on a file beside the database admits one Store at a time; all of its
// work goes through one connection. Reads are bounded, and what takes long
// ([Store.Prune]) is done in small transactions, so that nobody waits long.
package store
