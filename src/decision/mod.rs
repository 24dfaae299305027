//! The decision: data in, decision out. No I/O, no clock, no async.
//!
//! It goes in three steps, because two things in between need the world: [`read`] reads the request and says what to do
//! next; when that is to verify a key, the record found goes into [`Candidate::identify`]; when the key is good for the
//! route, its limit is counted; and [`Admitted::decide`] ends with the scopes. Only that, or a route that needs no key, makes
//! a [`Grant`], so whoever holds one holds the proof that the request was allowed.

mod address;
mod credential;
mod denial;
mod facts;
mod grant;
mod headers;
mod path;
mod policy;
mod routes;
mod steps;
#[cfg(test)]
pub(crate) mod testing;
mod view;

pub use denial::{Denial, InvalidKey, NotAllowed};
pub use facts::Facts;
pub use grant::{Decision, Grant};
pub(crate) use headers::speakable_id;
pub use policy::{CompiledRoute, Policy};
pub use routes::RouteTable;
pub(crate) use routes::fold;
pub use steps::{Admitted, Candidate, Next, Reading, Refused, read};
pub use view::RequestView;
