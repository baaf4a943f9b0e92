# What the guest does after its modules are loaded. The second serial port is told what
# came of it, test by test, as "go test -v" writes it.
stty -F /dev/ttyS1 raw
exec >/dev/ttyS1 2>&1

mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /opt /mnt/btrfs
mount -t ext4 /dev/vda /opt
mount -t btrfs /dev/vdb /mnt/btrfs
ip link set lo up
# A program with libraries, which busybox is not.
ln -sf /lab/sleep /bin/sleep

export SENSOR_BIN=/lab/sensor SENSOR_KERNELS_GUEST=1
while read -r suite arguments; do
	[ "${only:-$suite}" = "$suite" ] || continue
	echo "SUITE $suite"
	cd "/lab/$suite" || continue
	"/lab/$suite/test" -test.v -test.timeout 5m $arguments </dev/null
	echo "EXIT $suite $?"
done </lab/suites
sync
reboot -f
