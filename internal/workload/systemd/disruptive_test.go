package systemd

import (
	"strings"
	"testing"
)

func TestDisruption(t *testing.T) {
	for unit, want := range map[string]bool{
		"ssh.service": false, "sshd.service": false, "cron.service": false, "crond.service": false,
		"nginx.service": false, "postgresql@15-main.service": false, "polkit.service": false,
		"systemd-journald.service": false, "systemd-udevd.service": false, "systemd-resolved.service": false,
		"dbus-:1.3-org.freedesktop.problems@0.service": false,
		"docker-registry.service":                      false, "lynis.service": false, "foo.socket": false, "dbus.socket": false,

		"ssh@0-10.0.0.1:22-10.0.0.2:50000.service": true,
		"dbus.service": true, "dbus-broker.service": true, "systemd-logind.service": true,
		"gdm.service": true, "gdm3.service": true, "lightdm.service": true, "ly.service": true, "ly@tty2.service": true,
		"NetworkManager.service": true, "networking.service": true, "systemd-networkd.service": true, "ifup@eth0.service": true,
		"openvpn-client@a.service": true, "wg-quick@wg0.service": true, "strongswan-starter.service": true,
		"bird.service": true, "frr.service": true, "getty@tty1.service": true, "user@1000.service": true,
		"docker.service": true, "containerd.service": true, "kubelet.service": true, "libvirtd.service": true, "lxcfs.service": true,
		"apt-daily.service": true, "apt-daily-upgrade.service": true, "unattended-upgrades.service": true,
		"cron-daily.service": true, "rc-local.service": true, "zfs-zed.service": true, "mnt.mount": true,
	} {
		if got := disruption(unit, false); (got != "") != want {
			t.Errorf("%s: %q, want disruptive %v", unit, got, want)
		}
	}
	for unit, want := range map[string]bool{
		"ssh-agent.service": true, "app-org.kde.kate@1.service": true, "dbus.service": true,
		"dbus-broker.service": true, "at-spi-dbus-bus.service": true, "dbus-:1.2-org.gnome.Nautilus@250.service": true,
		"pipewire.service": false, "networking.service": false, "bluetooth.service": false,
	} {
		if got := disruption(unit, true); (got != "") != want {
			t.Errorf("user's %s: %q, want disruptive %v", unit, got, want)
		}
	}
}

// The bus is not made to be restarted, and what it started is no bus.
func TestInstead(t *testing.T) {
	for _, tt := range []struct {
		unit         string
		system, user string
	}{
		{"dbus.service", "reboot", "logged out"},
		{"dbus-broker.service", "reboot", "logged out"},
		{"dbus-daemon.service", "reboot", "logged out"},
		{"dbus.socket", "", ""},
		{"dbus-:1.2-org.gnome.Nautilus@250.service", "", ""},
		{"at-spi-dbus-bus.service", "", ""},
		{"ssh.service", "", ""},
	} {
		for user, want := range map[bool]string{false: tt.system, true: tt.user} {
			if got := instead(tt.unit, user); (got != "") != (want != "") || !strings.Contains(got, want) {
				t.Errorf("%s, of a user %v: %q", tt.unit, user, got)
			}
		}
	}
}

// A rule that can never be reached is a mistake in the table.
func TestRulesAreReachable(t *testing.T) {
	for _, rules := range [][]rule{systemRules, userRules} {
		for i, r := range rules {
			if r.pattern == "" || r.pattern == "*" || r.why == "" || strings.Contains(strings.TrimSuffix(r.pattern, "*"), "*") {
				t.Errorf("malformed rule %+v", r)
			}
			for _, earlier := range rules[:i] {
				prefix, open := strings.CutSuffix(earlier.pattern, "*")
				if earlier.pattern == r.pattern || open && strings.HasPrefix(r.pattern, prefix) {
					t.Errorf("%q hides %q", earlier.pattern, r.pattern)
				}
			}
		}
	}
}
