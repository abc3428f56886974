//! What this machine can do: the only ground on which a case may skip.

use crate::harness::Skip;

/// A capability with the kernel that brings it. A case skips only when the kernel is older; where the
/// kernel should have it and the check fails, the case fails.
pub struct Feature {
    /// In words.
    pub name: &'static str,
    /// First kernel that has it.
    pub since: (u32, u32),
    /// Does it work?
    pub check: fn() -> bool,
}

/// epoll_pwait2(2).
pub const EPOLL_PWAIT2: Feature = Feature {
    name: "epoll_pwait2",
    since: (5, 11),
    check: || crate::sys::epoll_pwait2_works(),
};

/// IPv6 on the loopback device; a machine may have it switched off, whatever its kernel.
pub const IPV6: Feature = Feature {
    name: "IPv6 on loopback",
    since: (5, 10),
    check: || {
        !std::path::Path::new("/proc/net/if_inet6").exists()
            || std::net::TcpListener::bind("[::1]:0").is_ok()
    },
};

/// Skips the case on a kernel older than the feature, fails it when a newer kernel does not have it.
pub fn require(feature: &Feature) -> anyhow::Result<()> {
    let kernel = kernel_version();
    if kernel < feature.since {
        let (major, minor) = feature.since;
        return Err(Skip(format!(
            "{} needs Linux {major}.{minor}, this is {}.{}",
            feature.name, kernel.0, kernel.1
        ))
        .into());
    }
    anyhow::ensure!(
        (feature.check)(),
        "{} does not work, but Linux {}.{} should have it",
        feature.name,
        kernel.0,
        kernel.1
    );
    Ok(())
}

/// Skips the case on a kernel that was built without kprobes, which any release may be; fails it when they are built
/// in and cannot be used.
pub fn kprobes() -> anyhow::Result<()> {
    let symbols = std::fs::read_to_string("/proc/kallsyms")?;
    let built_in = symbols
        .lines()
        .any(|line| line.split(' ').nth(2) == Some("register_kprobe"));
    if !built_in {
        return Err(Skip("this kernel was built without kprobes".to_owned()).into());
    }
    anyhow::ensure!(
        std::path::Path::new("/sys/bus/event_source/devices/kprobe").exists(),
        "kprobes are built in, but have no events"
    );
    Ok(())
}

/// True when this machine has IPv6 at all.
pub fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

/// Major and minor number of the running kernel.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
