//! Names of kinds on the command line.

use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use strum::VariantNames;

/// Reads one of the names of a kind.
pub(super) fn named<T: VariantNames + FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("write one of: {}", T::VARIANTS.join(", ")))
}

/// The same, for an argument. Help and completions list them.
pub(super) fn one_of<T>() -> impl TypedValueParser<Value = T>
where
    T: VariantNames + FromStr<Err = strum::ParseError> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(T::VARIANTS.iter().copied()).try_map(|name| name.parse())
}
