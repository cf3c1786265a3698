//! Any text as a token: believed is only what its key's holder signed, as it was signed.

#![no_main]

use ed25519_dalek::SigningKey;
use libfuzzer_sys::fuzz_target;
use sonde_fuzz::choices::Choices;
use sonde_protocol::token::{
    CLOCK_SKEW_S, Claims, LIFETIME_MAX_S, TOKEN_MAX_BYTES, audience, body_digest, decode_key,
    encode_key, sign, verify,
};

const NOW: i64 = 1_800_000_000;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    match choices.byte() % 4 {
        0 => {
            let text = String::from_utf8_lossy(choices.rest());
            assert!(verify(&text, NOW, &audience("GET", "/"), None).is_err());
            if let Ok(key) = decode_key(&text) {
                assert_eq!(encode_key(&key), text);
            }
        }
        1 => bent(&mut choices),
        _ => signed(&mut choices),
    }
});

/// A good token, changed: not believed unless it is the same again.
fn bent(choices: &mut Choices<'_>) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let aud = audience("POST", "/device/v1/poll");
    let claims = Claims::new(
        &key.verifying_key(),
        aud.clone(),
        NOW,
        &[1; 16],
        Some(b"{}"),
    );
    let good = sign(&key, &claims);
    let mut bytes = good.clone().into_bytes();
    choices.bend(&mut bytes, 3);
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(verify(&text, NOW, &aud, Some(b"{}")).is_ok(), text == good);
}

/// Any claims, signed.
fn signed(choices: &mut Choices<'_>) {
    let key = SigningKey::from_bytes(&[choices.byte(); 32]);
    let time = |choices: &mut Choices<'_>| match choices.byte() {
        0 => i64::MIN,
        1 => i64::MAX,
        near => NOW + i64::from(near) - 128,
    };
    let text = |choices: &mut Choices<'_>| String::from_utf8_lossy(choices.bytes(80)).into_owned();
    let (now, iat, exp) = (time(choices), time(choices), time(choices));
    let (aud, jti, body) = (text(choices), text(choices), choices.bytes(80));
    let claims = Claims {
        kid: encode_key(&key.verifying_key()),
        bd: (!body.is_empty()).then(|| body_digest(body)),
        aud,
        iat,
        exp,
        jti,
    };
    let token = sign(&key, &claims);
    let body = (!body.is_empty()).then_some(body);
    let proven = verify(&token, now, &claims.aud, body);
    let lifetime = i128::from(exp) - i128::from(iat);
    let good = token.len() <= TOKEN_MAX_BYTES
        && claims.jti.len() <= 64
        && (1..=i128::from(LIFETIME_MAX_S)).contains(&lifetime)
        && i128::from(iat) <= i128::from(now) + i128::from(CLOCK_SKEW_S)
        && i128::from(now) <= i128::from(exp) + i128::from(CLOCK_SKEW_S);
    assert_eq!(proven.is_ok(), good, "{proven:?}, at {now}: {claims:?}");
    if let Ok(proven) = proven {
        assert_eq!(
            (proven.key, proven.jti, proven.exp),
            (key.verifying_key(), claims.jti, exp)
        );
        assert!(verify(&token, now, &format!("{} ", claims.aud), body).is_err());
        assert!(verify(&token, now, &claims.aud, Some(b"another")).is_err());
    }
}
