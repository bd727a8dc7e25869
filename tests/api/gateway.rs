//! Traffic and status, and the audit trail as a file.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_reported_as_a_whole_by_route_and_by_upstream() {
    let api = Api::start().await;
    for (path, times) in [("/public/x", 3), ("/api/x", 1)] {
        for _ in 0..times {
            Ask::get(path).to(&api.gateway).await;
        }
    }
    api.gateway.has_counted("public", "forwarded", 3).await;
    api.gateway.has_counted("api", "no_credentials", 1).await;
    api.gateway.hand.advance(std::time::Duration::from_secs(2));
    api.gateway.sample_traffic();
    let last = |traffic: &Value| traffic["points"].as_array().unwrap().last().unwrap().clone();

    let all = api.done("GET", "/traffic", None).await;
    assert_eq!((&all["minutes"], all["points"].as_array().unwrap().len()), (&json!(15), 150));
    assert_eq!((&last(&all)["per_second"], &last(&all)["unauthorized"]), (&json!(2.0), &json!(0.25)));
    assert!(all["points"][0].is_null() && last(&all)["connections"].is_number());
    assert_eq!((&all["routes"][0]["name"], &all["routes"][0]["requests"]), (&json!("public"), &json!(3)));
    assert_eq!((&all["upstreams"][0]["name"], &all["upstreams"][0]["requests"]), (&json!("origin"), &json!(3)));

    let of_route = api.done("GET", "/traffic?route=api&minutes=5", None).await;
    assert_eq!((&of_route["seconds_per_point"], &last(&of_route)["unauthorized"]), (&json!(2), &json!(1.0)));
    let of_upstream = api.done("GET", "/traffic?upstream=origin", None).await;
    assert_eq!((&last(&of_upstream)["per_second"], &last(&of_upstream)["connections"]), (&json!(1.5), &Value::Null));
    assert_eq!(last(&api.done("GET", "/traffic?route=-", None).await)["per_second"], 0.0);
    let again = api.done("GET", "/traffic", None).await;
    assert_eq!(again, all, "the same until the next sample");
    api.gateway.sample_traffic();
    assert_ne!(api.done("GET", "/traffic", None).await, all);
    for bad in ["route=nothing", "upstream=nothing", "route=api&upstream=origin", "minutes=7", "minutes=x", "hours=1"] {
        assert_eq!(
            problem(&api.ask("GET", &format!("/traffic?{bad}"), None).await),
            (422, "invalid".to_owned()),
            "{bad}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_the_configuration_without_secrets() {
    let api = Api::over_postgres().await;
    Ask::get("/public/x").to(&api.gateway).await;
    let status = api.done("GET", "/status", None).await;
    assert_eq!((&status["version"], &status["configuration"]), (&json!(env!("CARGO_PKG_VERSION")), &Value::Null));
    assert_eq!((&status["store"]["kind"], &status["store"]["is_up"]), (&json!("PostgreSQL"), &json!(true)));
    let endpoint = &status["upstreams"][0]["endpoints"][0];
    assert_eq!(endpoint["state"], "reachable");
    let routes = status["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["scopes"] == json!(["admin"])), "{routes:?}");
    let hosts = status["certificates"][0]["hosts"].as_array().unwrap();
    assert!(
        hosts.contains(&json!("localhost")) && hosts.contains(&json!("127.0.0.1")) && hosts.contains(&json!("::1"))
    );
    assert!(status["certificates"][0]["days_left"].as_i64().unwrap() > 21);
    for time in [&status["started"], &status["store"]["log_read"], &status["certificates"][0]["not_after"]] {
        time.as_str().unwrap().parse::<tokengate::clock::Timestamp>().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_trail_is_exported_whole() {
    let api = Api::start().await;
    for number in 0..1_003 {
        api.user(&format!("user {number}")).await;
    }
    let answer = api.ask("GET", "/audit/export?format=jsonl&act=user_created", None).await;
    assert_eq!(answer.fields.get("content-type"), Some("application/jsonl; charset=utf-8"));
    assert_eq!(answer.fields.get("content-disposition"), Some("attachment; filename=\"audit.jsonl\""));
    let text = answer.text();
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 1_005, "more than is read at once, and the callers");
    assert_eq!((&entries[0]["user"], &entries[0]["via"]), (&json!("user 1002"), &json!("gateway")));
    let csv = api.ask("GET", "/audit/export?format=csv&act=user_created&user_id=70001", None).await;
    let csv = csv.text();
    assert!(csv.starts_with("id,at,actor,") && csv.lines().count() == 2 && csv.contains("\"root\""), "{csv}");
    for bad in ["", "format=xml", "format=csv&page_token=x", "format=csv&user_id=0"] {
        let answer = api.ask("GET", &format!("/audit/export?{bad}"), None).await;
        assert_eq!(problem(&answer), (422, "invalid".to_owned()), "{bad}");
    }
}
