//! Short-lived EdDSA tokens: a compact JSON Web Signature (RFC 7515, RFC 8037) by the device's key.
//!
//! ```text
//! Authorization: Sonde base64url({"alg":"EdDSA"}) . base64url(Claims) . base64url(signature)
//! ```
//!
//! A token is good for one method, one path with query, one body and at most [`LIFETIME_MAX_S`] seconds:
//! whoever reads one in a log can do nothing with it. It proves that its sender holds the private half of
//! [`Claims::kid`]; whether that key belongs to a known box is for the cloud to look up.
//!
//! Nothing is negotiated: the header is one fixed string, so no other algorithm and no other header member
//! exists (RFC 8725 §3.1); base64 and signature are accepted in their one canonical form only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Scheme of the `Authorization` header.
pub const SCHEME: &str = "Sonde";
/// Longest life of a token, from `iat` to `exp`.
pub const LIFETIME_MAX_S: i64 = 60;
/// How far the clocks of box and cloud may be apart before tokens are refused.
pub const CLOCK_SKEW_S: i64 = 5;
/// Longest token accepted, in bytes: several times what the longest path makes.
pub const TOKEN_MAX_BYTES: usize = 2048;

/// Longest name of a token: the cloud remembers those of a minute.
pub const JTI_MAX_BYTES: usize = 64;

/// The protected header, the only one there is: `{"alg":"EdDSA"}` (RFC 8037 §3.1).
const HEADER: &str = "eyJhbGciOiJFZERTQSJ9";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The device's public key as [`encode_key`] writes it.
    pub kid: String,
    /// What the token is good for, as [`audience`] writes it.
    pub aud: String,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970; at most [`LIFETIME_MAX_S`] after `iat`.
    pub exp: i64,
    /// Names this token, in at most [`JTI_MAX_BYTES`]; the cloud takes each once.
    pub jti: String,
    /// SHA-256 of the body in hex; present exactly on POST and PUT, also when their body is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bd: Option<String>,
}

impl Claims {
    /// Claims for one request. `now_unix` is the box's clock (corrected by what the cloud last told),
    /// `nonce` fresh randomness, `body` the bytes as they leave (compressed), `None` without a body.
    pub fn new(
        key: &VerifyingKey,
        audience: String,
        now_unix: i64,
        nonce: &[u8; 16],
        body: Option<&[u8]>,
    ) -> Self {
        Self {
            kid: encode_key(key),
            aud: audience,
            iat: now_unix,
            exp: now_unix.saturating_add(LIFETIME_MAX_S),
            jti: hex(nonce),
            bd: body.map(body_digest),
        }
    }
}

/// What a good token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The sender holds the private half of this key.
    pub key: VerifyingKey,
    /// Names the token; takes part in no decision here.
    pub jti: String,
    /// When the token ends, in seconds since 1970: a replay is impossible after that.
    pub exp: i64,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`TOKEN_MAX_BYTES`].
    #[error("the token is longer than {TOKEN_MAX_BYTES} bytes")]
    TooLong,
    /// Not three parts of canonical base64url, or claims with missing, unknown or wrong members.
    #[error("the token is not a compact EdDSA signature over device claims")]
    Malformed,
    /// The header is not `{"alg":"EdDSA"}`.
    #[error("the token's header is not the one header there is")]
    Header,
    /// `kid` is not an Ed25519 public key, or a weak one.
    #[error("the token names no Ed25519 public key")]
    Key,
    /// The signature is not the key's.
    #[error("the token's signature does not match its key")]
    Signature,
    /// Made for another cloud, method or path.
    #[error("the token was made for another request")]
    Audience,
    /// Made in the future: the box's clock is ahead.
    #[error("the token was made in the future: correct the box's clock")]
    NotYet,
    /// Ended in the past: the box's clock is behind, or the request was under way for too long.
    #[error("the token has expired: correct the box's clock and ask again")]
    Expired,
    /// Made to live longer than [`LIFETIME_MAX_S`], or not at all.
    #[error("the token's lifetime is not between 1 and {LIFETIME_MAX_S} seconds")]
    Lifetime,
    /// The body is not the one that was signed.
    #[error("the token was made for another body")]
    Body,
}

/// The audience of a request: `sonde-cloud POST /device/v1/poll`. `path` is path and query as sent.
pub fn audience(method: &str, path: &str) -> String {
    format!("sonde-cloud {method} {path}")
}

/// A public key as tokens and enrolments carry it: base64url without padding (RFC 4648 §5), 43 letters.
pub fn encode_key(key: &VerifyingKey) -> String {
    BASE64URL.encode(key.as_bytes())
}

/// Reads what [`encode_key`] writes.
///
/// # Errors
/// [`TokenError::Key`] for anything else, and for keys of small order, under which anybody's signature holds.
pub fn decode_key(text: &str) -> Result<VerifyingKey, TokenError> {
    let bytes: [u8; 32] = BASE64URL
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(TokenError::Key)?;
    let key = VerifyingKey::from_bytes(&bytes).map_err(|_| TokenError::Key)?;
    if key.is_weak() {
        Err(TokenError::Key)
    } else {
        Ok(key)
    }
}

/// SHA-256 of a body in hex, as [`Claims::bd`] carries it.
pub fn body_digest(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Signs `claims`: the token, without the [`SCHEME`].
pub fn sign(key: &SigningKey, claims: &Claims) -> String {
    let claims = serde_json::to_vec(claims).expect("a struct of strings and numbers is JSON");
    let mut token = format!("{HEADER}.{}", BASE64URL.encode(claims));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    BASE64URL.encode_string(signature.to_bytes(), &mut token);
    token
}

/// A token that is right but for its body, which has not been read yet: so that nobody unknown can make the cloud
/// read one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    proven: Proven,
    body: Option<String>,
}

impl Opened {
    /// The key whose holder sent the token.
    pub const fn key(&self) -> &VerifyingKey {
        &self.proven.key
    }

    /// Compares the body, `None` when the request has none.
    ///
    /// # Errors
    /// [`TokenError::Body`].
    pub fn with_body(self, body: Option<&[u8]>) -> Result<Proven, TokenError> {
        if self.body == body.map(body_digest) {
            Ok(self.proven)
        } else {
            Err(TokenError::Body)
        }
    }
}

/// Believes a token or says why not. `audience` is what [`audience()`] makes of the request at hand, `body`
/// its bytes, `None` when the request has none.
///
/// # Errors
/// One [`TokenError`] for each thing that can be wrong, signature before meaning: a reason other than the first
/// five is only ever told to the holder of the key.
pub fn verify(
    token: &str,
    now_unix: i64,
    audience: &str,
    body: Option<&[u8]>,
) -> Result<Proven, TokenError> {
    open(token, now_unix, audience)?.with_body(body)
}

/// [`verify`] up to the body.
///
/// # Errors
/// As [`verify`], but [`TokenError::Body`].
pub fn open(token: &str, now_unix: i64, audience: &str) -> Result<Opened, TokenError> {
    let (key, claims) = authenticate(token)?;
    if claims.aud != audience {
        return Err(TokenError::Audience);
    }
    let lifetime = claims
        .exp
        .checked_sub(claims.iat)
        .ok_or(TokenError::Lifetime)?;
    if !(1..=LIFETIME_MAX_S).contains(&lifetime) {
        return Err(TokenError::Lifetime);
    }
    if claims.iat > now_unix.saturating_add(CLOCK_SKEW_S) {
        return Err(TokenError::NotYet);
    }
    if claims.exp.saturating_add(CLOCK_SKEW_S) < now_unix {
        return Err(TokenError::Expired);
    }
    let proven = Proven {
        key,
        jti: claims.jti,
        exp: claims.exp,
    };
    Ok(Opened {
        proven,
        body: claims.bd,
    })
}

/// The claims of a token whose signature is right.
fn authenticate(token: &str) -> Result<(VerifyingKey, Claims), TokenError> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(TokenError::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    if header != HEADER {
        return Err(TokenError::Header);
    }
    let claims = BASE64URL
        .decode(claims)
        .map_err(|_| TokenError::Malformed)?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenError::Malformed)?;
    if claims.jti.len() > JTI_MAX_BYTES {
        return Err(TokenError::Malformed);
    }
    let signature: [u8; 64] = BASE64URL
        .decode(signature)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(TokenError::Malformed)?;
    let key = decode_key(&claims.kid)?;
    // Strict: the one canonical encoding of a signature, no small-order points.
    key.verify_strict(signed.as_bytes(), &Signature::from_bytes(&signature))
        .map_err(|_| TokenError::Signature)?;
    Ok((key, claims))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_800_000_000;
    const BODY: &[u8] = b"{\"wait_s\":50}";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn poll() -> String {
        audience("POST", "/device/v1/poll")
    }

    fn claims() -> Claims {
        Claims::new(&key().verifying_key(), poll(), NOW, &[1; 16], Some(BODY))
    }

    fn check(token: &str) -> Result<Proven, TokenError> {
        verify(token, NOW, &poll(), Some(BODY))
    }

    #[test]
    fn header_is_what_it_says() {
        assert_eq!(BASE64URL.decode(HEADER).unwrap(), br#"{"alg":"EdDSA"}"#);
    }

    /// RFC 8037 appendix A.4: same key, same header, so the same signature over its payload.
    #[test]
    fn signature_is_that_of_rfc_8037() {
        let secret = BASE64URL
            .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
            .unwrap();
        let key = SigningKey::from_bytes(&secret.try_into().unwrap());
        let signed = format!(
            "{HEADER}.{}",
            BASE64URL.encode("Example of Ed25519 signing")
        );
        assert_eq!(
            BASE64URL.encode(key.sign(signed.as_bytes()).to_bytes()),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
        assert_eq!(
            encode_key(&key.verifying_key()),
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        );
    }

    #[test]
    fn a_good_token_proves_its_key() {
        let proven = check(&sign(&key(), &claims())).unwrap();
        assert_eq!(proven.key, key().verifying_key());
        assert_eq!(proven.jti, "01".repeat(16));
        assert_eq!(proven.exp, NOW + LIFETIME_MAX_S);
    }

    #[test]
    fn meaning_is_checked_claim_by_claim() {
        let refused = |change: &dyn Fn(&mut Claims)| {
            let mut claims = claims();
            change(&mut claims);
            check(&sign(&key(), &claims)).unwrap_err()
        };
        assert_eq!(
            refused(&|c| c.aud = audience("GET", "/device/v1/poll")),
            TokenError::Audience
        );
        assert_eq!(
            refused(&|c| c.aud = audience("POST", "/device/v1/enroll")),
            TokenError::Audience
        );
        assert_eq!(refused(&|c| c.exp = c.iat + 61), TokenError::Lifetime);
        assert_eq!(refused(&|c| c.exp = c.iat), TokenError::Lifetime);
        assert_eq!(
            refused(&|c| (c.iat, c.exp) = (i64::MIN, i64::MAX)),
            TokenError::Lifetime
        );
        assert_eq!(
            refused(&|c| (c.iat, c.exp) = (NOW + 6, NOW + 66)),
            TokenError::NotYet
        );
        assert_eq!(
            refused(&|c| (c.iat, c.exp) = (NOW - 66, NOW - 6)),
            TokenError::Expired
        );
        assert_eq!(refused(&|c| c.bd = None), TokenError::Body);
        assert_eq!(
            refused(&|c| c.bd = Some(body_digest(b"other"))),
            TokenError::Body
        );
        assert_eq!(refused(&|c| c.kid = "short".into()), TokenError::Key);
        assert_eq!(
            refused(&|c| c.jti = "x".repeat(JTI_MAX_BYTES + 1)),
            TokenError::Malformed
        );
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
        assert_eq!(
            refused(&|c| c.kid = encode_key(&other)),
            TokenError::Signature
        );
    }

    #[test]
    fn skew_is_forgiven_up_to_its_bound() {
        for (iat, exp) in [
            (NOW + CLOCK_SKEW_S, NOW + 60),
            (NOW - 60, NOW - CLOCK_SKEW_S),
        ] {
            let token = sign(
                &key(),
                &Claims {
                    iat,
                    exp,
                    ..claims()
                },
            );
            assert!(check(&token).is_ok(), "{iat} {exp}");
        }
    }

    #[test]
    fn a_request_without_body_takes_no_body_digest() {
        let token = sign(&key(), &claims());
        assert_eq!(verify(&token, NOW, &poll(), None), Err(TokenError::Body));
        let without = sign(
            &key(),
            &Claims {
                bd: None,
                ..claims()
            },
        );
        assert!(verify(&without, NOW, &poll(), None).is_ok());
    }

    #[test]
    fn other_algorithms_and_headers_do_not_exist() {
        let token = sign(&key(), &claims());
        let (_, rest) = token.split_once('.').unwrap();
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"EdDSA","crit":["x"]}"#,
            "{ }",
        ] {
            let forged = format!("{}.{rest}", BASE64URL.encode(header));
            assert_eq!(check(&forged), Err(TokenError::Header), "{header}");
        }
    }

    #[test]
    fn unknown_claims_are_refused() {
        let mut value = serde_json::to_value(claims()).unwrap();
        value["role"] = "admin".into();
        let signed = format!("{HEADER}.{}", BASE64URL.encode(value.to_string()));
        let signature = BASE64URL.encode(key().sign(signed.as_bytes()).to_bytes());
        assert_eq!(
            check(&format!("{signed}.{signature}")),
            Err(TokenError::Malformed)
        );
    }

    #[test]
    fn keys_under_which_anything_verifies_are_refused() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(decode_key(&BASE64URL.encode(neutral)), Err(TokenError::Key));
        assert_eq!(
            decode_key(&format!("{}=", encode_key(&key().verifying_key()))),
            Err(TokenError::Key)
        );
    }

    #[test]
    fn too_long_is_refused_unread() {
        assert_eq!(
            check(&"a".repeat(TOKEN_MAX_BYTES + 1)),
            Err(TokenError::TooLong)
        );
    }

    /// Every single-letter change of every part is refused.
    #[test]
    fn tampering_anywhere_is_noticed() {
        let token = sign(&key(), &claims());
        for position in 0..token.len() {
            for with in *b"A_z0.=" {
                let mut forged = token.clone().into_bytes();
                if forged[position] == with {
                    continue;
                }
                forged[position] = with;
                let forged = String::from_utf8(forged).unwrap();
                assert!(
                    check(&forged).is_err(),
                    "letter {position} as {}",
                    char::from(with)
                );
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,300}") {
            prop_assert!(check(&text).is_err());
        }

        #[test]
        fn no_claims_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let token = format!("{HEADER}.{}.{}", BASE64URL.encode(payload), BASE64URL.encode([0; 64]));
            prop_assert!(check(&token).is_err());
        }
    }
}
