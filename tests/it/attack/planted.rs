//! The attack finds what it looks for: with a check service in between that gets paths wrong, as real ones have, it reports bypasses.
//! Through the front that normalizes nothing.

use std::sync::Arc;

use bytes::Bytes;
use latchkey::envoy::messages::envoy::service::auth::v3::CheckRequest;
use prost::Message;

use super::corpus::{targets, tricks};
use super::run::{Attack, Report, Setting, WITHOUT_GUARD};
use crate::support::check_proxy::{self, Between};

/// Asks about another target than the one that goes on to the upstream.
struct Planted(fn(&str) -> String);

impl Between for Planted {
    fn question(&self, question: Bytes) -> Bytes {
        let mut question = CheckRequest::decode(question).expect("Envoy sends a CheckRequest");
        let attributes = question.attributes.as_mut();
        let http = attributes
            .and_then(|attributes| attributes.request.as_mut())
            .and_then(|request| request.http.as_mut())
            .expect("it is about HTTP");
        http.path = self.0(&http.path);
        question.encode_to_vec().into()
    }
}

fn attack(planted: fn(&str) -> String) -> Report {
    let (targets, tricks) = (targets(), tricks());
    let pairs: Vec<_> = (0..targets.len()).map(|target| (target, 0)).collect();
    let setting = Setting::new();
    let latchkey = setting.home.start("latchkey");
    let proxy = check_proxy::start(latchkey.grpc, Arc::new(Planted(planted)));
    Attack::new(&setting, &targets, &tricks).run(&WITHOUT_GUARD, proxy, &pairs)
}

#[test]
fn a_matcher_of_unnormalized_paths_is_found_out() {
    let report = attack(|path| match path.split('/').nth(1) {
        Some("public") => "/public/x".to_owned(),
        Some("files") if path != "/files/secret" => "/files/x".to_owned(),
        _ => path.to_owned(),
    });
    println!("{report}");
    assert!(report.bypasses.len() > 10, "{report}");
}

#[test]
fn a_matcher_of_decoded_paths_is_found_out() {
    let report = attack(|path| {
        let mut kept = Vec::new();
        let decoded = path.replace("%2e", ".").replace("%2f", "/").replace('\\', "/");
        for segment in decoded.split('/') {
            match segment.split(';').next().unwrap_or_default() {
                "" | "." => {}
                ".." => {
                    kept.pop();
                }
                plain => kept.push(plain.to_owned()),
            }
        }
        format!("/{}", kept.join("/"))
    });
    println!("{report}");
    assert!(report.bypasses.len() > 2, "{report}");
}

#[test]
fn a_matcher_that_takes_capitals_for_other_letters_is_found_out() {
    let report = attack(|path| {
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            "/anything".to_owned()
        } else {
            path.to_owned()
        }
    });
    println!("{report}");
    assert!(report.bypasses.len() > 5, "{report}");
}
