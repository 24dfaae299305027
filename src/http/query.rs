//! Queries. An empty value is none, which clients send for what they leave open.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::app::App;
use super::error::ApiError;

/// The longest value that any parameter has use for, in bytes.
const LONGEST_VALUE: usize = 1024;

/// The parameters of a query, decoded. Of two with one name the first counts; names that nobody asks for are ignored.
pub(crate) struct QueryPairs(Vec<(String, String)>);

impl FromRequestParts<App> for QueryPairs {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let axum::extract::Query(pairs) = axum::extract::Query::try_from_uri(&parts.uri)
            .map_err(|_| ApiError::invalid("the query cannot be read"))?;
        Ok(Self(pairs))
    }
}

impl QueryPairs {
    /// The parameter's value, where there is one.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let named = self.0.iter().find(|(other, _)| other == name);
        let value = named
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty());
        match value {
            Some(value) if value.len() > LONGEST_VALUE || value.contains('\0') => Err(ApiError::invalid(
                format!("{name} is not a value that can be looked for"),
            )),
            value => Ok(value),
        }
    }

    /// `page_size`: at least 1, and what is over the most is the most.
    pub(crate) fn page_size(&self, default: u32, most: u32) -> Result<u32, ApiError> {
        match self.number("page_size") {
            Ok(None) => Ok(default),
            Ok(Some(size)) if size >= 1 => Ok(u32::try_from(size).unwrap_or(most).min(most)),
            _ => Err(ApiError::invalid(
                "page_size must be a whole number of at least 1",
            )),
        }
    }

    /// The same as a number; anything that is none is refused.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        // Up to what the document calls an int64.
        let number = |text: &str| {
            let number = text
                .parse::<i64>()
                .ok()
                .and_then(|number| u64::try_from(number).ok());
            number.ok_or_else(|| ApiError::invalid(format!("{name} must be a whole number of at least 0")))
        };
        self.get(name)?.map(number).transpose()
    }
}
