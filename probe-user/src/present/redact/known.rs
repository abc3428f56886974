//! What keeps its name in a redacted report: words that are the same on thousands of machines. They are needed to act
//! ("php-fpm waits for mysqld.sock") and give nobody away. `docs/redact.md` says so to users.

/// Words as they stand here, at most with a version or a number in or behind them (`php-fpm8.2`, `kswapd0`). Processes,
/// pools, parts of paths and labels of DNS names are looked up alike.
const WORDS: &[&str] = &[
    // Web servers, interpreters, and what stands behind them.
    "\
    apache2 caddy envoy gunicorn haproxy httpd java lighttpd nginx node openresty perl php php-cgi php-fpm puma
    python ruby squid supervisord traefik unicorn uvicorn uwsgi varnishd",
    // Databases, caches, queues.
    "\
    beam.smp clickhouse etcd kafka mariadb mariadbd memcached mongod mysql mysqld mysqlx pgbouncer postgres
    postgresql rabbitmq redis redis-server valkey valkey-server zookeeper",
    // Name servers, mail, and what a node runs beside its work.
    "\
    anacron auditd avahi-daemon bash bind chronyd cleanup collectd conmon containerd containerd-shim coredns cron
    crond curl dash dbus dbus-daemon dnsmasq docker dockerd exim fluent-bit fluentd init journald kubelet logrotate
    lxc master named nc nfsd node_exporter nscd ntpd pickup podman postfix prometheus qmgr rsync rsyslogd runc
    sendmail sh smtp smtpd ssh sshd stallscope sudo syslog-ng systemd systemd-journal systemd-journald
    systemd-logind systemd-network systemd-resolve systemd-resolved systemd-timesyn systemd-udevd tar telegraf
    trivial-rewrite unbound wget wrk",
    // Kernel threads.
    "\
    cpuhp ext4-rsv-conver idle_inject jbd2 kauditd kcompactd khugepaged khungtaskd kblockd ksmd ksoftirqd kswapd
    kthreadd kworker loop md migration oom_reaper rcu_preempt rcu_sched swapper watchdogd writeback",
    // Where Linux systems keep things (hier(7)), and what is found there under the same name everywhere.
    "\
    access apt autoload backup bin block boot btf cache cgroup class conf.d containers cwd dbus debug dev devices disk
    error etc events fastcgi fd fs fpm home html http https incoming index iptables kallsyms kernel kubepods
    kubepods.slice lib lib64 lock log lost+found lower machine.slice mail mapper media merged mnt module net netns
    ns opt overlay overlay2 pids pods private proc public pts public_html resolv root run sbin self sess session
    sessions shm spool src srv static stub-resolv sys sysctl system_bus_socket system.slice task tmp tracing upload
    uploads upper user.slice usr var vendor vmlinux volumes work www www-data",
    // Domains that belong to no one.
    "\
    arpa cluster com default example in-addr internal invalid ip6 kube-system lan local localdomain localhost org
    svc test",
];

/// Endings of file names that may follow a word (`mysqld.sock`, `index.php`), and that made-up names keep (`file1.php`).
const ENDINGS: &str = "\
    cgi conf css csv db gif gz html jpeg jpg js json lock log pdf php pid pl png py rb scope service slice sock svg tmp txt
    webp xml";

/// Devices by the kernel's own names for them: those that are counted by numbers (`nvme0n1p3`), and by letters (`sda1`).
const NUMBERED: &str = "dm- loop md mmcblk nbd nvme ram rbd sr zram";
const LETTERED: &str = "sd vd xvd";

/// File systems, and the words that stand for their source where they have no device.
const FILE_SYSTEMS: &str = "\
    9p aufs autofs bcachefs binfmt_misc bpf btrfs ceph cgroup cgroup2 cifs configfs debugfs dev devpts devtmpfs
    efivarfs erofs exfat ext2 ext3 ext4 f2fs fuse fuse.gcsfuse fuse.glusterfs fuse.lxcfs fuse.rclone fuse.s3fs
    fuse.sshfs fuseblk fusectl gfs2 glusterfs hugetlbfs iso9660 jfs lustre mqueue nfs nfs4 nfsd none ntfs ntfs3
    nullfs ocfs2 overlay proc pstore ramfs reiserfs rootfs run securityfs shm smb3 squashfs sysfs tmpfs tracefs
    ubifs udev udf vboxsf vfat virtiofs xfs zfs";

/// Options of mounts whose values, where they have any, are numbers or one of [`VALUES`]. Others may hold paths, names of
/// hosts and users.
const OPTIONS: &str = "\
    acl async attr2 auto_da_alloc barrier commit compress compress-force data delalloc delayed_logging dioread_lock
    dioread_nolock dirsync discard errors grpquota hard huge inode32 inode64 journal_async_commit journal_checksum
    largeio lazytime logbsize logbufs max_batch_time min_batch_time mode noatime noattr2 noauto_da_alloc nobarrier
    nobh nodelalloc nodev nodiratime nodiscard noexec nogrpid noload noquota norelatime nosuid nosymfollow nr_blocks
    nr_inodes prjquota quota relatime ro rsize rw size soft space_cache ssd strictatime stripe sunit swidth sync
    timeo user_xattr usrquota vers volatile wsize";
const VALUES: &str =
    "always continue journal lzo never none ordered panic remount-ro v1 v2 writeback zlib zstd";

/// Modules of the kernel whose functions may be named.
const MODULES: &str = "\
    ata_piix bcache dm_cache dm_crypt dm_log dm_mirror dm_mod dm_multipath dm_raid dm_snapshot dm_thin_pool drbd jbd2
    libata libceph lockd mbcache md_mod mpt3sas nvme nvme_core nvme_tcp raid0 raid1 raid10 raid456 scsi_mod sd_mod spl
    sunrpc virtio_blk virtio_scsi zram";

/// Services that a path is known by (the advice for a slow peer depends on it): their name stays in the made-up one.
const SERVICES: &str = "mysql maria pgsql postgres redis valkey memcache";

/// The longest version or number in a word.
const NUMBER: usize = 6;

/// True for what keeps its name: a word of the list, also with a number in it, or with an ending behind it.
pub(super) fn stays(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    is_word(name)
        || is_device(name)
        || is_kernel_thread(name)
        || name
            .rsplit_once('.')
            .is_some_and(|(word, _)| ending(name.as_bytes()).is_some() && is_word(word))
}

/// How a file's name ends, when that tells only what kind of file it is.
pub(super) fn ending(name: &[u8]) -> Option<&'static str> {
    let at = name.iter().rposition(|&b| b == b'.').filter(|at| *at > 0)?;
    let ending = name.get(at + 1..)?;
    ENDINGS
        .split_ascii_whitespace()
        .find(|known| known.as_bytes() == ending)
}

fn listed(list: &str, name: &str) -> bool {
    list.split_ascii_whitespace().any(|word| word == name)
}

fn is_word(name: &str) -> bool {
    let known = |name: &str| WORDS.iter().any(|list| listed(list, name));
    let is_number = |c: char| c.is_ascii_digit();
    if known(name) {
        return true;
    }
    let Some(from) = name.find(is_number) else {
        return false;
    };
    // `ksoftirqd/3`: the slash belongs to the number.
    let word = name[..from].trim_end_matches('/');
    let behind = name[from..].trim_start_matches(|c: char| is_number(c) || c == '.');
    name.len() - word.len() - behind.len() <= NUMBER && known(&[word, behind].concat())
}

/// `sda1`, `nvme0n1p3`, `dm-3`.
fn is_device(name: &str) -> bool {
    let is_number = |c: char| c.is_ascii_digit();
    let numbered = |kind| {
        let number: Option<&str> = name.strip_prefix(kind);
        number.is_some_and(|n| {
            let digits = |c: char| is_number(c) || matches!(c, 'n' | 'p');
            n.starts_with(is_number) && n.len() <= NUMBER && n.chars().all(digits)
        })
    };
    let lettered = |kind| {
        let rest: Option<&str> = name.strip_prefix(kind);
        rest.is_some_and(|rest| {
            let number = rest.trim_start_matches(|c: char| c.is_ascii_lowercase());
            (1..=2).contains(&(rest.len() - number.len()))
                && number.len() <= NUMBER
                && number.chars().all(is_number)
        })
    };
    NUMBERED.split_ascii_whitespace().any(numbered)
        || LETTERED.split_ascii_whitespace().any(lettered)
}

/// `kworker/u8:3`, `jbd2/sda1-8`: the kernel makes them of numbers and names of devices.
fn is_kernel_thread(name: &str) -> bool {
    if let Some(rest) = name.strip_prefix("kworker/") {
        let rest = rest.trim_start_matches(['u', 'R']).trim_end_matches('H');
        let number = |s: &str| (1..=4).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        return rest
            .split_once(':')
            .is_some_and(|(cpu, n)| number(cpu) && number(n));
    }
    let device = name
        .strip_prefix("jbd2/")
        .and_then(|s| s.strip_suffix("-8"));
    device.is_some_and(is_device)
}

/// True for a type of file systems, or a word that stands for a source where there is no device.
pub(super) fn is_file_system(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| listed(FILE_SYSTEMS, name))
}

/// True for a module that many kernels have.
pub(super) fn is_module(name: &str) -> bool {
    listed(MODULES, name) || listed(FILE_SYSTEMS, name)
}

/// True for an option of a mount that tells only how it works.
pub(super) fn is_option(option: &[u8]) -> bool {
    let Ok(option) = std::str::from_utf8(option) else {
        return false;
    };
    let (key, value) = option.split_once('=').unwrap_or((option, "0"));
    let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '%' | 'k' | 'm' | 'g');
    listed(OPTIONS, key)
        && (listed(VALUES, value) || value.len() <= 20 && value.chars().all(number))
}

/// The service that a name tells of.
pub(super) fn service(name: &[u8]) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let told = |word: &&str| name.windows(word.len()).any(|w| w == word.as_bytes());
    SERVICES.split_ascii_whitespace().find(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &str) -> impl Iterator<Item = &str> {
        list.split_ascii_whitespace()
    }

    #[test]
    fn well_known_names_stay() {
        let names = "php-fpm php-fpm8.2 php8.2-fpm.sock python3.11 kswapd0 ksoftirqd/3 kworker kworker/u8:3 kworker/1:0H \
            jbd2/sda1-8 jbd2/nvme0n1p3-8 sda sdab12 nvme0n1p3 dm-3 loop7 mysqld.sock index.php www nginx.service";
        for name in words(names) {
            assert!(stays(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_only_looks_like_one_does_not() {
        let names = "acme php-fpm-acme acme-nginx nginx1234567 Nginx nginx.acme acme.sock kworker/acme:1 kworker/u8:3+acme \
            jbd2/acme-8 jbd2/dm-1-acme sd-acme sdabc nvmeacme loopback-acme dm- 12345 1.2.3.4 sd loop12345678 nginx\u{202e} \
            ng5in6x .sock";
        for name in words(names) {
            assert!(!stays(name.as_bytes()), "{name}");
        }
        assert!(!stays(b"") && !stays(b"nginx\xff"));
    }

    #[test]
    fn an_option_stays_when_it_is_known_with_a_value_that_names_nothing() {
        for option in words("rw commit=30 data=ordered size=1024k errors=remount-ro") {
            assert!(is_option(option.as_bytes()), "{option}");
        }
        for option in words("lowerdir=/srv/a addr=10.0.0.7 user=alice data=acme acme subvol=/@a") {
            assert!(!is_option(option.as_bytes()), "{option}");
        }
    }
}
