//! Notifications between gateways.

use std::net::SocketAddr;

use tokengate::store::{TokenEvent, TokenFeed};

use super::{Fleet, record};
use crate::support::redis::{Redis, command};
use crate::support::{Line, PATIENCE, eventually, soon};

async fn next(feed: &mut Box<dyn TokenFeed>) -> TokenEvent {
    soon("an event", feed.next()).await
}

#[tokio::test]
async fn a_change_reaches_every_gateway_after_its_hold() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let (one, other) = (fleet.before(&redis).await, fleet.before(&redis).await);
    let (mut own, mut feed) = (one.cache.feed(), other.cache.feed());
    assert_eq!((next(&mut own).await, next(&mut feed).await), (TokenEvent::Gap, TokenEvent::Gap));
    let alice = record("alice's key");
    one.fill(&alice).await;
    for (feed, number) in [(&mut own, 1), (&mut feed, 1_000)] {
        one.change_is_heard(&alice, number, feed).await;
        assert!(other.finds_nothing(&alice).await);
    }
}

#[tokio::test]
async fn invalid_messages_are_ignored() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let mut feed = gateway.cache.feed();
    assert_eq!(next(&mut feed).await, TokenEvent::Gap);
    for text in ["", "x", &"z".repeat(64), &"0".repeat(100_000)] {
        redis.ask::<u64>(command(&["PUBLISH", "tokengate:changes", text])).await;
    }
    let alice = record("alice's key");
    gateway.change_is_heard(&alice, 1, &mut feed).await;
}

#[tokio::test]
async fn a_cut_a_stalled_and_a_killed_connection_each_end_in_a_gap() {
    let (mut redis, fleet) = (Redis::start().await, Fleet::new());
    let line = Line::to(SocketAddr::from(([127, 0, 0, 1], redis.port))).await;
    let settings = fleet.settings(&format!("redis://{}", line.address));
    let gateway = fleet.connected(&settings).await;
    let mut feed = gateway.cache.feed();
    assert_eq!(next(&mut feed).await, TokenEvent::Gap);

    for break_it in [Line::cut, Line::stall] {
        let before = line.accepted();
        break_it(&line);
        let event = tokio::spawn(async move { (feed.next().await, feed) });
        let what = "it connects anew, in vain";
        eventually(PATIENCE, what, || async { line.accepted() > before }).await;
        line.pass();
        let (event, same) = soon("an event", event).await.unwrap();
        assert_eq!(event, TokenEvent::Gap);
        feed = same;
    }

    redis.kill();
    redis.restart().await;
    assert_eq!(next(&mut feed).await, TokenEvent::Gap);
    gateway.is_connected().await;
    let alice = record("alice's key");
    gateway.change_is_heard(&alice, 1, &mut feed).await;
}

#[tokio::test]
async fn too_many_unread_messages_become_a_gap() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let mut feed = gateway.cache.feed();
    assert_eq!(next(&mut feed).await, TokenEvent::Gap);
    let crowd = "for n = 1, 20000 do redis.call('PUBLISH', 'tokengate:changes', string.rep('0', 64)) end";
    redis.ask::<redis::Value>(command(&["EVAL", crowd, "0"])).await;
    let mut events = 0;
    while next(&mut feed).await != TokenEvent::Gap {
        events += 1;
        assert!(events < 20_000);
    }
}
