//! A PROXY header ends where it says, and is read the same however much has arrived.

use tokengate::client::proxy_protocol::{Read, read};

pub fn run(bytes: &[u8]) {
    let mut taken = 0;
    loop {
        match read(&bytes[..taken]) {
            Ok(Read::More(more)) => {
                assert!((1..=4_096).contains(&more), "{more}");
                // Every shorter piece has at least as much to come.
                for extra in 1..more.min(bytes.len() - taken) {
                    match read(&bytes[..taken + extra]) {
                        Ok(Read::More(rest)) => assert!(rest >= more - extra, "{taken} + {extra}"),
                        Ok(Read::Done(_)) => panic!("complete {extra} bytes after {taken}, and not {more}"),
                        Err(_) => {}
                    }
                }
                if taken + more > bytes.len() {
                    return;
                }
                taken += more;
            }
            Ok(Read::Done(_)) => return assert!(taken <= 16 + 4_096),
            Err(_) => return assert!(taken <= 107 || bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n")),
        }
    }
}
