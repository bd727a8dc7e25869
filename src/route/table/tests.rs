//! Which route is found; the tests identify routes by name.

use http::Request;
use http::header::HOST;

use super::*;
use crate::route::Peer;

/// `host path methods`: host `-` is any host, `*.` a pattern; a path that ends in `$` is exact; methods are separated
/// by commas.
fn route(text: &str) -> settings::Route {
    let mut words = text.split(' ');
    let (host, path) = (words.next().unwrap(), words.next().unwrap());
    let methods = words.next().map(|list| list.split(',').map(|name| name.parse().unwrap()).collect());
    let path = match path.strip_suffix('$') {
        Some(path) => PathPattern::Exact(path.to_owned()),
        None => PathPattern::Prefix(path.to_owned()),
    };
    settings::Route {
        host: match host.strip_prefix("*.") {
            _ if host == "-" => HostPattern::Any,
            Some(domain) => HostPattern::Below(domain.to_owned()),
            None => HostPattern::Exact(host.to_owned()),
        },
        methods: methods.unwrap_or_default(),
        ..settings::Route::to(text, path)
    }
}

fn table(routes: &[&str]) -> RouteTable {
    RouteTable::build(routes.iter().map(|text| route(text)).collect())
}

/// The name of the route, or a text for the `NoRoute`.
fn found(table: &RouteTable, method: &str, host: &str, target: &str) -> String {
    let head = Request::builder().method(method).uri(target).header(HOST, host).body(()).unwrap().into_parts().0;
    let peer = Peer::plain("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
    let target = Target::read(&head, 8192, &peer).unwrap();
    match table.find(&target) {
        Ok(route) => route.settings.name.to_string(),
        Err(NoRoute::Method { allow }) => format!("405 {}", allow.to_str().unwrap()),
        Err(other) => format!("{other:?}"),
    }
}

#[test]
fn the_most_specific_host_wins_and_the_next_one_gets_paths_it_lacks() {
    let table =
        table(&["api.test /v1/", "*.test /", "*.b.test /", "- /v1/", "- /other/", "x.b.test /only$", "-.test /never/"]);
    for (host, path, name) in [
        ("api.test", "/v1/x", "api.test /v1/"),
        ("API.test.", "/v1/x", "api.test /v1/"),
        ("api.test:8443", "/v1/x", "api.test /v1/"),
        ("api.test", "/v2", "*.test /"),
        ("a.b.test", "/v1/", "*.b.test /"),
        ("a.a.a.b.test", "/v1/", "*.b.test /"),
        ("x.b.test", "/only", "x.b.test /only$"),
        ("x.b.test", "/else", "*.b.test /"),
        ("b.test", "/v1/", "*.test /"),
        ("test", "/v1/", "- /v1/"),
        ("test", "/v2/", "NotFound"),
        ("else", "/other/x", "- /other/"),
        ("[::1]:80", "/other/x", "- /other/"),
    ] {
        assert_eq!(found(&table, "GET", host, path), name, "{host} {path}");
    }
}

#[test]
fn the_longest_path_wins_by_whole_segments_and_decoded() {
    let table = table(&[
        "- /public/",
        "- /public/admin/",
        "- /api",
        "- /api/x$",
        "- /api/x/deep/er",
        "- /ó/",
        "- /two",
        "- /two/",
    ]);
    for (path, name) in [
        ("/public/x", "- /public/"),
        ("/public/", "- /public/"),
        ("/public", "NotFound"),
        ("/publicx", "NotFound"),
        ("/PUBLIC/x", "NotFound"),
        ("/public/admin", "- /public/"),
        ("/public/admin/x", "- /public/admin/"),
        ("/public/%61dmin/x", "- /public/admin/"),
        ("/public/x?/public/admin/", "- /public/"),
        ("/public/adminx", "- /public/"),
        ("/api", "- /api"),
        ("/api/", "- /api"),
        ("/api/y/z", "- /api"),
        ("/apix", "NotFound"),
        ("/api/x", "- /api/x$"),
        ("/api/x/", "- /api"),
        ("/api/x/deep/er/still/more", "- /api/x/deep/er"),
        ("/api/x/deep/", "- /api"),
        ("/%C3%B3/x", "- /ó/"),
        ("/two", "- /two"),
        ("/two/", "- /two/"),
        ("/two/x", "- /two/"),
        ("/", "NotFound"),
    ] {
        assert_eq!(found(&table, "GET", "a.test", path), name, "{path}");
    }
}

#[test]
fn a_listed_method_wins_and_other_methods_get_the_allowed_ones() {
    let table = table(&["- /a", "- /a GET,PURGE", "- /b POST,GET", "- /b PUT", "- /b/c"]);
    for (method, path, name) in [
        ("GET", "/a", "- /a GET,PURGE"),
        ("PURGE", "/a", "- /a GET,PURGE"),
        ("POST", "/a", "- /a"),
        ("get", "/a", "405 DELETE, GET, HEAD, OPTIONS, PATCH, POST, PURGE, PUT"),
        ("POST", "/b", "- /b POST,GET"),
        ("PUT", "/b", "- /b PUT"),
        ("HEAD", "/b", "405 GET, POST, PUT"),
        ("GETX", "/b/c", "405 DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
        ("PURGE", "/b/c", "405 DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    ] {
        assert_eq!(found(&table, method, "a.test", path), name, "{method} {path}");
    }
}

#[test]
fn a_path_that_an_upstream_may_read_as_another_route_is_refused() {
    let mut routes: Vec<_> = ["- /", "- /admin/", "- /api/"].map(route).into();
    routes[0].empty_segments = true;
    routes[2].empty_segments = true;
    let table = RouteTable::build(routes);
    for (path, name) in [
        ("/x//y", "- /"),
        ("//admin/x", "TwoReadings"),
        ("/;/admin/x", "TwoReadings"),
        ("/admin;a=b/x", "TwoReadings"),
        ("/admin%3Ba=b/x", "TwoReadings"),
        ("/admin//x", "EmptySegment"),
        ("/admin/x;a=b", "- /admin/"),
        ("/api//x;v=1//y", "- /api/"),
        ("/x;a=b/y", "- /"),
    ] {
        assert_eq!(found(&table, "GET", "a.test", path), name, "{path}");
    }
    let strict = self::table(&["- /public/"]);
    assert_eq!(found(&strict, "GET", "a.test", "/public//x"), "EmptySegment");
    assert_eq!(found(&strict, "GET", "a.test", "/public;x/y"), "NotFound");
}

#[test]
fn an_encoded_delimiter_passes_where_its_route_allows_it_for_every_reading() {
    let mut routes: Vec<_> =
        ["- /", "- /admin/", "- /files/", "- /files/inner/", "- /links/", "- /links/admin/"].map(route).into();
    routes[0].encoded_slashes = true;
    routes[2].encoded_slashes = true;
    routes[3].encoded_slashes = true;
    routes[4].encoded_percent = true;
    let table = RouteTable::build(routes);
    for (path, name) in [
        ("/files/a%2Fb", "- /files/"),
        ("/files/a%2fb", "- /files/"),
        ("/files/http%3A%2F%2Fx/", "- /files/"),
        ("/files/%2Fx", "- /files/"),
        ("/files%2Fx", "TwoReadings"),
        ("/admin%2Fx", "TwoReadings"),
        ("/x%2Fadmin/y", "- /"),
        ("/%2Fadmin/x", "TwoReadings"),
        ("/files/inner%2Fx", "TwoReadings"),
        ("/files/inner/a%2Fx", "- /files/inner/"),
        ("/files/;%2Finner/x", "TwoReadings"),
        ("/files/%2Finner/x", "TwoReadings"),
        ("/files/a%252Fb", "EncodedPercent"),
        ("/links/a%252Fb", "- /links/"),
        ("/links/a%252fb%2525", "- /links/"),
        ("/links/a%25252Fb", "- /links/"),
        ("/links/a%252Eb", "- /links/"),
        ("/links/a%2Fb", "EncodedSlash"),
        ("/links/admin%252Fx", "TwoReadings"),
        ("/links/%2561dmin/x", "TwoReadings"),
        ("/links/admin%25252Fx", "TwoReadings"),
        ("/links/%252Fadmin/x", "TwoReadings"),
        ("/links/%2561", "- /links/"),
        ("/admin/a%2Fb", "EncodedSlash"),
        ("/admin/a%252Fb", "EncodedPercent"),
    ] {
        assert_eq!(found(&table, "GET", "a.test", path), name, "{path}");
    }
    let strict = self::table(&["- /public/"]);
    assert_eq!(found(&strict, "GET", "a.test", "/other%2Fx"), "EncodedSlash");
    assert_eq!(found(&strict, "GET", "a.test", "/other%252Fx"), "EncodedPercent");
}

#[test]
fn one_public_route_means_not_all_protected() {
    assert!(table(&["- /a", "- /b"]).all_protected());
    let mut open = route("- /b");
    open.auth = Auth::Optional;
    assert!(!RouteTable::build(vec![route("- /a"), open]).all_protected());
}

#[test]
fn candidates_are_all_routes_that_match_host_and_path_and_the_found_one_is_in_the_first_group() {
    let table = table(&[
        "api.test /v1/",
        "api.test /v1/ POST",
        "api.test /",
        "api.test /v1/x$",
        "*.test /v1/",
        "- /v1/",
        "- /v2/",
        "else.test /v1/",
    ]);
    let all: [(&str, &str, &[&[&str]]); 5] = [
        (
            "api.test",
            "/v1/x",
            &[
                &["api.test /v1/x$"],
                &["api.test /v1/", "api.test /v1/ POST"],
                &["api.test /"],
                &["*.test /v1/"],
                &["- /v1/"],
            ],
        ),
        (
            "API.test.:8443",
            "/v1/y",
            &[&["api.test /v1/", "api.test /v1/ POST"], &["api.test /"], &["*.test /v1/"], &["- /v1/"]],
        ),
        ("api.test", "/v2/", &[&["api.test /"], &["- /v2/"]]),
        ("other", "/%761/y", &[&["- /v1/"]]),
        ("other", "/", &[]),
    ];
    for (host, path, wanted) in all {
        for method in ["GET", "POST", "BREW"] {
            let head = Request::builder().method(method).uri(path).header(HOST, host).body(()).unwrap().into_parts().0;
            let peer = Peer::plain("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
            let target = Target::read(&head, 8192, &peer).unwrap();
            let groups = table.candidates(&target);
            let names: Vec<Vec<&str>> =
                groups.iter().map(|group| group.iter().map(|route| &*route.settings.name).collect()).collect();
            assert_eq!(names, wanted.iter().map(|group| group.to_vec()).collect::<Vec<_>>(), "{host} {path}");
            match table.find(&target) {
                Ok(route) => assert!(groups[0].iter().any(|one| one.index == route.index), "{method} {host} {path}"),
                Err(NoRoute::Method { .. }) => assert!(groups[0].iter().all(|one| !one.takes(target.method()))),
                Err(other) => assert_eq!((other, groups.len()), (NoRoute::NotFound, 0)),
            }
        }
    }
}
