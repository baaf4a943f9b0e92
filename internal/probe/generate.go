package probe

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -no-global-types -type process_record -type mapping_record -type process_flag -type mapping_flag -type record_kind -target amd64,arm64 -output-stem snapshot_bpf snapshot ../../bpf/snapshot.bpf.c -- -I../../bpf -O2 -g -Wall -Werror -fdebug-prefix-map=../../bpf=bpf
