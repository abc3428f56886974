//! Tells the service manager how far we are (sd_notify(3)), where one asked to be told.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Everything is attached, and the ports are open.
pub fn ready() {
    tell("READY=1");
}

/// It is ending, which takes a moment.
pub fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(place) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    // Who started us waits in vain then, and says so.
    if let Err(error) = send(place.as_encoded_bytes(), state) {
        log::warn!("the service manager cannot be told {state}: {error}");
    }
}

/// Sends a datagram to a path, or to an abstract name, which begins with `@`.
fn send(place: &[u8], state: &str) -> io::Result<()> {
    let address = match place.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(OsStr::from_bytes(place))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold us up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("stallscope-test-{}", std::process::id());
        let sockets = [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.as_os_str().as_encoded_bytes().to_vec(),
            ),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
                format!("@{name}").into_bytes(),
            ),
        ];
        for (socket, place) in sockets {
            send(&place, "READY=1").unwrap();
            let mut said = [0; 32];
            let n = socket.recv(&mut said).unwrap();
            assert_eq!(&said[..n], b"READY=1");
        }
        assert!(send(b"", "READY=1").is_err());
        assert!(
            send(
                folder.path().join("none").as_os_str().as_encoded_bytes(),
                "READY=1"
            )
            .is_err()
        );
    }
}
