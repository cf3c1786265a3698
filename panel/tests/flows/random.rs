//! What no order of keys may do.
