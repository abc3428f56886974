//! The parts that a thread's wall time is divided among. Together they are the whole of it.

macro_rules! parts {
    ($( $const:ident = $n:literal, $name:literal, $doc:literal; )*) => {
        $( #[doc = $doc] pub const $const: usize = $n; )*
        /// Number of parts.
        pub const COUNT: usize = [$( $n ),*].len();
        /// Names of the parts, in order, as every output spells them.
        pub const NAMES: [&str; COUNT] = [$( $name ),*];
    };
}

parts! {
    ON_CPU = 0, "on_cpu", "Running on a CPU.";
    RUN_QUEUE = 1, "run_queue", "Runnable, waiting for a CPU.";
    NETWORK = 2, "network", "Blocked on a peer (a socket that is not the request's own).";
    CLIENT = 3, "client", "Blocked on the connection that the request came in on.";
    DISK = 4, "disk", "Uninterruptible sleep (D), or a read or write of a file that blocked.";
    LOCK = 5, "lock", "Blocked in futex, flock or a file lock of fcntl.";
    SLEEP = 6, "sleep", "Blocked in nanosleep and its kin: the program asked for it.";
    LOCAL = 7, "local", "Blocked on a pipe, a child process, or another local descriptor.";
    IDLE = 8, "idle", "Waiting for the next request: accept, or a poll that a listening socket ended.";
    UNEXPLAINED = 9, "unexplained", "Blocked in a way that is not known. Shown, never hidden.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_the_place_its_number_says() {
        assert_eq!(NAMES[UNEXPLAINED], "unexplained");
        assert_eq!(UNEXPLAINED, COUNT - 1);
    }
}
