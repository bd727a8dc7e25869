//! Floods of frames without requests: stopped at a number, at any rate.

use super::pseudo;
use crate::support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    number,
};
use crate::support::{Ask, Gateway, Origin, Step, soon};

const ENHANCE_YOUR_CALM: u32 = 11;

/// Repeats a frame, each time after the response to the last one if it has one. Returns how many were sent until the
/// gateway closed the connection, and the error code.
async fn flood(gateway: &Gateway, kind: u8, stream: u32, payload: &[u8], answered: bool) -> (usize, Option<u32>) {
    let mut client = Frames::open(gateway).await;
    client.write(HEADERS, END_HEADERS, 1, &block(&pseudo("POST", "/public/x"))).await;
    for count in 1..=2_500 {
        client.write(kind, 0, stream, payload).await;
        if !answered {
            continue;
        }
        loop {
            let Ok((came, flags, _, payload)) = soon("an answer", client.read()).await else { return (count, None) };
            match came {
                GOAWAY => return (count, Some(number(&payload[4..8]))),
                _ if came == kind && flags & ACK != 0 => break,
                _ => {}
            }
        }
    }
    (2_500, client.goaway().await)
}

#[tokio::test]
async fn floods_are_cut_off_at_any_rate() {
    let origin = Origin::doing(vec![Step::Hang]).await;
    let gateway = Gateway::before(&origin).await;
    for (kind, stream, payload, answered) in [
        (PING, 0, vec![7; 8], true),
        (PING, 0, vec![7; 8], false),
        (SETTINGS, 0, vec![], true),
        (SETTINGS, 0, vec![], false),
        (WINDOW_UPDATE, 0, vec![0, 0, 0, 1], false),
        (WINDOW_UPDATE, 1, vec![0, 0, 0, 1], false),
        (2, 1, vec![0, 0, 0, 0, 9], false),
        (DATA, 1, vec![], false),
        (99, 0, vec![1, 2, 3], false),
    ] {
        let (count, why) = flood(&gateway, kind, stream, &payload, answered).await;
        assert!(!answered || (900..1_100).contains(&count), "{kind}: cut off after {count}");
        // The rest of the flood may have made the kernel discard the GOAWAY.
        assert!(why == Some(ENHANCE_YOUR_CALM) || (why.is_none() && !answered), "{kind}: {why:?}");
    }
    assert!(gateway.metric("tokengate_http2_floods_total") > 0);
    assert_eq!(Ask::get("/nowhere").to(&gateway).await.status, 404);
}

#[tokio::test]
async fn resets_are_cut_off() {
    let origin = Origin::doing(vec![Step::Hang]).await;
    let gateway = Gateway::before(&origin).await;
    let mut client = Frames::open(&gateway).await;
    for count in 0..400 {
        client.write(HEADERS, END_HEADERS | END_STREAM, 2 * count + 1, &block(&pseudo("GET", "/public/x"))).await;
        client.write(RST_STREAM, 0, 2 * count + 1, &8_u32.to_be_bytes()).await;
    }
    assert!(matches!(client.goaway().await, None | Some(ENHANCE_YOUR_CALM)));
    assert!(origin.count() <= 205, "{}", origin.count());
}
