//! How long to wait before a request is sent again.

use std::time::{Duration, SystemTime};

use cord_core::SeedStream;
use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::Backoff;

impl Backoff {
    /// The pause before the `n`th second try, from 0.
    pub(crate) fn pause(&self, n: u32, stream: &mut SeedStream) -> Duration {
        let most = self.first.saturating_mul(2u32.saturating_pow(n)).min(self.most);
        most.mul_f64(stream.uniform())
    }
}

/// How long a server asks to be left alone: `Retry-After` in seconds or as an HTTP date. What can't be read is no wish.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or(Duration::ZERO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cord_core::Seed;

    #[test]
    fn a_wish_to_be_left_alone_is_read_in_both_forms() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        let check = |text: &str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        };
        check("7", Some(7));
        check(" 0 ", Some(0));
        check("Wed, 21 Oct 2015 07:28:30 GMT", Some(30));
        check("Wed, 21 Oct 2015 07:27:30 GMT", Some(0));
        check("soon", None);
        check("-3", None);
        check("NaN", None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn pauses_grow_to_their_limit_and_are_spread_over_all_of_it() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(5) };
        let mut stream = Seed::root(3).stream();
        for (n, most) in [(0, 1.0), (1, 2.0), (2, 4.0), (3, 5.0), (40, 5.0)] {
            let pauses: Vec<f64> = (0..400).map(|_| backoff.pause(n, &mut stream).as_secs_f64()).collect();
            assert!(pauses.iter().all(|pause| *pause <= most), "try {n}");
            let mean = pauses.iter().sum::<f64>() / 400.0;
            assert!((mean / most - 0.5).abs() < 0.06, "try {n}: the mean is {mean}");
        }
    }
}
