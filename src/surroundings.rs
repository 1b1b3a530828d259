//! What can be told of the place we run in without asking an engine: whether it is a container, which one, which
//! networks it is on, and when the host booted.
//!
//! Linux tells all of it in small files below `/proc`. Parsing them is pure and lives here beside the reading, which
//! is one line each. What cannot be read is not known, and that is never an error: elsewhere than on Linux, and in
//! a sandbox without `/proc`, anteroom is merely less clever.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whether we run in a container of an engine: Docker leaves `/.dockerenv` in each, Podman `/run/.containerenv`.
///
/// A pod of Kubernetes is none, whatever runs it: its services have addresses outside every network of the pod.
pub fn in_container() -> bool {
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    !in_pod && ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
}

/// The id of our own container: 64 hex digits, or 12 where only the host name tells. `None` outside a container.
pub fn own_container_id() -> Option<String> {
    id_from_mounts(&read("/proc/self/mountinfo"))
        .or_else(|| id_from_cgroups(&read("/proc/self/cgroup")))
        .or_else(|| std::env::var("HOSTNAME").ok().filter(|name| in_container() && is_hex(name, 12)))
}

/// When the host booted. In a container too: its `/proc/stat` is the host's.
pub fn booted_at() -> Option<SystemTime> {
    boot_time(&read("/proc/stat"))
}

/// The networks that we are on now. They change when somebody connects our container to another one, so ask again
/// rather than keep the answer.
pub fn own_networks() -> OwnNetworks {
    OwnNetworks::parse(&read("/proc/net/route"), &read("/proc/net/if_inet6"))
}

/// The networks whose addresses we reach without a gateway. Loopback is always one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnNetworks {
    /// Network and mask.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl OwnNetworks {
    /// Whether an address lies in one of them. Where not one network could be read, each might: to refuse an address
    /// for what we do not know would keep anteroom from working at all wherever `/proc/net` is hidden.
    pub fn contains(&self, address: IpAddr) -> bool {
        if self.v4.is_empty() && self.v6.is_empty() {
            return true;
        }
        match address.to_canonical() {
            IpAddr::V4(v4) => v4.is_loopback() || self.v4.iter().any(|(net, mask)| v4.to_bits() & mask == *net),
            IpAddr::V6(v6) => v6.is_loopback() || self.v6.iter().any(|(net, mask)| v6.to_bits() & mask == *net),
        }
    }

    /// Reads the formats of `/proc/net/route` and `/proc/net/if_inet6`; lines that are not understood are left out.
    fn parse(route: &str, if_inet6: &str) -> Self {
        Self {
            v4: route.lines().filter_map(direct_route).collect(),
            v6: if_inet6.lines().filter_map(interface_network).collect(),
        }
    }
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`: a route that is not the default and has no gateway.
fn direct_route(line: &str) -> Option<(u32, u32)> {
    // The kernel prints the big-endian word of the wire as if it were a number of the machine's own order.
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(|n| Ipv4Addr::from(n.to_ne_bytes()).to_bits());
    let mut fields = line.split_ascii_whitespace().skip(1);
    let destination = word(fields.next()?)?;
    let gateway = word(fields.next()?)?;
    let mask = word(fields.nth(4)?)?;
    (gateway == 0 && mask != 0).then_some((destination & mask, mask))
}

/// `address index prefix scope flags name`, the first four in hex.
fn interface_network(line: &str) -> Option<(u128, u128)> {
    let mut fields = line.split_ascii_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let prefix = u32::from_str_radix(fields.nth(1)?, 16).ok().filter(|bits| (1..=128).contains(bits))?;
    let mask = u128::MAX << (128 - prefix);
    // Loopback needs no entry, and `::1/128` would make an unknown network look known.
    (!Ipv6Addr::from(address).is_loopback()).then_some((address & mask, mask))
}

/// Docker and Podman mount a few files of theirs into each container, from a directory that is named after its id:
/// `/var/lib/docker/containers/<id>/hostname`, `…/overlay-containers/<id>/userdata/hosts`.
///
/// Only these mount points count: on a host, and in a container with the engine's directory mounted, the table also
/// holds the mounts of other containers.
fn id_from_mounts(mountinfo: &str) -> Option<String> {
    let ours = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv"];
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let segments = || root.split('/');
        let id = segments().zip(segments().skip(1)).find(|(above, id)| above.ends_with("containers") && is_hex(id, 64));
        id.filter(|_| ours.contains(&point)).map(|(_, id)| id.to_owned())
    })
}

/// Version 1 of cgroups shows the path from the host's root: `/docker/<id>`, `/system.slice/docker-<id>.scope`,
/// `/machine.slice/libpod-<id>.scope`. Version 2 in its own namespace shows `/`, which tells nothing.
fn id_from_cgroups(cgroup: &str) -> Option<String> {
    cgroup.lines().find_map(|line| {
        let last = line.rsplit('/').next()?;
        let id = last.strip_suffix(".scope").unwrap_or(last);
        let id = id.strip_prefix("docker-").or_else(|| id.strip_prefix("libpod-")).unwrap_or(id);
        is_hex(id, 64).then(|| id.to_owned())
    })
}

fn boot_time(stat: &str) -> Option<SystemTime> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    // A sandbox that hides it says 0.
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).filter(|_| seconds > 0)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a file of the kernel's says; nothing if it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "c15b328e0261f0a1a2a3a4a5a6a7a8a9b0b1b2b3b4b5b6b7b8b9c0c1c2c3c4c5";

    #[test]
    fn a_container_knows_itself_by_the_files_that_its_engine_mounts() {
        let docker = format!(
            "612 580 0:52 / / rw - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/AAA\n\
             620 612 8:1 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/sda1 rw\n"
        );
        let podman = format!(
            "700 650 0:41 /containers/overlay-containers/{ID}/userdata/.containerenv /run/.containerenv rw - tmpfs tmpfs rw\n"
        );
        let data_root_elsewhere =
            format!("620 612 8:1 /data/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n");
        for mounts in [docker, podman, data_root_elsewhere] {
            assert_eq!(id_from_mounts(&mounts).as_deref(), Some(ID), "{mounts}");
        }
    }

    #[test]
    fn mounts_of_other_containers_are_not_ours() {
        let cases = [
            format!("90 27 0:44 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw\n"),
            format!("91 27 8:1 /var/lib/docker/containers/{ID}/hostname /mnt/backup rw - ext4 /dev/sda1 rw\n"),
            format!("92 27 8:1 /var/lib/kubelet/pods/{ID}/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"),
            "93 27 8:1 /var/lib/docker/containers/short/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n".to_owned(),
            String::new(),
            "\n \nno fields\n".to_owned(),
        ];
        for mounts in cases {
            assert_eq!(id_from_mounts(&mounts), None, "{mounts}");
        }
    }

    #[test]
    fn cgroup_paths_name_the_container_where_they_are_not_hidden() {
        let cases = [
            (format!("12:pids:/docker/{ID}\n"), true),
            (format!("1:name=systemd:/system.slice/docker-{ID}.scope\n"), true),
            (format!("0::/machine.slice/libpod-{ID}.scope\n"), true),
            ("0::/\n".to_owned(), false),
            ("0::/user.slice/user-1000.slice/session-2.scope\n".to_owned(), false),
            (String::new(), false),
        ];
        for (cgroup, known) in cases {
            assert_eq!(id_from_cgroups(&cgroup).is_some(), known, "{cgroup}");
        }
    }

    #[test]
    fn the_boot_time_is_a_line_of_the_kernels_statistics() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(boot_time("cpu 1 2 3\nbtime 1721900000\nprocesses 9\n"), at(1_721_900_000));
        for nothing in ["", "btime 0\n", "btime later\n", "btime 99999999999999999999\n", "xbtime 5\n"] {
            assert_eq!(boot_time(nothing), None, "{nothing}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn own_networks_are_those_without_a_gateway() {
        let route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010013AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000013AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            eth1\t0000000A\t010013AC\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n";
        let inet6 = "fd000000000000000000000000000005 03 40 00 80     eth0\n\
            00000000000000000000000000000001 01 80 10 80       lo\n";
        let networks = OwnNetworks::parse(route, inet6);
        let cases = [
            ("172.19.0.7", true),
            ("172.19.255.254", true),
            ("::ffff:172.19.0.7", true),
            ("172.20.0.7", false),
            ("10.1.2.3", false),
            ("93.184.216.34", false),
            ("127.0.0.1", true),
            ("::1", true),
            ("fd00::9", true),
            ("fd00:0:0:1::9", false),
            ("2606:2800::1", false),
        ];
        for (address, own) in cases {
            let address: IpAddr = address.parse().expect("an address literal of this table");
            assert_eq!(networks.contains(address), own, "{address}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn an_address_is_refused_only_where_a_network_is_known() {
        let address: IpAddr = "93.184.216.34".parse().expect("an address literal");
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let default_alone = "eth0\t00000000\t010013AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        for (route, inet6) in [("", ""), ("", loopback), (default_alone, "")] {
            assert!(OwnNetworks::parse(route, inet6).contains(address), "{route}{inet6}");
        }
        let one = "eth0\t000013AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert!(!OwnNetworks::parse(one, "").contains(address));
    }

    #[test]
    fn lines_that_are_not_understood_are_left_out() {
        let inet6 = "fd00 03 00 00 80 eth0\nfd00 03 ff 00 80 eth0\nzz 03 40 00 80 eth0\n\nfd00\n";
        assert_eq!(OwnNetworks::parse("Iface\nx y z\neth0 00 00\n", inet6), OwnNetworks::default());
    }
}
