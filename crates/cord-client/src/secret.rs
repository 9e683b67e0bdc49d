//! Credentials that never reach a log.

use http::HeaderValue;

use crate::ClientError;

/// An API key. It can be sent and nothing else: `Debug` shows a placeholder, and there is no `Display` and no
/// `Serialize`.
#[derive(Clone)]
pub struct ApiKey(HeaderValue);

impl ApiKey {
    /// Reads a key from the environment variable of a name.
    ///
    /// # Errors
    /// [`ClientError::Key`] when the variable is missing, empty, or can't stand in a header. The message names the
    /// variable and never what it holds.
    pub fn from_env(variable: &str) -> Result<Self, ClientError> {
        let fault = |given| ClientError::Key { variable: variable.to_owned(), given };
        let text = std::env::var(variable).map_err(|error| match error {
            std::env::VarError::NotPresent => fault("no such variable"),
            std::env::VarError::NotUnicode(_) => fault("a value that is not UTF-8"),
        })?;
        Self::new(&text).ok_or_else(|| {
            fault(if text.trim().is_empty() { "an empty value" } else { "a value that can't stand in a header" })
        })
    }

    /// A key given as text. Nothing when it is blank or can't stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let mut header = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
        // Headers marked so are shown as `Sensitive` by every layer below.
        header.set_sensitive(true);
        Some(Self(header))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Replaces the key wherever a text repeats it: some servers quote the key that they refuse.
    pub(crate) fn redact(&self, text: &str) -> String {
        let header = self.0.to_str().unwrap_or_default();
        text.replace(header.trim_start_matches("Bearer "), "<redacted>")
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let key = ApiKey::new("sk-very-secret").unwrap();
        assert_eq!(format!("{key:?} {:?}", key.header()), "ApiKey(<redacted>) Sensitive");
        assert_eq!(key.redact("bad key sk-very-secret, sorry"), "bad key <redacted>, sorry");
        let missing = ApiKey::from_env("CORD_TEST_NO_SUCH_KEY").unwrap_err().to_string();
        assert!(missing.contains("`CORD_TEST_NO_SUCH_KEY`"), "{missing}");
        assert!(ApiKey::new(" ").is_none() && ApiKey::new("a\nb").is_none());
    }
}
