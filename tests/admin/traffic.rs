//! Traffic and status pages.

use std::time::Duration;

use tokengate::config::settings::Auth;

use super::*;

/// The numbers in the table row with this name.
fn row(page: &str, name: &str) -> Vec<String> {
    let row = page.split("<tr>").find(|row| row.contains(&format!(">{name}</a></th>")));
    let row = row.unwrap_or_else(|| panic!("no row {name}: {page}"));
    let cells =
        row.split("<td class=\"number\"").skip(1).filter_map(|cell| cell.split("</td>").next()?.split_once('>'));
    cells.map(|(_, text)| text.to_owned()).collect()
}

/// The newest values in the legend of a chart.
fn legend(page: &str, title: &str) -> Vec<(String, String)> {
    let (_, rest) = page.split_once(&format!("<h2>{title}</h2>")).unwrap_or_else(|| panic!("no chart {title}: {page}"));
    let items = rest.split("</ul>").next().unwrap().split("</span>").skip(1);
    let text = |item: &str| item.replace("<b>", "|").split("</b>").next().unwrap().to_owned();
    items.filter_map(|item| text(item).split_once(" |").map(|(a, b)| (a.to_owned(), b.to_owned()))).collect()
}

async fn ask(gateway: &Gateway, path: &str, times: usize, key: Option<&str>) -> u16 {
    let mut status = 0;
    for _ in 0..times {
        let ask = Ask::get(path);
        status = key.map_or(ask.clone(), |key| ask.token(key)).to(gateway).await.status;
    }
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_requests_and_their_outcomes() {
    let origin = Origin::answering("fine").await;
    let gateway = started(with_a_dead_one(&origin, "dead")).await;
    let key = gateway.issue("alice").await;
    assert_eq!(ask(&gateway, "/api/x", 6, Some(&key)).await, 200);
    assert_eq!(ask(&gateway, "/api/x", 2, Some("wrong")).await, 401);
    assert_eq!(ask(&gateway, "/public/x", 3, None).await, 200);
    let failed = ask(&gateway, "/dead/x", 4, None).await;
    assert!(failed >= 500, "{failed}");
    assert_eq!(ask(&gateway, "/nowhere", 1, None).await, 404);
    gateway.has_counted("api", "forwarded", 6).await;
    gateway.has_counted("public", "forwarded", 3).await;
    gateway.has_counted("dead", "origin_connect", 4).await;
    gateway.has_counted("-", "no_route", 1).await;
    gateway.hand.advance(Duration::from_secs(2));
    gateway.sample_traffic();

    let browser = Browser::of(&gateway, "helper").await;
    let page = browser.page("/traffic?minutes=60").await;
    assert_eq!(row(&page, "api")[0], "8");
    assert_eq!(row(&page, "api")[2..6], ["25%", "0%", "0%", "0%"]);
    assert_eq!(row(&page, "dead")[..1], ["4"]);
    assert_eq!(row(&page, "dead")[5], "100%");
    assert_eq!(row(&page, "no route")[0], "1");
    assert_eq!((row(&page, "origin")[0].as_str(), row(&page, "origin")[2].as_str()), ("9", "0%"));
    let dead = row(&page, "dead").len();
    assert_eq!(dead, 9, "the route of that name stands before the upstream");
    assert!(!page.contains(">scoped</a>"), "a route without requests has no row");
    for chart in ["Requests per second", "Error rate", "Request duration", "Cache hit rate"] {
        assert!(page.contains(&format!("<h2>{chart}</h2>")), "{chart}");
    }

    let of_route = browser.page("/traffic?route=api&minutes=60").await;
    assert!(of_route.contains("<h1>Route api</h1>") && !of_route.contains("<table"), "{of_route}");
    assert_eq!(legend(&of_route, "Error rate")[0], ("401".to_owned(), "25%".to_owned()));
    let of_upstream = browser.page("/traffic?upstream=dead&minutes=60").await;
    assert_eq!(legend(&of_upstream, "Error rate"), [("Failed".to_owned(), "100%".to_owned())]);
    assert_eq!(legend(&of_upstream, "Time to first byte")[0].1, "–", "nothing answered");
    for unknown in ["/traffic?route=nothing", "/traffic?upstream=nothing", "/traffic/live?route=nothing"] {
        assert_eq!(browser.get(unknown).await.status, 404, "{unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_part_is_the_same_until_the_next_sample_and_needs_a_sign_in() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    gateway.sample_traffic();
    let browser = Browser::of(&gateway, "helper").await;
    let page = browser.page("/traffic").await;
    assert!(page.contains("data-live=\"/traffic/live?minutes=15\"") && page.contains("<noscript>"), "{page}");
    let before = browser.page("/traffic/live?minutes=15").await;
    assert!(!before.contains("<html") && before.contains("No requests") && !before.contains(">public</a>"), "{before}");
    ask(&gateway, "/public/x", 2, None).await;
    gateway.has_counted("public", "forwarded", 2).await;
    gateway.sample_traffic();
    let after = browser.page("/traffic/live?minutes=15").await;
    assert_eq!(row(&after, "public")[0], "2");
    assert_eq!(Browser::new(&gateway).get("/traffic/live?minutes=15").await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_routes_the_busiest_are_shown() {
    let origin = Origin::answering("fine").await;
    let many = |settings: &mut tokengate::config::Settings| {
        settings.routes = (0..150).map(|n| route(&format!("r{n}"), &format!("/r{n}/"), Auth::None)).collect();
    };
    let gateway = started(site(&origin, |_| {}).with(many)).await;
    let mut client = Wire::open(&gateway).await;
    for n in 0..150 {
        for _ in 0..if n == 149 { 3 } else { 1 } {
            client.ask(&format!("GET /r{n}/ HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        }
    }
    gateway.has_counted("r149", "forwarded", 3).await;
    gateway.sample_traffic();
    let page = Browser::of(&gateway, "root").await.page("/traffic/live?minutes=60").await;
    let first = page.split("route=").nth(1).unwrap();
    assert!(first.starts_with("r149&"), "{first}");
    assert!(page.contains("And 50 routes with fewer requests.") && page.matches("route=").count() == 100, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_the_configuration_and_the_state() {
    let origin = Origin::answering("fine").await;
    let gateway = started(with_a_dead_one(&origin, "dead")).await;
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.page("/status").await;
    assert!(page.contains("Unused") && !page.contains(">Reachable<"), "{page}");
    ask(&gateway, "/public/x", 1, None).await;
    ask(&gateway, "/dead/x", 2, None).await;
    let page = browser.page("/status").await;
    for shown in [
        env!("CARGO_PKG_VERSION"),
        "not from a file",
        ">Up<",
        "<dt>Push</dt><dd>off (polling)",
        ">Reachable<",
        ">Unreachable<",
        "days left",
        "*.wild.test",
        "[cache.redis]</code> is not set",
        ">any host</span><code>/scoped/*</code>",
        "body 10MiB",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let unreachable = page.split("<tr>").find(|row| row.contains("Unreachable")).unwrap();
    assert!(unreachable.contains(">2</td>"), "{unreachable}");
    let helper = Browser::of(&gateway, "helper").await;
    assert_eq!(helper.get("/status").await.status, 403);
    assert!(!helper.page("/traffic").await.contains("href=\"/status\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_warns_of_a_certificate_that_ends_soon() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.page("/status").await;
    let days = page.split(" days left").next().unwrap().rsplit('>').next().unwrap().parse::<u64>().unwrap();
    assert!(days > 21 && page.contains("<span class=\"badge good\">"), "{page}");
    gateway.hand.advance(Duration::from_secs((days - 20) * 86_400));
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.page("/status").await;
    assert!(page.contains("<span class=\"badge warn\">20 days left</span>"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_shows_every_problem_on_the_status_page() {
    let origin = Origin::answering("fine").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "[routes.a]\nwrong = 1\n[routes.b]\nworse = 2\n").unwrap();
    let mut site = site(&origin, |_| ());
    site.configuration = Some(file);
    let gateway = started(site).await;
    let browser = Browser::of(&gateway, "root").await;
    assert!(browser.page("/status").await.contains("Reload configuration"));
    let page = browser.submit_and_follow("/status", "/status/reload", &[]).await;
    for shown in ["The configuration was not reloaded", "The last reload failed", "routes.a.wrong", "routes.b.worse"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let helper = Browser::of(&gateway, "helper").await;
    assert_eq!(helper.submit("/users", "/status/reload", &[]).await.status, 403);
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
}
