package probe

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -no-global-types -type process_record -type process_facts -type file_facts -type mapping_record -type process_flag -type mapping_flag -type record_kind -target amd64,arm64 -output-stem snapshot_bpf snapshot ../../bpf/snapshot.bpf.c -- -I../../bpf -O2 -g -Wall -Werror -fdebug-prefix-map=../../bpf=bpf
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -no-global-types -type record_header -type process_facts -type file_facts -type fork_record -type exec_record -type map_record -type process_flag -type mapping_flag -type record_kind -type counters -type counter -target amd64,arm64 -output-stem sensor_bpf sensor ../../bpf/sensor.bpf.c -- -I../../bpf -O2 -g -Wall -Werror -fdebug-prefix-map=../../bpf=bpf
