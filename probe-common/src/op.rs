//! The system calls that are accounted, and what each waits for.

/// How the peer of a call is found when it returns.
pub mod kind {
    /// Not accounted.
    pub const NONE: u8 = 0;
    /// connect: descriptor in argument 0, address in argument 1.
    pub const CONNECT: u8 = 1;
    /// accept: listening descriptor in argument 0, the new one is returned.
    pub const ACCEPT: u8 = 2;
    /// poll, ppoll: array of pollfd in argument 0.
    pub const POLL: u8 = 3;
    /// select, pselect6: three bit sets in arguments 1 to 3.
    pub const SELECT: u8 = 4;
    /// epoll_wait and its kin: array of epoll_event in argument 1.
    pub const EPOLL: u8 = 5;
    /// Reads from the descriptor in argument 0.
    pub const RECV: u8 = 6;
    /// Writes to the descriptor in argument 0.
    pub const SEND: u8 = 7;
}

/// One accounted operation. Its index in [`OPS`] is its number in the kernel; 0 means none.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// The system call's name as its tracepoint spells it, or a name of our own for a derived one.
    pub name: &'static str,
    /// One of [`kind`].
    pub kind: u8,
    /// How many arguments the system call has.
    pub args: u8,
}

/// `Stat` rows that no single system call makes: their numbers lie above all of [`OPS`].
pub mod derived {
    /// From connect() being entered to the TCP connection being established.
    pub const ESTABLISHED: u32 = 64;
    /// From the first byte sent (or the connect) to the last byte received before the next send.
    pub const EXCHANGE: u32 = 65;
    /// Last exchanges of requests, which user space adds up: rows of their own, exchanges like the others.
    pub const LAST_EXCHANGE: u32 = 66;
}

macro_rules! ops {
    ($( $const:ident = $name:literal $kind:ident $args:literal; )*) => {
        /// Every accounted operation; slot 0 stands for "none".
        pub const OPS: &[Op] = &[
            Op { name: "none", kind: kind::NONE, args: 0 },
            $( Op { name: $name, kind: kind::$kind, args: $args }, )*
        ];
        ops!(@number 1u32; $( $const $name )*);
    };
    (@number $n:expr; $const:ident $name:literal $($rest:tt)*) => {
        #[doc = concat!("Number of `", $name, "`.")]
        pub const $const: u32 = $n;
        ops!(@number $n + 1; $($rest)*);
    };
    (@number $n:expr;) => {};
}

ops! {
    CONNECT = "connect" CONNECT 3;
    ACCEPT = "accept" ACCEPT 3;
    ACCEPT4 = "accept4" ACCEPT 4;
    POLL = "poll" POLL 3;
    PPOLL = "ppoll" POLL 5;
    SELECT = "select" SELECT 5;
    PSELECT6 = "pselect6" SELECT 6;
    EPOLL_WAIT = "epoll_wait" EPOLL 4;
    EPOLL_PWAIT = "epoll_pwait" EPOLL 6;
    EPOLL_PWAIT2 = "epoll_pwait2" EPOLL 6;
    RECVFROM = "recvfrom" RECV 6;
    RECVMSG = "recvmsg" RECV 3;
    RECVMMSG = "recvmmsg" RECV 5;
    READ = "read" RECV 3;
    READV = "readv" RECV 3;
    SENDTO = "sendto" SEND 6;
    SENDMSG = "sendmsg" SEND 3;
    SENDMMSG = "sendmmsg" SEND 4;
    WRITE = "write" SEND 3;
    WRITEV = "writev" SEND 3;
    SENDFILE64 = "sendfile64" SEND 4;
}

/// The name of an operation's number, derived ones included.
pub fn name(op: u32) -> &'static str {
    match op {
        derived::ESTABLISHED => "established",
        derived::EXCHANGE | derived::LAST_EXCHANGE => "exchange",
        _ => match OPS.get(op as usize) {
            Some(op) => op.name,
            None => "unknown",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_places_in_the_list() {
        assert_eq!(name(CONNECT), "connect");
        assert_eq!(name(SENDFILE64), "sendfile64");
        assert_eq!(SENDFILE64 as usize, OPS.len() - 1);
        assert!(OPS.len() < derived::ESTABLISHED as usize);
    }
}
