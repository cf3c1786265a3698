//! What the links that bring a program into the kernel share.

pub(crate) mod attach;
