//! Which route a request gets, against a look at each of them.

use proptest::prelude::*;

use super::*;
use crate::config::Route;
use crate::decision::testing::{policy_of, route};

fn at(host: &str, route: Route) -> Route {
    Route {
        host: Some(host.into()),
        ..route
    }
}

fn table(routes: Vec<Route>) -> RouteTable {
    policy_of(routes).routes
}

/// The name of the route that a request gets.
fn find<'t>(table: &'t RouteTable, method: &str, host: &str, path: &str) -> Result<&'t str, NotAllowed> {
    let choice = table.find(host, path.as_bytes())?;
    Ok(&choice.route(method.as_bytes())?.settings.name)
}

fn names(table: &RouteTable) -> Vec<&str> {
    table.iter().map(|route| &*route.settings.name).collect()
}

#[test]
fn the_most_specific_path_is_chosen_and_then_the_method() {
    use NotAllowed::{Method, NoRoute, Twin};
    let table = table(vec![
        route("rest", "", "/{*rest}", ""),
        route("ai", "GET POST", "/ai/{*rest}", ""),
        route("one", "GET", "/ai/{name}", ""),
        route("chat", "POST", "/ai/chat", ""),
        route("messages", "GET", "/ai/chats/{id}/messages", ""),
        route("latest", "GET", "/ai/chats/latest/{part}", ""),
        route("folder", "GET", "/docs/", ""),
        route("menu", "GET", "/caf%C3%A9/skins", ""),
        route("custom", "POST", "/v1/models/gemini:generate", ""),
        at("admin.example.com", route("admin", "GET", "/ai/{*rest}", "")),
        at("admin.example.com", route("panel", "GET", "/panel", "")),
    ]);
    for (method, host, path, expected) in [
        ("POST", "h", "/ai/chat", Ok("chat")),
        ("GET", "h", "/ai/chat", Err(Method)),
        ("GET", "h", "/ai/other", Ok("one")),
        ("HEAD", "h", "/ai/other", Ok("one")),
        ("POST", "h", "/ai/other", Err(Method)),
        ("get", "h", "/ai/other", Err(Method)),
        ("POST", "h", "/ai/a/b", Ok("ai")),
        ("DELETE", "h", "/ai/a/b", Err(Method)),
        ("DELETE", "h", "/x", Ok("rest")),
        ("GET", "h", "/", Err(NoRoute)),
        ("GET", "h", "/ai/chats/5/messages", Ok("messages")),
        ("GET", "h", "/ai/chats/latest/messages", Ok("latest")),
        ("GET", "h", "/ai/chats/latest", Ok("ai")),
        ("GET", "h", "/docs/", Ok("folder")),
        ("POST", "h", "/v1/models/gemini:generate", Ok("custom")),
        ("GET", "h", "/caf%C3%A9/skins", Ok("menu")),
        ("GET", "h", "/caf%C3%A8/skins", Ok("rest")),
        // Twins: what a lenient upstream would take for a more specific route.
        ("GET", "h", "/CAF%C3%89/skins", Err(Twin)),
        ("GET", "h", "/caf%C3%A9/%C5%BFkins/", Err(Twin)),
        ("GET", "h", "/caf%C3%A9/s%E2%84%AAins", Err(Twin)),
        ("GET", "h", "/caf%C3%A9/sk%C4%B1ns", Err(Twin)),
        ("POST", "h", "/ai/Chat", Err(Twin)),
        ("POST", "h", "/AI/chat", Err(Twin)),
        ("POST", "h", "/ai/chat/", Err(Twin)),
        ("POST", "h", "/ai/CHAT/", Err(Twin)),
        ("POST", "h", "/ai/other/", Err(Twin)),
        ("GET", "h", "/docs", Err(Twin)),
        ("GET", "h", "/Docs", Err(Twin)),
        ("GET", "h", "/ai/chats/Latest/x", Err(Twin)),
        ("GET", "h", "/AI/x", Err(Twin)),
        ("GET", "h", "/AI/x/y", Err(Twin)),
        ("POST", "h", "/v1/models/gemini%3Agenerate", Err(Twin)),
        ("POST", "h", "/v1/models/Gemini%3Agenerate/", Err(Twin)),
        ("POST", "h", "/v1/models/gemini%3Bgenerate", Ok("rest")),
        // A host of its own is asked first, and any host only when it has no route.
        ("GET", "admin.example.com", "/ai/chat", Ok("admin")),
        ("POST", "admin.example.com", "/ai/chat", Err(Method)),
        ("GET", "admin.example.com", "/panel", Ok("panel")),
        ("GET", "admin.example.com", "/Panel", Err(Twin)),
        ("GET", "admin.example.com", "/other", Ok("rest")),
        ("GET", "h", "/panel", Ok("rest")),
    ] {
        assert_eq!(
            find(&table, method, host, path),
            expected,
            "{method} {host}{path}"
        );
    }
}

#[test]
fn the_table_lists_its_routes_in_matching_order() {
    let table = table(vec![
        route("any", "", "/{*rest}", ""),
        route("one", "GET", "/a/{x}", ""),
        route("b-any", "", "/a/b", ""),
        route("b-post", "POST", "/a/b", ""),
        route("b-get", "GET", "/a/b", ""),
        route("deep", "GET", "/a/{x}/c", ""),
        route("rest", "GET", "/a/{*x}", ""),
        at("z.example", route("host", "GET", "/{*rest}", "")),
    ]);
    assert_eq!(
        names(&table),
        ["host", "b-get", "b-post", "b-any", "deep", "one", "rest", "any"]
    );
}

#[test]
fn a_method_is_served_by_who_names_it() {
    let table = table(vec![
        route("any", "", "/a", ""),
        route("get", "GET", "/a", ""),
        route("head", "HEAD", "/b", ""),
        route("get-b", "GET", "/b", ""),
    ]);
    assert_eq!(find(&table, "GET", "h", "/a"), Ok("get"));
    assert_eq!(find(&table, "HEAD", "h", "/a"), Ok("get"));
    assert_eq!(find(&table, "PURGE", "h", "/a"), Ok("any"));
    assert_eq!(find(&table, "HEAD", "h", "/b"), Ok("head"));
    assert_eq!(find(&table, "POST", "h", "/b"), Err(NotAllowed::Method));
}

#[test]
fn routes_that_differ_by_case_or_final_slash_can_stand_side_by_side() {
    let table = table(vec![
        route("small", "", "/a", ""),
        route("big", "", "/A", ""),
        route("folder", "", "/a/", ""),
        route("one", "", "/x/{id}", ""),
        route("one-folder", "", "/x/{id}/", ""),
        route("ONE", "", "/X/{id}", ""),
    ]);
    for (path, name) in [
        ("/a", "small"),
        ("/A", "big"),
        ("/a/", "folder"),
        ("/x/1", "one"),
        ("/x/1/", "one-folder"),
        ("/X/1", "ONE"),
    ] {
        assert_eq!(find(&table, "GET", "h", path), Ok(name), "{path}");
    }
    assert_eq!(find(&table, "GET", "h", "/A/"), Err(NotAllowed::Twin));
}

#[test]
fn a_literal_may_have_escapes_in_either_case() {
    let table = table(vec![
        route("coffee", "", "/caf%c3%a9/{x}", ""),
        route("exact", "", "/caf%c3%A9", ""),
    ]);
    assert_eq!(find(&table, "GET", "h", "/caf%C3%A9"), Ok("exact"));
    assert_eq!(find(&table, "GET", "h", "/caf%C3%A9/x"), Ok("coffee"));
}

#[test]
fn an_ipv6_host_is_compared_as_an_address() {
    let table = table(vec![at("[2001:db8:0::1]", route("v6", "", "/", ""))]);
    assert_eq!(find(&table, "GET", "[2001:db8::1]", "/"), Ok("v6"));
    assert_eq!(
        find(&table, "GET", "[2001:db8::2]", "/"),
        Err(NotAllowed::NoRoute)
    );
}

#[test]
fn an_empty_table_has_no_route() {
    assert_eq!(find(&table(vec![]), "GET", "h", "/"), Err(NotAllowed::NoRoute));
}

/// Whether a pattern takes a path, by hand.
fn takes(pattern: &[Segment], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((Segment::Rest(_), _)), Some(_)) => path != [""],
        (Some((Segment::Literal(text), pattern)), Some((segment, path))) => {
            **text == **segment && takes(pattern, path)
        }
        (Some((Segment::One(_), pattern)), Some((segment, path))) => {
            !segment.is_empty() && takes(pattern, path)
        }
        _ => false,
    }
}

/// What the table should say, by looking at one route after the other.
fn find_by_hand<'t>(
    table: &'t RouteTable,
    method: &str,
    host: &str,
    path: &str,
) -> Result<&'t str, NotAllowed> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let of_host = |named: bool| {
        let routes = table
            .iter()
            .filter(move |route| route.settings.host.is_some() == named);
        routes
            .filter(|route| route.settings.host.as_deref().is_none_or(|own| own == host))
            .collect::<Vec<_>>()
    };
    for routes in [of_host(true), of_host(false)] {
        let first = routes
            .iter()
            .find(|route| takes(route.settings.path.segments(), &segments));
        let lower = path.to_ascii_lowercase();
        let bare = lower.strip_suffix('/').unwrap_or(&lower);
        let is_lenient = |route: &&&Arc<CompiledRoute>| {
            let pattern: Vec<Segment> = without_final_slash(route.settings.path.segments())
                .iter()
                .map(|segment| match segment {
                    Segment::Literal(text) => Segment::Literal(text.to_ascii_lowercase().into()),
                    other => other.clone(),
                })
                .collect();
            takes(&pattern, &bare.split('/').skip(1).collect::<Vec<_>>())
        };
        let lenient = routes
            .iter()
            .filter(is_lenient)
            .map(|route| specificity(route.settings.path.segments()))
            .min();
        let Some(first) = first else {
            if lenient.is_some() {
                return Err(NotAllowed::Twin);
            }
            continue;
        };
        let pattern = first.settings.path.segments();
        let is_exact = pattern
            .iter()
            .all(|segment| matches!(segment, Segment::Literal(_)));
        if !is_exact && lenient.is_some_and(|lenient| lenient < specificity(pattern)) {
            return Err(NotAllowed::Twin);
        }
        let shape = |route: &CompiledRoute| -> Vec<(Kind, Option<Box<str>>)> {
            let literal = |segment: &Segment| match segment {
                Segment::Literal(text) => Some(text.clone()),
                _ => None,
            };
            route
                .settings
                .path
                .segments()
                .iter()
                .map(|segment| (kind(segment), literal(segment)))
                .collect()
        };
        let same: Vec<_> = routes
            .iter()
            .filter(|route| shape(route) == shape(first))
            .collect();
        let names = |wanted: &str| {
            same.iter()
                .find(|route| route.settings.methods.iter().any(|named| **named == *wanted))
        };
        return names(method)
            .or_else(|| (method == "HEAD").then(|| names("GET")).flatten())
            .or_else(|| same.iter().find(|route| route.settings.methods.is_empty()))
            .map(|route| &*route.settings.name)
            .ok_or(NotAllowed::Method);
    }
    Err(NotAllowed::NoRoute)
}

fn any_route() -> impl Strategy<Value = Route> {
    let segment = proptest::sample::select(vec!["a", "b", "A", "{x}", "{x}"]);
    let end = proptest::sample::select(vec!["", "", "", "/", "/{*rest}"]);
    let method = proptest::sample::select(vec!["", "GET", "POST", "HEAD", "GET POST"]);
    let host = proptest::sample::select(vec![None, None, Some("h")]);
    (proptest::collection::vec(segment, 0..4), end, method, host).prop_map(|(segments, end, method, host)| {
        let path = segments
            .iter()
            .enumerate()
            .map(|(at, segment)| format!("/{}", segment.replace('x', &format!("x{at}"))))
            .collect::<String>()
            + end;
        let path = if path.is_empty() { "/".to_owned() } else { path };
        Route {
            host: host.map(Into::into),
            ..route(&format!("{host:?} {method} {path}"), method, &path, "")
        }
    })
}

proptest! {
    #[test]
    fn the_table_agrees_with_looking_at_each_route(
        routes in proptest::collection::vec(any_route(), 0..12),
        paths in proptest::collection::vec("(/[abAc]){0,4}/?", 1..8),
        method in "GET|POST|HEAD|PUT",
        host in "h|i",
    ) {
        let table = table(routes);
        for path in paths.iter().filter(|path| !path.is_empty()) {
            prop_assert_eq!(
                find(&table, &method, &host, path),
                find_by_hand(&table, &method, &host, path),
                "{} {}{} in {:?}", method, host, path, names(&table)
            );
        }
    }

    #[test]
    fn any_bytes_are_looked_up_without_panic(path in proptest::collection::vec(any::<u8>(), 0..32)) {
        let table = table(vec![route("a", "", "/a/{x}/{*rest}", ""), route("b", "", "/{x}", "")]);
        let _ = table.find("h", &path).map(|choice| choice.route(&path).is_ok());
    }
}
