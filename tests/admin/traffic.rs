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
    assert_eq!(row(&page, "api")[2..7], ["25%", "25%", "0%", "0%", "0%"]);
    assert_eq!(row(&page, "dead")[..1], ["4"]);
    assert_eq!(row(&page, "dead")[6], "100%");
    assert_eq!(row(&page, "no route")[..3], ["1", &row(&page, "no route")[1], "100%"], "4xx other than 401, 403, 429");
    // The values of each point, for the script that shows them on hover and by keyboard.
    let values = page.split("data-values=\"").nth(1).unwrap().split('"').next().unwrap();
    let lines: Vec<Vec<_>> = values.split(';').map(|line| line.split('|').collect()).collect();
    assert_eq!(
        lines.iter().map(|line| (line[0], line.len())).collect::<Vec<_>>(),
        [("All", 181), ("4xx", 181), ("5xx", 181)]
    );
    assert!(lines[0][180].ends_with("/s") && lines[0][1] == "–", "{values}");
    assert_eq!((row(&page, "origin")[0].as_str(), row(&page, "origin")[2].as_str()), ("9", "0%"));
    let dead = row(&page, "dead").len();
    assert_eq!(dead, 10, "the route of that name stands before the upstream");
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

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_errors_are_shown_with_reason_and_request_id_and_without_secrets() {
    let origin = Origin::answering("fine").await;
    let gateway = started(with_a_dead_one(&origin, "dead")).await;
    let key = gateway.issue("alice").await;
    let browser = Browser::of(&gateway, "root").await;
    assert!(browser.page("/traffic/errors").await.contains("No errors"));
    let secret = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b";
    let mut ids = Vec::new();
    for (path, shown, status) in [
        ("/api/x?key=hidden", Some("unknown-key"), 401),
        ("/scoped/x", Some(key.as_str()), 403),
        (&format!("/public/{secret}/%2e%2e/x"), None, 400),
        (&format!("/nowhere/{secret}"), None, 404),
        ("/dead/x", None, 502),
    ] {
        let ask = shown.map_or(Ask::get(path), |key| Ask::get(path).token(key));
        let answer = ask.to(&gateway).await;
        if status != 502 {
            assert_eq!(answer.status, status, "{path}");
        }
        ids.extend(answer.fields.get("x-request-id").map(str::to_owned));
    }
    assert_eq!(ask(&gateway, "/public/fine", 1, None).await, 200);
    gateway.has_counted("public", "forwarded", 1).await;
    gateway.has_counted("dead", "origin_connect", 1).await;
    let page = browser.page("/traffic/errors").await;
    for shown in
        ["unknown</code>", "scope</code>", "no_route</code>", "origin_connect</code>", "alice", "/nowhere/9944b091…"]
    {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    for id in &ids {
        assert!(page.contains(&format!("<code>{id}</code>")), "{id}: {page}");
    }
    for hidden in ["key=", "unknown-key", secret, &key, "/public/fine"] {
        assert!(!page.contains(hidden), "{hidden}: {page}");
    }
    let of_route = browser.page("/traffic/errors?route=scoped").await;
    assert!(of_route.contains("scope</code>") && !of_route.contains("no_route</code>"), "{of_route}");
    assert!(browser.page("/traffic/errors?route=-").await.contains("no_route</code>"));
    assert!(browser.page("/traffic?route=api").await.contains("href=\"/traffic/errors?route=api\""));
    let staff = Browser::of(&gateway, "helper").await;
    assert_eq!(staff.get("/traffic/errors").await.status, 403);
    assert!(!staff.page("/traffic").await.contains("/traffic/errors"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hour_of_traffic_survives_a_restart() {
    let origin = Origin::answering("fine").await;
    let before = site(&origin, |_| {});
    let settings = before.settings.clone();
    let gateway = started(before).await;
    assert_eq!(ask(&gateway, "/public/x", 7, None).await, 200);
    gateway.has_counted("public", "forwarded", 7).await;
    gateway.hand.advance(Duration::from_secs(2));
    gateway.sample_traffic();
    let folder = gateway.stop_and_keep(Duration::from_secs(10)).await;
    let file = folder.path().join("tokengate.db-traffic");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let gateway = site(&origin, |_| {}).with(|new| new.store = settings.store.clone()).start().await;
    let page = Browser::of(&gateway, "root").await.page("/traffic?minutes=60").await;
    assert_eq!(row(&page, "public")[0], "7");
    gateway.stop(Duration::from_secs(10)).await;

    // A damaged file costs the charts, not the start.
    std::fs::write(&file, b"tokengate traffic 1\nrubbish").unwrap();
    let gateway = site(&origin, |_| {}).with(|new| new.store = settings.store.clone()).start().await;
    let page = Browser::of(&gateway, "root").await.page("/traffic?minutes=60").await;
    assert!(page.contains("No requests in this period."));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgresql_the_last_hour_survives_in_a_file_that_is_configured_and_only_a_file_of_its_own_is_replaced() {
    let origin = Origin::answering("fine").await;
    let server = Postgres::shared().await;
    let url = server.url(&server.new_database().await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("last-hour");
    let with_file = || {
        let (url, file) = (url.clone(), Some(file.clone()));
        site(&origin, |admin| admin.traffic_file = file).with(|settings| settings.store.url = url)
    };
    let gateway = started(with_file()).await;
    assert_eq!(ask(&gateway, "/public/x", 7, None).await, 200);
    gateway.has_counted("public", "forwarded", 7).await;
    gateway.hand.advance(Duration::from_secs(2));
    gateway.sample_traffic();
    let key_file = gateway.settings().store.key_file.clone();
    let key = std::fs::read(&key_file).unwrap();
    let kept = gateway.stop_and_keep(Duration::from_secs(10)).await;
    let again = || {
        let key_file = key_file.clone();
        with_file().with(|settings| settings.store.key_file = key_file)
    };
    let gateway = again().start().await;
    let page = Browser::of(&gateway, "root").await.page("/traffic?minutes=60").await;
    assert_eq!(row(&page, "public")[0], "7");
    gateway.stop(Duration::from_secs(10)).await;

    // The path of another file was written by mistake.
    std::fs::write(&file, &key).unwrap();
    let gateway = again().start().await;
    gateway.stop(Duration::from_secs(10)).await;
    assert_eq!(std::fs::read(&file).unwrap(), key);
    drop(kept);
}
