//! Where a key is found, and when it is none.

use proptest::prelude::*;

use super::*;

fn place(schemes: &[&str], bare: bool) -> HeaderPlace {
    HeaderPlace {
        schemes: schemes.iter().map(|scheme| (*scheme).into()).collect(),
        bare,
    }
}

fn shown<'a>(found: &'a Option<Result<PresentedKey<'a>, InvalidKey>>) -> Option<Result<&'a str, InvalidKey>> {
    found.as_ref().map(|found| {
        found
            .as_ref()
            .map(PresentedKey::as_str)
            .map_err(|invalid| *invalid)
    })
}

#[test]
fn a_header_with_a_scheme_holds_a_key_after_it() {
    use InvalidKey::{Ambiguous, Malformed};
    let longest = "k".repeat(256);
    let too_long = "k".repeat(257);
    for (value, expected) in [
        ("Bearer lk_a", Some(Ok("lk_a"))),
        ("bearer lk_a", Some(Ok("lk_a"))),
        ("BEARER lk_a", Some(Ok("lk_a"))),
        ("Bearer    lk_a", Some(Ok("lk_a"))),
        (" Bearer lk_a\t ", Some(Ok("lk_a"))),
        (&format!("Bearer {longest}"), Some(Ok(longest.as_str()))),
        (&format!("Bearer {too_long}"), Some(Err(Malformed))),
        ("Bearer", Some(Err(Malformed))),
        ("Bearer ", Some(Err(Malformed))),
        ("Bearer\tlk_a", Some(Err(Malformed))),
        ("Bearer lk_a lk_b", Some(Err(Malformed))),
        ("Bearer lk_\u{e4}", Some(Err(Malformed))),
        ("Bearer lk_\u{7f}", Some(Err(Malformed))),
        ("Bearer=lk_a", Some(Err(Malformed))),
        ("Bearer lk_a,lk_b", Some(Err(Ambiguous))),
        ("Bearer lk_a,Bearer lk_b", Some(Err(Ambiguous))),
        ("Bearer lk_a, Bearer lk_a", Some(Err(Ambiguous))),
        ("Bearer lk_a,", Some(Err(Ambiguous))),
        ("Bearer ,lk_a", Some(Err(Ambiguous))),
        ("Bearer,Bearer lk_a", Some(Err(Ambiguous))),
        ("Basic dXNlcg==, Bearer lk_a", Some(Err(Ambiguous))),
        ("Basic dXNlcg==,bearer lk_a", Some(Err(Ambiguous))),
        (",Bearer lk_a", Some(Err(Ambiguous))),
        ("Bearer lk_a, Basic dXNlcg==", Some(Err(Ambiguous))),
        ("Basic dXNlcg==", None),
        ("Digest username=\"a\", realm=\"b\"", None),
        ("Bearerlk_a", None),
        ("BearerX lk_a", None),
        ("lk_a", None),
        ("", None),
    ] {
        assert_eq!(
            shown(&place(&["Bearer"], false).read(value.as_bytes())),
            expected,
            "{value:?}"
        );
    }
}

#[test]
fn a_header_without_a_scheme_is_the_key() {
    use InvalidKey::{Ambiguous, Malformed};
    for (value, expected) in [
        ("lk_a", Ok("lk_a")),
        (" lk_a\t", Ok("lk_a")),
        ("", Err(Malformed)),
        ("  ", Err(Malformed)),
        ("lk a", Err(Malformed)),
        ("lk_a,lk_b", Err(Ambiguous)),
        (",", Err(Ambiguous)),
        ("Bearer lk_a", Err(Malformed)),
    ] {
        assert_eq!(
            shown(&place(&[], true).read(value.as_bytes())),
            Some(expected),
            "{value:?}"
        );
    }
    assert_eq!(shown(&place(&[], true).read(b"lk_\xff")), Some(Err(Malformed)));
}

#[test]
fn one_header_may_take_two_schemes_and_bare_keys() {
    let both = place(&["Bearer", "ApiKey"], true);
    for (value, expected) in [
        ("Bearer lk_a", Ok("lk_a")),
        ("apikey lk_a", Ok("lk_a")),
        ("lk_a", Ok("lk_a")),
        ("Bearer lk_a, ApiKey lk_a", Err(InvalidKey::Ambiguous)),
        ("lk_a, ApiKey lk_a", Err(InvalidKey::Ambiguous)),
    ] {
        assert_eq!(shown(&both.read(value.as_bytes())), Some(expected), "{value:?}");
    }
}

#[test]
fn two_finds_are_ambiguous_even_if_equal_or_bad() {
    let key = || place(&[], true).read(b"lk_a").unwrap();
    for (first, second) in [
        (key(), key()),
        (Err(InvalidKey::Malformed), key()),
        (key(), Err(InvalidKey::Malformed)),
    ] {
        let mut presented = Presented::Nothing;
        presented.add(first);
        presented.add(second);
        assert!(
            matches!(presented, Presented::Invalid(InvalidKey::Ambiguous)),
            "{presented:?}"
        );
    }
}

fn query() -> QueryPlaces {
    QueryPlaces {
        names: vec!["api_key".into(), "a b".into()],
    }
}

fn cut(target: &str, only: Option<&OwnShape>) -> Option<String> {
    let path_len = target.find('?').unwrap_or(target.len());
    query()
        .cut(target.as_bytes(), path_len, only)
        .map(|kept| String::from_utf8(kept).unwrap())
}

#[test]
fn a_query_parameter_is_compared_and_read_decoded() {
    use InvalidKey::{Ambiguous, Malformed};
    for (text, expected) in [
        ("api_key=lk_a", vec![Ok("lk_a")]),
        ("x=1&api_key=lk_a&y=2", vec![Ok("lk_a")]),
        ("x=1;api_key=lk_a;y=2", vec![Ok("lk_a")]),
        ("api%5Fkey=lk_a", vec![Ok("lk_a")]),
        ("%61pi%5fkey=lk%5Fa", vec![Ok("lk_a")]),
        ("a+b=lk_a", vec![Ok("lk_a")]),
        ("a%20b=lk_a", vec![Ok("lk_a")]),
        ("api_key=lk=a", vec![Ok("lk=a")]),
        ("api_key", vec![Err(Malformed)]),
        ("api_key=", vec![Err(Malformed)]),
        ("api_key=lk+a", vec![Err(Malformed)]),
        ("api_key=lk%00", vec![Err(Malformed)]),
        ("api_key=lk%FF", vec![Err(Malformed)]),
        ("api_key=a,b", vec![Err(Ambiguous)]),
        ("api_key=a%2Cb", vec![Err(Ambiguous)]),
        ("api_key=a&api_key=a", vec![Ok("a"), Ok("a")]),
        ("api_key=a;api%5Fkey=b", vec![Ok("a"), Ok("b")]),
        ("API_KEY=lk_a&api_keys=x&xapi_key=y&=api_key", vec![]),
        ("", vec![]),
    ] {
        let places = query();
        let found: Vec<_> = places.read(text.as_bytes()).collect();
        let found: Vec<_> = found
            .iter()
            .map(|found| {
                found
                    .as_ref()
                    .map(PresentedKey::as_str)
                    .map_err(|invalid| *invalid)
            })
            .collect();
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn a_query_parameter_is_cut_out_and_the_rest_stays() {
    for (target, expected) in [
        ("/a", None),
        ("/a?", None),
        ("/a?x=1", None),
        ("/a?API_KEY=1", None),
        ("/a?api_key=k", Some("/a")),
        ("/a?api_key=k&x=1", Some("/a?x=1")),
        ("/a?x=1&api_key=k", Some("/a?x=1")),
        ("/a?x=1&api_key=k&y=2", Some("/a?x=1&y=2")),
        ("/a?x=1;api_key=k&y=2", Some("/a?x=1&y=2")),
        ("/a?z&a&c=&api%5Fkey=k&%7e=+", Some("/a?z&a&c=&%7e=+")),
        ("/a?api_key=k&api_key=l", Some("/a")),
        ("/a?api_key=k;b&api_key;c", Some("/a?b;c")),
        ("/a?&api_key=k", Some("/a?")),
        ("/a?api_key=k&", Some("/a?")),
        ("/a?x?api_key=k&api_key=k", Some("/a?x?api_key=k")),
    ] {
        assert_eq!(cut(target, None).as_deref(), expected, "{target:?}");
    }
}

#[test]
fn a_foreign_value_can_be_left_in_the_query() {
    let own = OwnShape {
        begin: b"lk_"[..].into(),
    };
    assert_eq!(cut("/a?api_key=theirs", Some(&own)), None);
    assert_eq!(cut("/a?api_key=lk%5Fours&x", Some(&own)).as_deref(), Some("/a?x"));
}

#[test]
fn our_own_shape_is_seen_where_a_word_begins() {
    let own = OwnShape {
        begin: b"lk_"[..].into(),
    };
    for (text, expected) in [
        ("lk_a", true),
        ("Bearer lk_a", true),
        ("a,lk_b", true),
        ("\"lk_b\"", true),
        ("eyJhbGlk_x.lk_y-lk_z", false),
        ("lk", false),
        ("", false),
    ] {
        assert_eq!(own.is_in(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn a_presented_key_prints_nothing_of_itself() {
    let key = place(&[], true).read(b"lk_secret");
    assert!(!format!("{key:?}").contains("secret"));
}

proptest! {
    #[test]
    fn cutting_keeps_all_other_pairs_and_their_order(
        pairs in proptest::collection::vec(("(api_key|api%5Fkey|x|y|)", "(=[a-z%&;]{0,3})?", "[&;]"), 0..6)
    ) {
        let query: String = pairs.iter().map(|(name, value, end)| format!("{name}{value}{end}")).collect();
        let target = format!("/a?{query}");
        let is_ours = |pair: &&str| ["api_key", "api%5Fkey"].contains(&pair.split('=').next().unwrap());
        let expected: Vec<&str> = query.split(['&', ';']).filter(|pair| !is_ours(pair)).collect();
        match cut(&target, None) {
            None => prop_assert_eq!(expected.len(), query.split(['&', ';']).count()),
            Some(kept) => {
                let kept: Vec<&str> = kept.split_once('?').map_or(vec![], |(_, query)| query.split(['&', ';']).collect());
                prop_assert_eq!(kept, expected);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(value in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = place(&["Bearer"], true).read(&value);
        let places = query();
        places.read(&value).for_each(drop);
        let target = [b"/a?", &value[..]].concat();
        let _ = places.cut(&target, 2, None);
    }
}
