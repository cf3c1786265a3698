//! Short-lived EdDSA tokens: a compact JSON Web Signature (RFC 7515, RFC 8037) by the device's key.
