//! `--listen`: an address and a port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::error::Error;

/// Nobody else uses it.
const PORT: u16 = 9777;

/// What is listened on; `None` for `none`. A name is none: what it means may change, and asking may hang when a node starts.
///
/// # Errors
/// It is no address.
pub fn parse(text: Option<&str>) -> Result<Option<SocketAddr>, Error> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let Some(text) = text else {
        return Ok(Some(SocketAddr::new(loopback, PORT)));
    };
    if text == "none" {
        return Ok(None);
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
        return Ok(Some(SocketAddr::new(ip, PORT)));
    }
    // As others have it: only a port, or a name that means one thing everywhere.
    let port = text.strip_prefix("localhost:").unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(Some(SocketAddr::new(loopback, port)));
    }
    Err(Error::Usage(format!(
        "--listen {text}: write an address and a port, such as 127.0.0.1:9777 or [::1]:9777; 0.0.0.0:9777 is every address; \
         or none"
    )))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_address_is_taken_as_it_is_meant_and_never_wider() {
        for (text, meant) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:9777", "0.0.0.0:9777"),
            ("[::]:80", "[::]:80"),
            ("::1", "[::1]:9777"),
            ("[::1]", "[::1]:9777"),
            ("10.0.0.1", "10.0.0.1:9777"),
            ("9000", "127.0.0.1:9000"),
            ("localhost:9000", "127.0.0.1:9000"),
        ] {
            let address = parse(Some(text)).unwrap().unwrap();
            assert_eq!(address.to_string(), meant, "{text}");
        }
        assert_eq!(parse(None).unwrap().unwrap().to_string(), "127.0.0.1:9777");
        assert_eq!(parse(Some("none")).unwrap(), None);
        for text in [
            "",
            ":9777",
            "web-07:9777",
            "*:9777",
            "127.0.0.1:70000",
            "1.2.3",
            "unix:/x",
        ] {
            let why = parse(Some(text)).unwrap_err().to_string();
            assert!(why.contains("such as 127.0.0.1:9777"), "{text}: {why}");
        }
    }
}
