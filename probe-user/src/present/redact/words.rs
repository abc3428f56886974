//! Words that are ours around names that are not: what is watched, our side of a socket, why a probe is off.

use std::net::{IpAddr, SocketAddr};

use super::{Kind, Names, known};

impl Names {
    /// The host's name: there is one.
    pub(super) fn host(&mut self, host: &mut String) {
        if !host.is_empty() {
            "host".clone_into(host);
        }
    }

    /// The kernel's release: it is needed to judge what was seen.
    pub(super) fn kernel_release(&mut self, _: &mut String) {}

    /// `tcp`, `udp`, `ip-proto-132`.
    pub(super) fn transport(&mut self, _: &mut String) {}

    /// What is watched: `pool www, comm nginx, pid 4711, cgroup /a/b`.
    pub(super) fn target(&mut self, words: &mut String) {
        // A name with a comma in it falls into pieces of which each is redacted.
        let pieces = words.split(", ").map(|piece| {
            let Some((what, name)) = piece.split_once(' ') else {
                return self.other(piece);
            };
            let mut bytes = name.as_bytes().to_vec();
            match what {
                "pool" | "comm" => self.app(&mut bytes),
                "cgroup" => self.dir(&mut bytes),
                "pid" if is_number(name) => {}
                _ if is_ours(piece) => {}
                _ => return self.other(piece),
            }
            format!("{what} {}", String::from_utf8_lossy(&bytes))
        });
        *words = pieces.collect::<Vec<_>>().join(", ");
    }

    fn other(&mut self, words: &str) -> String {
        if words.is_empty() {
            return String::new();
        }
        self.made_up(Kind::Other, words.as_bytes(), "target")
            .to_owned()
    }

    /// Our side of a socket: `tcp :80`, `udp 10.0.0.7:53`, or a Unix socket's path.
    pub(super) fn our_side(&mut self, on: &mut Vec<u8>) {
        let ours = std::str::from_utf8(on).ok().and_then(|words| {
            let (transport, at) = words.split_once(' ')?;
            if at.strip_prefix(':').is_some_and(is_number) {
                return Some(words.to_owned());
            }
            let mut at: SocketAddr = at.parse().ok()?;
            self.socket_address(&mut at);
            Some(format!("{transport} {at}"))
        });
        match ours {
            Some(words) if is_transport(&words) => *on = words.into_bytes(),
            _ => self.socket(on),
        }
    }

    /// What is mounted: a device, a directory or a name on another machine, or only a word.
    pub(super) fn source(&mut self, source: &mut Vec<u8>) {
        let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        let is_device_number = match source.split(|&b| b == b':').collect::<Vec<_>>()[..] {
            [major, minor] => is_number(major) && is_number(minor),
            _ => false,
        };
        if !is_device_number && !known::is_file_system(source) {
            self.path(source, "device");
        }
    }

    /// A file system's type.
    pub(super) fn file_system(&mut self, name: &mut Vec<u8>) {
        if !known::is_file_system(name) {
            self.plain(Kind::FileSystem, name, "fs-type");
        }
    }

    /// Options of a mount, joined by commas: those stay of which it is known that they name nothing.
    pub(super) fn options(&mut self, options: &mut Vec<u8>) {
        let kept = options
            .split(|&b| b == b',')
            .filter(|option| known::is_option(option));
        *options = kept.collect::<Vec<_>>().join(&b',');
    }

    /// A kernel function: `ext4_sync_file [ext4]`. One of a module that few have is as telling as the module's name.
    pub(super) fn function(&mut self, function: &mut String) {
        let module = function
            .split_once(" [")
            .map(|(_, module)| module.trim_end_matches(']'));
        if module.is_some_and(|module| !known::is_module(module)) {
            *function = self
                .made_up(Kind::Function, function.as_bytes(), "function")
                .to_owned();
        }
    }

    /// Words of our own or of the kernel's, such as why a probe is off: addresses and paths in them are replaced. What
    /// /sys and /proc hold of the kernel's own stays.
    pub(super) fn prose(&mut self, text: &mut String) {
        const BETWEEN: [char; 8] = [' ', ',', ';', '=', '(', ')', '\'', '"'];
        let mut redacted = String::with_capacity(text.len());
        for piece in text.split_inclusive(BETWEEN) {
            let word = piece.trim_end_matches(BETWEEN);
            let word = word.trim_end_matches([':', '.']);
            let (word, rest) = piece.split_at(word.len());
            if let Ok(mut address) = word.parse::<IpAddr>() {
                self.addresses.redact(&mut address);
                redacted.push_str(&address.to_string());
            } else if let Ok(mut address) = word.parse::<SocketAddr>() {
                self.socket_address(&mut address);
                redacted.push_str(&address.to_string());
            } else if word.starts_with('/') && !is_kernels(word) {
                let mut path = word.as_bytes().to_vec();
                self.file(&mut path);
                redacted.push_str(&String::from_utf8_lossy(&path));
            } else {
                redacted.push_str(word);
            }
            redacted.push_str(rest);
        }
        *text = redacted;
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

fn is_transport(words: &str) -> bool {
    let transport = words.split(' ').next().unwrap_or_default();
    matches!(transport, "tcp" | "udp" | "ip")
        || transport.strip_prefix("ip-proto-").is_some_and(is_number)
}

/// What commands without a target say of what they watch.
fn is_ours(words: &str) -> bool {
    matches!(
        words,
        "all processes" | "this machine" | "this network namespace"
    ) || words
        .strip_prefix("network namespace of ")
        .is_some_and(is_number)
}

/// True for what the kernel itself names in its file systems.
fn is_kernels(path: &str) -> bool {
    // Behind these, a process's own files begin.
    let leaves = |part| matches!(part, "root" | "cwd" | "map_files");
    match path.split('/').nth(1) {
        Some("proc") => !path.split('/').any(leaves),
        Some("sys") => !path.starts_with("/sys/fs/"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_words_stay_around_a_redacted_name() {
        let mut names = Names::default();
        for (before, after) in [
            ("all processes", "all processes"),
            ("this network namespace", "this network namespace"),
            ("network namespace of 4711", "network namespace of 4711"),
            ("network namespace of acme", "target1"),
            (
                "pool www, comm nginx, pid 4711",
                "pool www, comm nginx, pid 4711",
            ),
            ("pool acme, comm acme", "pool app1, comm app1"),
            ("pid acme", "target2"),
            ("pool a, b", "pool app2, target3"),
            (
                "cgroup /sys/fs/cgroup/acme/web",
                "cgroup /sys/fs/cgroup/dir1/dir2",
            ),
            ("", ""),
        ] {
            let mut words = before.to_owned();
            names.target(&mut words);
            assert_eq!(words, after, "{before}");
        }
    }

    #[test]
    fn our_side_of_a_socket_keeps_its_port() {
        let mut names = Names::default();
        for (before, after) in [
            ("tcp :80", "tcp :80"),
            ("tcp 10.0.0.7:80", "tcp 192.0.2.1:80"),
            ("udp [2a00::7]:53", "udp [2001:db8:3::1]:53"),
            ("ip-proto-132 10.0.0.7:80", "ip-proto-132 192.0.2.1:80"),
            ("/run/acme/mysqld.sock", "/run/dir1/mysqld.sock"),
            ("@acme", "@dir1"),
            ("acme :80", "socket1"),
            ("acme 10.0.0.7:80", "socket2"),
            ("", ""),
        ] {
            let mut on = before.as_bytes().to_vec();
            names.our_side(&mut on);
            assert_eq!(String::from_utf8_lossy(&on), after, "{before}");
        }
    }

    #[test]
    fn a_source_shows_what_it_is_and_not_whose() {
        let mut names = Names::default();
        for (before, after) in [
            ("/dev/sda1", "/dev/sda1"),
            ("/dev/mapper/acme-web", "/dev/mapper/device1"),
            ("tmpfs", "tmpfs"),
            ("259:3", "259:3"),
            ("nas.acme.example:/export/web", "dir1/dir2/device2"),
            ("tank/acme", "dir3/device3"),
        ] {
            let mut source = before.as_bytes().to_vec();
            names.source(&mut source);
            assert_eq!(String::from_utf8_lossy(&source), after, "{before}");
        }
    }

    #[test]
    fn paths_and_addresses_in_prose_are_replaced_and_the_rest_is_not() {
        let mut names = Names::default();
        for (before, after) in [
            (
                "no BTF: /sys/kernel/btf/vmlinux: No such file",
                "no BTF: /sys/kernel/btf/vmlinux: No such file",
            ),
            (
                "/proc/PID/fd, as iterators are refused",
                "/proc/PID/fd, as iterators are refused",
            ),
            (
                "cannot open '/srv/acme/x': not found",
                "cannot open '/srv/dir1/file1': not found",
            ),
            (
                "10.0.0.7 and (10.0.0.7:80), path=/srv/acme",
                "192.0.2.1 and (192.0.2.1:80), path=/srv/dir1",
            ),
            ("/proc/7/cwd/srv/acme/x.", "/proc/7/cwd/srv/dir1/file1."),
            ("kernel 6.1 is too old", "kernel 6.1 is too old"),
        ] {
            let mut text = before.to_owned();
            names.prose(&mut text);
            assert_eq!(text, after);
        }
    }

    #[test]
    fn options_and_functions_that_could_tell_whose_they_are_go() {
        let mut names = Names::default();
        let mut options = b"rw,lowerdir=/srv/acme,commit=30,user=alice".to_vec();
        names.options(&mut options);
        assert_eq!(options, b"rw,commit=30");
        let mut stack =
            ["vfs_fsync", "ext4_sync_file [ext4]", "acme_write [acmefs]"].map(str::to_owned);
        stack
            .iter_mut()
            .for_each(|function| names.function(function));
        assert_eq!(stack, ["vfs_fsync", "ext4_sync_file [ext4]", "function1"]);
    }
}
