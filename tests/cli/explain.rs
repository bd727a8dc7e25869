//! `tokengate explain`, and tests of the file.

use std::fs;

use serde_json::Value;

use super::{CONFIG, Folder};

const ASK: [&str; 5] = ["explain", "GET", "http://localhost/product_api/7/?page=2", "--listener", "plain"];

/// Explains a request with further arguments: exit code, output, errors.
fn explain(folder: &Folder, more: &[&str], input: &str) -> (i32, String, String) {
    let ended = folder.run_with(&[&ASK, more].concat(), input);
    (ended.code, ended.out, ended.err)
}

#[test]
fn a_forwarded_request_is_explained_down_to_its_headers() {
    let folder = Folder::new();
    let headers = ["-H", "X-CSRFToken: secret", "-H", "X-User-Id: 7", "-H", "Cookie: a=secret; b=secret"];
    let (code, out, err) = explain(&folder, &[&["--scope", "read"], headers.as_slice()].concat(), "");
    assert_eq!((code, err.as_str()), (0, ""));
    for line in [
        "listener     plain (127.0.0.1:0, HTTP)\n",
        "target       host localhost, path /product_api/7/\n",
        "routes       products (any host, prefix /product_api/) takes the request",
        "found: a valid token of somebody (user 1), scopes: read; made up for this explanation\n",
        "upstream     products: 127.0.0.1:8000\n",
        "receives     GET /product_api/7/?page=2\n",
        "               x-user-id: 1\n",
        "               x-csrftoken: (hidden)\n",
        "               x-token-scopes: read\n",
        "               cookie: a=(hidden); b=(hidden)\n",
        "answer       forwarded\n",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    assert!(!out.contains("secret") && !out.contains("uthorization"), "{out}");
    // Nothing was created.
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1);
}

#[test]
fn a_refused_request_is_explained_with_its_answer() {
    let folder = Folder::new();
    let (code, out, err) = explain(&folder, &[], "");
    assert_eq!((code, err.as_str()), (1, ""));
    for line in [
        "credentials  required: token\n",
        "none found\n",
        "answer       401 Unauthorized: Authentication credentials were not provided.\n",
        "outcome in logs and metrics: no_credentials\n",
        "               www-authenticate: Token\n",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let ended = folder.run("explain GET http://localhost/else --listener plain --scope read");
    assert!(ended.code == 1 && ended.out.contains("routes       none has a matching host and path\n"), "{ended:?}");
    let ended = folder.run("explain BREW http://localhost/product_api/ --listener plain --scope read --json");
    assert_eq!((ended.code, ended.err.as_str()), (1, ""));
    let said: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(said["refused"]["status"], 405);
    let allow = said["refused"]["headers"].as_array().unwrap().iter().find(|pair| pair[0] == "allow").unwrap();
    assert_eq!(allow[1], "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
    assert_eq!(said["routes"][0]["why"], "does not accept the method");
    // No route takes it, and so none has limits.
    assert_eq!((&said["route"], said["limits"].as_object().unwrap().len()), (&Value::Null, 0));
    assert_eq!((said["forwarded"].is_null(), &said["listener"]), (true, &Value::from("plain")));
}

#[test]
fn users_and_keys_of_the_store_are_looked_up_and_nothing_is_written() {
    let folder = Folder::new();
    let (code, _, err) = explain(&folder, &["--as", "alice"], "");
    assert!(code == 2 && err.contains("run `tokengate migrate`"), "{err}");
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1);
    let key = folder.create_user("alice");
    folder.create_user("carol");
    folder.say("user deactivate carol");
    let content = || folder.say("user list --json") + &folder.say("token list --json") + &folder.say("token show 1");
    let before = content();
    let (code, out, err) = explain(&folder, &["--as", "alice", "--json"], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&said["caller"]["user"], &said["caller"]["user_id"]), (&Value::from("alice"), &Value::from(1)));
    assert_eq!(
        (&said["limits"]["body"]["body"], &said["limits"]["head"]["header_count"]),
        (&"10MiB".into(), &"100".into())
    );
    let (code, out, err) = explain(&folder, &["--token-stdin"], &format!("{key}\n"));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("x-token-id: 1\n") && !out.contains(&key), "{out}");
    let (code, out, _) = explain(&folder, &["--token-stdin"], &format!("{}\n", "0".repeat(40)));
    assert!(code == 1 && out.contains("found: a key that the store does not have\n"), "{out}");
    let header = format!("Authorization: Token {key}");
    let (code, out, _) = explain(&folder, &["-H", &header], "");
    assert!(code == 0 && !out.contains(&key), "{out}");
    let (code, out, _) = explain(&folder, &["--as", "carol"], "");
    assert!(code == 1 && out.contains("found: a token of a deactivated user\n"), "{out}");
    assert!(out.contains("401 Unauthorized: User inactive or deleted."), "{out}");
    assert!(before.contains("last used     never\n"));
    assert_eq!(content(), before);
    folder.say("token edit 1 --network 10.0.0.0/8");
    let (code, out, _) = explain(&folder, &["--token-stdin"], &format!("{key}\n"));
    assert!(code == 1 && out.contains("reason: the token is not allowed from this address\n"), "{out}");
}

#[test]
fn what_cannot_be_explained_is_an_error_of_its_own() {
    let folder = Folder::new();
    for (arguments, words) in [
        (vec!["explain"], "required"),
        (vec!["explain", "GET", "/x"], "`GET /x` has no absolute http:// or https:// URL; write"),
        (vec!["explain", "GET", "wss://localhost/x"], "has no absolute http:// or https:// URL; write one such as"),
        (
            vec!["explain", "GET", "http://localhost:81/"],
            "no listener has port 81; name the one that takes the request with `listener`: plain (127.0.0.1:0)",
        ),
        (vec!["explain", "GET", "https://localhost/", "--listener", "plain"], "speaks HTTP without TLS"),
        (vec!["explain", "--test", "none"], "no test of the configuration is called `none`"),
        (vec!["explain", "GET", "http://localhost/", "-H", "x"], "`x` is not a header line"),
        (vec!["explain", "GET", "http://localhost/", "--scope", "A"], "`A` is not a valid scope"),
        (vec!["--config", "missing.toml", "explain", "GET", "http://localhost/"], "missing.toml: cannot be read"),
    ] {
        let ended = folder.run_with(&arguments, "");
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(words), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_failing_test_of_the_file_refuses_it_and_can_be_explained() {
    let test = |upstream: &str| {
        format!(
            "{CONFIG}\n[[tests]]\nname = \"reachable\"\nrequest = \"GET http://localhost/product_api/\"\n\
             listener = \"plain\"\n{upstream}\nexpect.upstream = \"products\"\n"
        )
    };
    let folder = Folder::with(&test("as.user = \"alice\""));
    assert_eq!(folder.say("check"), "gateway.toml: OK\n");
    fs::write(folder.path("gateway.toml"), test("")).unwrap();
    let what = "the test `reachable` fails: expected upstream `products`, but the gateway answers 401 (no_credentials: \
                Authentication credentials were not provided.; route `products`)";
    let checked = folder.run("check");
    let line = 1 + CONFIG.lines().count() + 1;
    let mend = "to see why: tokengate explain --test 'reachable'";
    assert_eq!(checked.err, format!("error: gateway.toml:{line}: tests: {what}\n  {mend}\n1 error\n"));
    assert_eq!(checked.code, 1);
    let checked: Value = serde_json::from_str(&folder.run("check --json").out).unwrap();
    assert_eq!((&checked["ok"], &checked["errors"][0]["line"]), (&Value::from(false), &Value::from(line)));
    let started = folder.run("serve");
    assert!(started.code == 1 && started.err.contains(what), "{started:?}");
    let explained = folder.run("explain --test reachable");
    assert!(explained.code == 1 && explained.out.contains("answer       401 Unauthorized"), "{explained:?}");
}

#[test]
fn credentials_in_any_header_and_in_the_query_are_not_shown() {
    let folder = Folder::new();
    let url = "http://localhost/product_api/7/?page=2&api_key=secret";
    for json in [&[][..], &["--json"]] {
        let more = ["--listener", "plain", "--scope", "read", "-H", "X-Api-Key: secret", "-H", "X-Page: 2"];
        let ended = folder.run_with(&[&["explain", "GET", url][..], &more, json].concat(), "");
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.out);
        assert!(!ended.out.contains("secret"), "{}", ended.out);
        for part in ["/product_api/7/?page=2&api_key=***", "x-api-key", "x-auth-method", "(hidden)"] {
            assert!(ended.out.contains(part), "{part}\n{}", ended.out);
        }
    }
    for wrong in [
        &["http://alice:secret@localhost/"][..],
        &["http://localhost/?token=secret#x"],
        &["http://localhost/", "-H", "Authorization Token secret"],
    ] {
        let ended = folder.run_with(&[&["explain", "GET"][..], wrong].concat(), "");
        assert!(ended.code == 2 && ended.err.contains("***") && !ended.err.contains("secret"), "{}", ended.err);
    }
}
