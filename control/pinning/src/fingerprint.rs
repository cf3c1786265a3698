//! A certificate's SHA-256 as people write it.

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a SHA-256 fingerprint: write its 64 hexadecimal digits")]
pub struct FingerprintError {
    /// What was written.
    pub text: String,
}

/// Reads a fingerprint: 64 hexadecimal digits, upper or lower case; colons and blanks between them, as other
/// tools print, do not matter.
///
/// # Errors
/// [`FingerprintError`].
pub fn parse_fingerprint(text: &str) -> Result<[u8; 32], FingerprintError> {
    read(text).ok_or_else(|| FingerprintError {
        text: text.to_owned(),
    })
}

fn read(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !matches!(c, ':' | ' '))
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let (pairs, odd) = digits.as_chunks();
    if !odd.is_empty() {
        return None;
    }
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_and_tools_write_them() {
        let plain = "00ff".repeat(16);
        let expected: [u8; 32] = std::array::from_fn(|i| if i % 2 == 0 { 0 } else { 0xff });
        let colons = ["00:FF"; 16].join(":");
        let blanks = ["00ff"; 16].join(" ");
        for text in [&plain, &plain.to_uppercase(), &colons, &blanks] {
            assert_eq!(parse_fingerprint(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_named() {
        let plain = "00ff".repeat(16);
        for bad in [
            "",
            "00",
            &plain[1..],
            &format!("{plain}0"),
            &format!("{plain}00"),
            &plain.replace('f', "g"),
        ] {
            let error = parse_fingerprint(bad).unwrap_err();
            assert_eq!(error.text, bad);
        }
    }
}
