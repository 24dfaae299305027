//! Bodies that arrive compressed, although they were asked for uncompressed.

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::report::Unscanned;

/// The most bytes that a compressed body is decompressed to. A few kilobytes can say that they are gigabytes.
pub(super) const MAX_INFLATED: usize = 8 * 1024 * 1024;

/// Takes the content encoding off a body. It has to be one that is known, and to end where the body ends: bytes behind it
/// could be another body to whoever reads it next.
///
/// # Errors
///
/// When the encoding is not known, or there are several; when the data is broken, or more than [`MAX_INFLATED`].
pub(super) fn identity<'b>(
    body: &'b [u8],
    content_encoding: Option<&str>,
) -> Result<Cow<'b, [u8]>, Unscanned> {
    if is_identity(content_encoding) {
        return Ok(Cow::Borrowed(body));
    }
    let encoding = content_encoding.unwrap_or("").trim().to_ascii_lowercase();
    let mut rest = body;
    let inflated = match &*encoding {
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(&mut rest))?,
        // The standard means zlib's format, and some mean what is within it.
        "deflate" if is_zlib(body) => read(ZlibDecoder::new(&mut rest))?,
        "deflate" => read(DeflateDecoder::new(&mut rest))?,
        _ => return Err(Unscanned::Encoding),
    };
    if rest.is_empty() {
        Ok(Cow::Owned(inflated))
    } else {
        Err(Unscanned::Encoding)
    }
}

/// Whether a body with this content encoding is as it is.
pub(super) fn is_identity(content_encoding: Option<&str>) -> bool {
    let encoding = content_encoding.unwrap_or("").trim();
    encoding.is_empty() || encoding.eq_ignore_ascii_case("identity")
}

/// RFC 1950, section 2.2: method 8, and a check on the first two bytes.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..] if first & 0x0F == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0)
}

fn read(decoder: impl Read) -> Result<Vec<u8>, Unscanned> {
    let mut inflated = Vec::new();
    let bound = u64::try_from(MAX_INFLATED + 1).unwrap_or(u64::MAX);
    decoder
        .take(bound)
        .read_to_end(&mut inflated)
        .map_err(|_| Unscanned::Encoding)?;
    if inflated.len() > MAX_INFLATED {
        return Err(Unscanned::TooLarge);
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_known_encoding_is_taken_off() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"hello").unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(b"hello").unwrap();
        for (encoding, body) in [
            ("gzip", gzip(b"hello")),
            (" X-GZIP ", gzip(b"hello")),
            ("gzip", [gzip(b"hel"), gzip(b"lo")].concat()),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
            ("identity", b"hello".to_vec()),
        ] {
            assert_eq!(
                identity(&body, Some(encoding)).unwrap(),
                &b"hello"[..],
                "{encoding}"
            );
        }
    }

    #[test]
    fn what_is_unknown_broken_or_followed_by_more_is_not_scanned() {
        let whole = gzip(b"hello hello hello hello");
        for (encoding, body) in [
            ("br", whole.clone()),
            ("gzip, gzip", whole.clone()),
            ("gzip", b"hello".to_vec()),
            ("gzip", whole[..whole.len() - 1].to_vec()),
            ("gzip", [&whole[..], b"more"].concat()),
            ("deflate", [&whole[..], b"more"].concat()),
            ("gzip", Vec::new()),
        ] {
            assert_eq!(
                identity(&body, Some(encoding)),
                Err(Unscanned::Encoding),
                "{encoding} {}",
                body.len()
            );
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_bound() {
        let fits = gzip(&vec![b' '; MAX_INFLATED]);
        assert_eq!(identity(&fits, Some("gzip")).unwrap().len(), MAX_INFLATED);
        let bomb = gzip(&vec![b' '; MAX_INFLATED + 1]);
        assert!(bomb.len() < 100_000);
        assert_eq!(identity(&bomb, Some("gzip")), Err(Unscanned::TooLarge));
    }
}
