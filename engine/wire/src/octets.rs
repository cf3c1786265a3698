//! Big-endian numbers at byte offsets, network order outside and host order inside.

/// The two octets at `at` as a number.
///
/// # Panics
/// If they are not there.
#[inline(always)]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The four octets at `at` as a number.
///
/// # Panics
/// If they are not there.
#[inline(always)]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The `N` octets at `at`.
///
/// # Panics
/// If they are not there.
#[inline(always)]
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// Writes `octets` at `at`.
///
/// # Panics
/// If they do not fit.
#[inline(always)]
pub(crate) fn put(bytes: &mut [u8], at: usize, octets: &[u8]) {
    bytes[at..at + octets.len()].copy_from_slice(octets);
}
