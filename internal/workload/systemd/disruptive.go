package systemd

import "strings"

// rule says what restarting a service interrupts. Its pattern is a service's
// name without ".service", or with a final "*" what the name begins with.
type rule struct{ pattern, why string }

const (
	cutsBus        = "disconnects every program on the system bus, many of which do not come back"
	cutsNetwork    = "may cut the network connections of this machine"
	cutsTunnel     = "drops the tunnels and the connections through them"
	cutsRoutes     = "withdraws routes and drops neighbours"
	endsDesktop    = "ends the graphical sessions"
	endsRemote     = "ends the remote desktop sessions"
	endsLogin      = "ends the login on that terminal"
	endsConnection = "ends that one connection"
	stopsGuests    = "may stop or disconnect virtual machines and containers"
	stopsPods      = "may stop containers, and stalls their starts and health checks"
	stallsStorage  = "stalls or detaches storage that is in use"
	stallsNFS      = "stalls network file systems and their locks"
	failsOver      = "may fail services over or have this node fenced"
	runsAgain      = "aborts a job that is running, or runs it again"
	abortsUpdate   = "aborts a software update that is running"
)

// systemRules are the services that one does not restart in passing. The base
// are needrestart's defaults ($nrconf{override_rc}); the rest follows from what
// their own units and manuals say a stop does. The first match counts.
//
// Not here, on purpose:
//   - ssh, sshd: KillMode=process, and each login lives in its session's scope,
//     so a restart ends none;
//   - cron, crond: KillMode=process likewise (Debian, cronie), jobs go on;
//   - systemd-journald, systemd-udevd, systemd-resolved, systemd-timesyncd,
//     polkit: they keep their state in /run or with the manager over a restart;
//   - dbus-:1.2-org.example.Name@0: what dbus-broker starts for a name on the bus
//     is no bus.
var systemRules = []rule{
	{"dbus", cutsBus},
	{"dbus-broker", cutsBus},
	{"dbus-daemon", cutsBus},

	{"systemd-logind*", "may end sessions, or leave graphical ones without their devices"},
	{"elogind*", "may end sessions, or leave graphical ones without their devices"},
	{"user@*", "stops all services and applications of that user"},
	{"getty@*", endsLogin},
	{"serial-getty@*", endsLogin},
	{"console-getty", endsLogin},
	{"container-getty@*", endsLogin},
	{"autovt@*", endsLogin},
	{"ssh@*", endsConnection},
	{"sshd@*", endsConnection},
	{"emergency", "ends the emergency shell"},
	{"rescue", "ends the rescue shell"},
	{"debug-shell", "ends the debug shell"},

	{"display-manager", endsDesktop},
	{"gdm*", endsDesktop},
	{"kdm*", endsDesktop},
	{"lightdm*", endsDesktop},
	{"sddm*", endsDesktop},
	{"lxdm*", endsDesktop},
	{"nodm*", endsDesktop},
	{"wdm*", endsDesktop},
	{"xdm*", endsDesktop},
	{"slim*", endsDesktop},
	{"greetd*", endsDesktop},
	{"ly", endsDesktop},
	{"ly@*", endsDesktop},
	{"xrdp*", endsRemote},
	{"vncserver*", endsRemote},
	{"x2go*", endsRemote},
	{"gnome-remote-desktop*", endsRemote},

	{"network*", cutsNetwork},
	{"NetworkManager*", cutsNetwork},
	{"systemd-networkd*", cutsNetwork},
	{"ModemManager*", cutsNetwork},
	{"wpa_supplicant*", cutsNetwork},
	{"iwd", cutsNetwork},
	{"hostapd*", cutsNetwork},
	{"connman*", cutsNetwork},
	{"wicked*", cutsNetwork},
	{"ifup@*", cutsNetwork},
	{"dhclient*", cutsNetwork},
	{"dhcpcd*", cutsNetwork},
	{"openvswitch*", cutsNetwork},
	{"ovs-vswitchd*", cutsNetwork},
	{"firewalld*", "loads the firewall anew and loses rules that others added to it"},
	{"bluetooth*", "disconnects Bluetooth devices, keyboards among them"},

	{"openvpn*", cutsTunnel},
	{"wg-quick@*", cutsTunnel},
	{"openswan*", cutsTunnel},
	{"freeswan*", cutsTunnel},
	{"libreswan*", cutsTunnel},
	{"strongswan*", cutsTunnel},
	{"ipsec*", cutsTunnel},
	{"tinc*", cutsTunnel},
	{"tailscaled*", cutsTunnel},
	{"zerotier*", cutsTunnel},
	{"netbird*", cutsTunnel},
	{"nebula*", cutsTunnel},
	{"xl2tpd*", cutsTunnel},
	{"ocserv*", cutsTunnel},
	{"pppd*", cutsTunnel},

	{"bird*", cutsRoutes},
	{"frr*", cutsRoutes},
	{"quagga*", cutsRoutes},
	{"zebra*", cutsRoutes},
	{"bgpd*", cutsRoutes},
	{"openbgpd*", cutsRoutes},
	{"gobgpd*", cutsRoutes},
	{"exabgp*", cutsRoutes},
	{"ospfd*", cutsRoutes},
	{"ospf6d*", cutsRoutes},
	{"ripd*", cutsRoutes},
	{"ripngd*", cutsRoutes},
	{"isisd*", cutsRoutes},
	{"babeld*", cutsRoutes},
	{"olsrd*", cutsRoutes},
	{"keepalived*", failsOver},
	{"pacemaker*", failsOver},
	{"corosync*", failsOver},

	{"docker", stopsPods},
	{"snap.docker.*", stopsPods},
	{"containerd", stopsPods},
	{"crio", stopsPods},
	{"kubelet", stopsPods},
	{"k3s*", stopsPods},
	{"k0s*", stopsPods},
	{"rke2*", stopsPods},
	{"snap.microk8s.*", stopsPods},
	{"systemd-nspawn@*", "stops the container and everything in it"},
	{"lxc*", stopsGuests},
	{"lxd*", stopsGuests},
	{"snap.lxd.*", stopsGuests},
	{"incus*", stopsGuests},
	{"libvirt*", stopsGuests},
	{"virtqemud*", stopsGuests},
	{"virtlxcd*", stopsGuests},
	{"virtxend*", stopsGuests},
	{"virtnetworkd*", stopsGuests},
	{"virtlogd*", stopsGuests},
	{"virtlockd*", stopsGuests},
	{"xen*", stopsGuests},
	{"pve-guests", stopsGuests},
	{"pve-ha-*", failsOver},
	{"pve-cluster", failsOver},

	{"zfs*", stallsStorage},
	{"iscsid*", stallsStorage},
	{"open-iscsi*", stallsStorage},
	{"multipathd*", stallsStorage},
	{"multipath-tools*", stallsStorage},
	{"drbd*", stallsStorage},
	{"ceph-*", stallsStorage},
	{"gluster*", stallsStorage},
	{"rpcbind*", stallsNFS},
	{"rpc-*", stallsNFS},
	{"nfs*", stallsNFS},

	{"apt-daily*", abortsUpdate},
	{"unattended-upgrades*", abortsUpdate},
	{"dnf-automatic*", abortsUpdate},
	{"dnf-system-upgrade*", abortsUpdate},
	{"packagekit*", abortsUpdate},
	{"fwupd*", "aborts a firmware update that is running"},
	{"cron-*", runsAgain}, // the jobs of systemd-cron
	{"anacron*", runsAgain},
	{"atd", runsAgain},
	{"rc-local", runsAgain},
	{"mythtv-backend*", "aborts recordings"},
}

const (
	endsUserDesktop = "ends the user's graphical session"
	endsWithBus     = "ends the user's graphical session, which does not survive its bus"
	closesProgram   = "closes the application, and what is not saved in it is lost"
	locksKeys       = "forgets the keys that the user has unlocked"
)

// userRules are the same for the services of a user's manager.
var userRules = []rule{
	{"dbus", endsWithBus},
	{"dbus-broker", endsWithBus},
	{"dbus-daemon", endsWithBus},
	{"dbus-:*", closesProgram}, // dbus-:1.2-org.gnome.Nautilus@0, started by the bus
	{"at-spi-dbus-bus*", "disconnects screen readers and other aids"},
	{"app-*", closesProgram},
	{"gnome-session*", endsUserDesktop},
	{"gnome-shell*", endsUserDesktop},
	{"org.gnome.Shell*", endsUserDesktop},
	{"plasma-ksmserver*", endsUserDesktop},
	{"plasma-kwin*", endsUserDesktop},
	{"xfce4-session*", endsUserDesktop},
	{"sway*", endsUserDesktop},
	{"gnome-keyring*", locksKeys},
	{"gpg-agent*", locksKeys},
	{"ssh-agent*", locksKeys},
	{"tmux*", "ends the shells inside"},
	{"emacs*", "closes the editor, and what is not saved in it is lost"},
	{"docker", stopsPods},
	{"containerd", stopsPods},
}

// disruption says what restarting the unit interrupts; it is empty where
// nothing but the unit's own service is gone for a moment.
func disruption(unit string, user bool) string {
	switch {
	case strings.HasSuffix(unit, ".mount"):
		return "unmounts the file system"
	case strings.HasSuffix(unit, ".swap"):
		return "turns the swap space off"
	}
	name, isService := strings.CutSuffix(unit, ".service")
	if !isService {
		return ""
	}
	rules := systemRules
	if user {
		rules = userRules
	}
	for _, r := range rules {
		prefix, open := strings.CutSuffix(r.pattern, "*")
		if name == prefix || open && strings.HasPrefix(name, prefix) {
			return r.why
		}
	}
	return ""
}

// instead is the better thing to do where the command to restart a unit is only the
// last resort: the message bus is made to run for as long as the machine, or the
// user's manager, does. Debian's dbus (its postinst) says of the system's that
// upstream does not support a restart, and asks for a reboot.
func instead(unit string, user bool) string {
	name, isService := strings.CutSuffix(unit, ".service")
	switch {
	case !isService || name != "dbus" && name != "dbus-broker" && name != "dbus-daemon":
		return ""
	case user:
		return "the user's message bus is renewed when the user has logged out of every session; the command does it at once"
	}
	return "the message bus is not made to be restarted, so reboot when it suits; the command does it at once"
}
