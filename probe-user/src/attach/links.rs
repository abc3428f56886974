//! What ties programs to tracepoints.
//!
//! Of each tracepoint that is let go, the kernel waits for two grace periods of RCU, one tracepoint after the other, however many
//! are closed at once (`perf_trace_event_unreg` under `event_mutex`, kernel/trace/trace_event_perf.c): a hundred take seconds. Who has
//! the report need not wait for that. A process of ours is left behind, which holds the links and nothing else, and ends with them. In a
//! container with processes of its own it is waited for: what runs there as process 1 may not take orphans, which would stay as zombies.

use std::{
    any::Any,
    fs, io,
    os::fd::{AsRawFd as _, RawFd},
};

/// Attached links; dropping them detaches.
#[derive(Default)]
pub struct Links {
    links: Vec<Box<dyn Any + Send>>,
    behind: bool,
}

impl Links {
    /// Takes over a link, which detaches when it is dropped.
    pub fn add(&mut self, link: impl Any + Send) {
        self.links.push(Box::new(link));
    }

    /// Dropping them will not wait for the kernel: another process does.
    pub fn leave_behind(&mut self) {
        self.behind = true;
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        // Where it cannot be started, the end takes longer, and nothing else changes.
        let behind = self.behind && has_init();
        let holder = behind.then(Holder::start).and_then(Result::ok);
        self.links.clear();
        drop(holder);
    }
}

/// Are we in the node's own pid namespace, whose process 1 takes orphans? Its number is fixed (PROC_PID_INIT_INO, include/linux/proc_ns.h).
fn has_init() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name.as_os_str() == "pid:[4026531836]")
}

/// A process that keeps the links until this is dropped, or until our process ends in whatever way; then it closes them.
struct Holder {
    _until: io::PipeWriter,
}

/// What the descriptors of links are called in /proc/PID/fd.
const HELD: [&[u8]; 2] = [b"anon_inode:[perf_event]", b"anon_inode:bpf_link"];
/// The name (comm) by which it is known; its arguments stay ours.
const NAME: &std::ffi::CStr = c"stallscope-end";

impl Holder {
    fn start() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let (until, others) = (reader.as_raw_fd(), others(reader.as_raw_fd())?);
        // SAFETY: the child calls nothing but functions that are async-signal-safe (signal-safety(7)), and never returns.
        let child = unsafe { libc::fork() };
        match child {
            -1 => Err(io::Error::last_os_error()),
            0 => hold(until, &others),
            child => {
                // It ends at once: the one that holds is its child, and so nobody's that would have to wait for it.
                // SAFETY: waits for a child of ours; there is no place for its status to be written to.
                unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                Ok(Self { _until: writer })
            }
        }
    }
}

/// Descriptors of this process that are not those of links, nor `but`.
fn others(but: RawFd) -> io::Result<Vec<RawFd>> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut others = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<RawFd>().ok());
        let held = fs::read_link(entry.path()).is_ok_and(|to| {
            HELD.iter()
                .any(|held| to.as_os_str().as_bytes().starts_with(held))
        });
        others.extend(number.filter(|&fd| fd != but && !held));
    }
    Ok(others)
}

/// The life of the child: it leaves the holding to a child of its own, in a session of its own, so that no terminal, lock, port or
/// pipe is kept by it, and no signal of the terminal comes to it.
fn hold(until: RawFd, others: &[RawFd]) -> ! {
    let mut byte = 0_u8;
    // SAFETY: these are system calls with numbers and with pointers to what lives in this function or for ever; `fork` was called by our
    // caller, so descriptors are this process's own, and `_exit` runs nothing of ours.
    unsafe {
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        for &fd in others {
            libc::close(fd);
        }
        // The end of the file is the end of whoever started us, or of their need.
        while libc::read(until, (&raw mut byte).cast(), 1) == -1
            && *libc::__errno_location() == libc::EINTR
        {}
        libc::_exit(0)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Read as _,
        sync::atomic::{AtomicUsize, Ordering},
        time::{Duration, Instant},
    };

    use super::*;

    static CLOSED: AtomicUsize = AtomicUsize::new(0);

    struct Link;

    impl Drop for Link {
        fn drop(&mut self) {
            CLOSED.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn all_links_are_closed() {
        let mut links = Links::default();
        (0..48).for_each(|_| links.add(Link));
        drop(links);
        assert_eq!(CLOSED.load(Ordering::Relaxed), 48);
    }

    #[test]
    fn who_holds_the_links_holds_nothing_else_and_ends_with_us() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let name = NAME.to_str().expect("UTF-8");
        let alive = || {
            // One that has ended may wait for whoever runs as process 1.
            let ours = |stat: &str| {
                let (_, rest) = stat.split_once(&format!("({name}) ")).unwrap_or_default();
                !rest.is_empty() && !rest.starts_with('Z')
            };
            fs::read_dir("/proc")
                .expect("/proc")
                .flatten()
                .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
                .any(|stat| ours(&stat))
        };
        let holder = Holder::start().expect("it starts");
        assert!(
            others(-1)
                .expect("descriptors")
                .contains(&writer.as_raw_fd())
        );
        // Closed here, the pipe has no writer left: it is not kept there.
        drop(writer);
        assert_eq!(reader.read(&mut [0]).expect("the end"), 0);
        let wait = |until: bool| {
            let begun = Instant::now();
            while alive() != until {
                assert!(begun.elapsed() < Duration::from_secs(10), "not {until}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait(true);
        drop(holder);
        wait(false);
        // And a link is known for what it is by its name: no other file is.
        assert!(
            File::open("/dev/null")
                .is_ok_and(|file| others(-1).is_ok_and(|all| all.contains(&file.as_raw_fd())))
        );
    }
}
