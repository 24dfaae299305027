//! The address of the caller, as the setting `client_address` says. What is missing or malformed is never guessed: the
//! direct peer counts.

use std::net::IpAddr;

use super::credential::trim;
use super::headers::Lines;
use crate::config::ClientAddress;

/// Headers that may name the address.
#[derive(Debug, Default)]
pub(super) struct AddressHeaders<'r> {
    /// `x-envoy-external-address`
    pub(super) external: Lines<'r>,
    /// `x-forwarded-for`, line by line.
    pub(super) forwarded_for: ForwardedFor<'r>,
}

/// The lines of `x-forwarded-for`; nearly always one, which needs no allocation.
#[derive(Debug, Default)]
pub(super) struct ForwardedFor<'r> {
    first: Option<&'r [u8]>,
    more: Vec<&'r [u8]>,
}

impl<'r> ForwardedFor<'r> {
    pub(super) fn push(&mut self, line: &'r [u8]) {
        match self.first {
            None => self.first = Some(line),
            Some(_) => self.more.push(line),
        }
    }

    /// The entries of all lines, the last one first. Lines of one name are one list (RFC 9110 §5.3).
    fn entries_from_the_right(&self) -> impl Iterator<Item = &'r [u8]> {
        let lines = self.first.iter().chain(&self.more).rev();
        lines.flat_map(|line| line.rsplit(|&byte| byte == b','))
    }
}

impl AddressHeaders<'_> {
    pub(super) fn client(&self, setting: ClientAddress, peer: Option<IpAddr>) -> Option<IpAddr> {
        let named = match setting {
            ClientAddress::Peer => None,
            ClientAddress::EnvoyExternal => self.external.once(),
            ClientAddress::XForwardedFor(place) => {
                self.forwarded_for.entries_from_the_right().nth(place.get() - 1)
            }
        };
        named
            .and_then(parse)
            .or(peer)
            .map(|address| address.to_canonical())
    }
}

fn parse(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(trim(text)).ok()?.parse().ok()
}
