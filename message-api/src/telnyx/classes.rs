//! Classes of answers, for metrics: coarse enough to count, fine enough to see whose trouble it is.

use axum::http::StatusCode;

/// All classes. 401 is our key, 429 our pace; `lost` is a connection that ended before the answer.
pub(crate) const CLASSES: [&str; 9] =
    ["2xx", "3xx", "4xx", "401", "429", "5xx", "unreachable", "timeout", "lost"];

/// The class of an answer, or of an error without an answer.
pub(super) fn class_of(answer: &reqwest::Result<reqwest::Response>) -> &'static str {
    match answer {
        Ok(response) => class_of_status(response.status()),
        Err(error) if error.is_connect() => "unreachable",
        Err(error) if error.is_timeout() => "timeout",
        Err(_) => "lost",
    }
}

fn class_of_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "401",
        429 => "429",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_a_known_class() {
        for status in 100..=999 {
            assert!(CLASSES.contains(&class_of_status(StatusCode::from_u16(status).unwrap())));
        }
    }
}
