//! The activation code on the panel and the check number that goes with it.
//!
//! The code is how a manager names a box to the cloud; the check number is how they see that the box
//! in front of them, the key the cloud was given and the certificate the box saw belong together:
//! anybody in between changes one of the three, and the two numbers differ.

use sha2::{Digest, Sha256};

/// The letters of a code: consonants, so that no code spells a word, without look-alikes.
pub const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// Letters in a code: 43 bits.
pub const CODE_LENGTH: usize = 10;

/// How long a code is good for.
pub const CODE_VALID_S: u64 = 30 * 60;

/// `BCDFGHJKLM` as people read it: `BCDF-GHJ-KLM`.
pub fn grouped(code: &str) -> String {
    let mut out = String::with_capacity(code.len() + 2);
    for (i, letter) in code.chars().enumerate() {
        if i == 4 || i == 7 {
            out.push('-');
        }
        out.push(letter);
    }
    out
}

/// A typed code as the cloud stores it: upper case, blanks and hyphens dropped.
pub fn normalized(typed: &str) -> String {
    typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

/// The four digits both sides compute by themselves: SHA-256 over key, code and, where the box
/// trusts the cloud by a pinned certificate and not by an authority, that certificate's SHA-256.
pub fn check_number(public_key: &[u8; 32], code: &str, pinned: Option<&[u8; 32]>) -> String {
    let mut hash = Sha256::new();
    hash.update(b"sonde activation 1\0");
    hash.update(public_key);
    hash.update(code.as_bytes());
    hash.update(pinned.map_or(&[][..], |p| &p[..]));
    let digest = hash.finalize();
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % 10_000;
    format!("{number:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_the_way_they_are_shown() {
        assert_eq!(grouped("BCDFGHJKLM"), "BCDF-GHJ-KLM");
        assert_eq!(normalized(" bcdf-ghj klm\n"), "BCDFGHJKLM");
        assert_eq!(normalized(&grouped("ZXWVTSRQPN")), "ZXWVTSRQPN");
    }

    /// Computed once by `printf 'sonde activation 1\0...' | sha256sum` outside of this program.
    #[test]
    fn check_number_is_the_same_on_both_sides() {
        assert_eq!(check_number(&[7; 32], "BCDFGHJKLM", None), "6318");
        assert_eq!(check_number(&[7; 32], "BCDFGHJKLM", Some(&[9; 32])), "7655");
    }

    #[test]
    fn check_number_depends_on_key_code_and_certificate() {
        let number = check_number(&[7; 32], "BCDFGHJKLM", Some(&[9; 32]));
        assert_ne!(number, check_number(&[8; 32], "BCDFGHJKLM", Some(&[9; 32])));
        assert_ne!(number, check_number(&[7; 32], "BCDFGHJKLN", Some(&[9; 32])));
        assert_ne!(number, check_number(&[7; 32], "BCDFGHJKLM", Some(&[8; 32])));
        assert_ne!(number, check_number(&[7; 32], "BCDFGHJKLM", None));
    }
}
