//! The shapes of Envoy that the end-to-end tests run in are configurations that Envoy takes.

use crate::support::{Envoy, Shape};

#[test]
fn envoy_validates_each_shape() {
    for shape in Shape::ALL {
        let finished = Envoy::validate(shape);
        assert_eq!(finished.code, Some(0), "{shape:?}: {finished:?}");
    }
}
