//! Connects to the first of several addresses that responds (RFC 8305, "Happy Eyeballs").
//!
//! If an address does not respond within a quarter of a second, the next one is tried in parallel. If an address
//! refuses, the next one is tried at once.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Delay before the next address is tried in parallel (recommended by RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Returns the result of the first attempt that succeeded, and its address.
///
/// # Errors
/// The errors of all attempts, if every one failed. The kind is that of the last one.
pub(super) async fn race<T, F>(addresses: &[SocketAddr], dial: impl Fn(SocketAddr) -> F) -> io::Result<(T, SocketAddr)>
where
    F: Future<Output = io::Result<T>>,
{
    let mut next = addresses.iter().copied();
    let mut running: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut failed: Vec<(SocketAddr, io::Error)> = Vec::new();
    loop {
        let alone_until = Instant::now() + ATTEMPT_DELAY;
        if let Some(address) = next.next() {
            running.push((address, Box::pin(dial(address))));
        } else if running.is_empty() {
            return Err(all_failed(&failed));
        }
        let more = next.len() > 0;
        tokio::select! {
            biased;
            (address, outcome) = first(&mut running) => match outcome {
                Ok(connected) => return Ok((connected, address)),
                Err(error) => failed.push((address, error)),
            },
            () = sleep_until(alone_until), if more => {}
        }
    }
}

/// Waits for the first attempt that ends, and removes it from `running`.
async fn first<T, F>(running: &mut Vec<(SocketAddr, Pin<Box<F>>)>) -> (SocketAddr, io::Result<T>)
where
    F: Future<Output = io::Result<T>>,
{
    poll_fn(|cx| {
        for place in 0..running.len() {
            let Some((address, attempt)) = running.get_mut(place) else { break };
            let address = *address;
            if let Poll::Ready(outcome) = attempt.as_mut().poll(cx) {
                drop(running.remove(place));
                return Poll::Ready((address, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

fn all_failed(failed: &[(SocketAddr, io::Error)]) -> io::Error {
    let kind = failed.last().map_or(io::ErrorKind::AddrNotAvailable, |(_, error)| error.kind());
    let texts: Vec<String> = failed.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    io::Error::new(kind, texts.join("; "))
}

/// Sorts the addresses so that the families alternate, beginning with the family of the first (RFC 8305 §4). A machine
/// whose IPv6 or IPv4 is broken then connects at the second attempt.
pub(super) fn in_turn(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: Vec<SocketAddr> = addresses.into_iter().collect();
    let begins_with_ipv4 = all.first().is_some_and(SocketAddr::is_ipv4);
    let (one, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| address.is_ipv4() == begins_with_ipv4);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut turn = Vec::new();
    loop {
        match (one.next(), other.next()) {
            (None, None) => return turn,
            pair => turn.extend([pair.0, pair.1].into_iter().flatten()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn address(host: u8) -> SocketAddr {
        ([127, 0, 0, host], 80).into()
    }

    /// The behaviour of each address: after how many milliseconds it accepts (`true`) or refuses. `None`: no response.
    type Script = [(u8, Option<(u64, bool)>)];

    /// Returns the winner, the time it took, and when each address was tried (milliseconds).
    async fn run(script: &Script) -> (Option<SocketAddr>, u128, Vec<(u8, u128)>) {
        let (begin, tried) = (Instant::now(), RefCell::new(Vec::new()));
        let dial = |address: SocketAddr| {
            let SocketAddr::V4(v4) = address else { unreachable!() };
            let host = v4.ip().octets()[3];
            tried.borrow_mut().push((host, begin.elapsed().as_millis()));
            let does = script.iter().find(|(other, _)| *other == host).and_then(|(_, does)| *does);
            async move {
                match does {
                    None => std::future::pending().await,
                    Some((after, accepts)) => {
                        tokio::time::sleep(Duration::from_millis(after)).await;
                        if accepts { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
                    }
                }
            }
        };
        let addresses: Vec<_> = script.iter().map(|(host, _)| address(*host)).collect();
        let won = race(&addresses, dial).await.ok().map(|((), address)| address);
        (won, begin.elapsed().as_millis(), tried.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_when_one_does_not_respond_or_refuses() {
        let (accepts, refuses) = (Some((1, true)), Some((1, false)));
        assert_eq!(run(&[(1, accepts), (2, accepts)]).await, (Some(address(1)), 1, vec![(1, 0)]));
        assert_eq!(run(&[(1, None), (2, accepts)]).await, (Some(address(2)), 251, vec![(1, 0), (2, 250)]));
        assert_eq!(run(&[(1, refuses), (2, accepts)]).await, (Some(address(2)), 2, vec![(1, 0), (2, 1)]));
        // A slow address wins if the others take longer.
        let slow = Some((300, true));
        assert_eq!(run(&[(1, slow), (2, None)]).await, (Some(address(1)), 300, vec![(1, 0), (2, 250)]));
        // A refusal starts the next attempt at once and leaves pending attempts running.
        assert_eq!(
            run(&[(1, slow), (2, refuses), (3, None)]).await,
            (Some(address(1)), 300, vec![(1, 0), (2, 250), (3, 251)])
        );
        assert_eq!(run(&[(1, refuses), (2, refuses)]).await, (None, 2, vec![(1, 0), (2, 1)]));
        assert_eq!(run(&[]).await, (None, 0, vec![]));
    }

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        for (given, turn) in [
            (parse(&[]), parse(&[])),
            (
                parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]),
                parse(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]),
            ),
            (parse(&["1.0.0.1:1", "[::1]:1", "1.0.0.2:1"]), parse(&["1.0.0.1:1", "[::1]:1", "1.0.0.2:1"])),
        ] {
            assert_eq!(in_turn(given), turn);
        }
    }
}
