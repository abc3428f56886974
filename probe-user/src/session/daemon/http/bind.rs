//! The sockets: taken before anything is attached, so that one that is not to be had is said at once.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use crate::{
    error::Error,
    session::{daemon::settings::Listen, output},
};

/// Sockets that are ours.
#[derive(Default)]
pub struct Bound {
    pub(super) tcp: Option<TcpListener>,
    pub(super) unix: Option<(UnixListener, SocketFile)>,
}

impl Bound {
    /// Nothing is to be served.
    pub fn is_empty(&self) -> bool {
        self.tcp.is_none() && self.unix.is_none()
    }
}

/// Takes the sockets.
///
/// # Errors
/// A port is taken; a path is there already.
pub fn bind(listen: Option<&Listen>) -> Result<Bound, Error> {
    let Some(listen) = listen else {
        return Ok(Bound::default());
    };
    let bound = Bound {
        tcp: listen.address.map(tcp).transpose()?,
        unix: listen.socket.as_deref().map(unix).transpose()?,
    };
    if let Some(warning) = listen.address.and_then(|address| wide(address, listen)) {
        output::complain(&warning);
    }
    Ok(bound)
}

fn tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => {
            let port = address.port();
            Error::Usage(format!(
                "cannot serve metrics at {address}: port {port} is taken (`ss -ltnp 'sport = :{port}'` shows by whom); --listen takes another one"
            ))
        }
        _ => Error::Io {
            what: format!("cannot serve metrics at {address}"),
            source,
        },
    })
}

/// What to say of an address that others can reach.
fn wide(address: SocketAddr, listen: &Listen) -> Option<String> {
    if address.ip().is_loopback() {
        return None;
    }
    let who = match (&listen.tls, &listen.basic_auth) {
        (Some(_), Some(_)) => return None,
        (Some(_), None) => {
            "everybody who can reach it may fetch them: --basic-auth asks for a password"
        }
        (None, Some(_)) => {
            "passwords and metrics go over the network in clear: --tls-cert and --tls-key encrypt them"
        }
        (None, None) => {
            "everybody who can reach it may fetch them, in clear: see --tls-cert and --basic-auth"
        }
    };
    Some(format!(
        "metrics are served at {address}, not on loopback only, and {who}"
    ))
}

fn unix(path: &Path) -> Result<(UnixListener, SocketFile), Error> {
    let io = |source| Error::Io {
        what: format!("cannot serve metrics at {}", path.display()),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(taken(path, "there is something else, which is no socket"));
        }
        // That of a process that is gone may be replaced.
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            _ => return Err(taken(path, "somebody else serves there")),
        },
    }
    // It gets its name when it has its mode, so that nobody connects whom the mode keeps out.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    listen(&new, path).map_err(|error| {
        let _ = fs::remove_file(&new);
        io(error)
    })
}

fn listen(new: &Path, path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    // One that a killed start left; nobody was ever told this name.
    match fs::remove_file(new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(new)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(new, fs::Permissions::from_mode(0o660))?;
    let inode = fs::symlink_metadata(new)?.ino();
    fs::rename(new, path)?;
    let file = SocketFile {
        path: path.to_owned(),
        inode,
    };
    Ok((listener, file))
}

fn taken(path: &Path, why: &str) -> Error {
    Error::Usage(format!(
        "cannot serve metrics at {}: {why}; --socket takes another path",
        path.display()
    ))
}

/// A Unix socket in the file tree; it is removed in the end, unless somebody put another one in its place.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |there: fs::Metadata| there.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named_with_a_way_to_find_who_has_it() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let error = tcp(address).unwrap_err().to_string();
        let port = address.port();
        assert!(error.contains(&format!("port {port} is taken")), "{error}");
        assert!(
            error.contains(&format!("ss -ltnp 'sport = :{port}'")),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn a_dead_processs_socket_is_replaced_and_a_living_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (_listener, file) = unix(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let error = unix(&path).err().unwrap().to_string();
        assert!(error.contains("somebody else serves there"), "{error}");
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_socket_of_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        fs::write(&path, "mine").unwrap();
        assert!(unix(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_file(&path).unwrap();
        let (_listener, file) = unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn an_address_that_others_reach_is_warned_of_unless_it_is_guarded() {
        let any: SocketAddr = "0.0.0.0:9777".parse().unwrap();
        let mut listen = Listen::default();
        assert!(wide("[::1]:9777".parse().unwrap(), &listen).is_none());
        assert!(wide(any, &listen).is_some_and(|w| w.contains("--tls-cert and --basic-auth")));
        listen.basic_auth = Some("passwords".into());
        assert!(wide(any, &listen).is_some_and(|w| w.contains("--tls-cert and --tls-key")));
        listen.tls = Some(("cert".into(), "key".into()));
        assert!(wide(any, &listen).is_none());
    }
}
