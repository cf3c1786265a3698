//! A fuzzer's bytes, read as one choice after the other.

/// Bytes not yet used. Where they end every choice is 0, so that a shorter input is a simpler one.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Choices made by `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// True when nothing is left to choose by.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    /// Any 16 bits.
    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number below `end`, or 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let choice = match end {
            0..=256 => usize::from(self.byte()),
            _ => usize::from(self.word()),
        };
        choice.checked_rem(end).unwrap_or(0)
    }

    /// One of `all`, which is not empty.
    pub fn of<'b, T>(&mut self, all: &'b [T]) -> &'b T {
        &all[self.below(all.len())]
    }

    /// The next bytes, at most `most` of them.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let wanted = self.below(most + 1).min(self.0.len());
        self.0.split_off(..wanted).unwrap_or_default()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Some time, from nanoseconds to minutes, as often short as long.
    pub fn nanos(&mut self) -> u64 {
        u64::from(self.byte()) << (self.byte() % 29)
    }

    /// Changes `bytes` in up to `most` places: another value, one more, one less, or the end.
    pub fn bend(&mut self, bytes: &mut Vec<u8>, most: usize) {
        for _ in 0..self.below(most + 1) {
            let at = self.below(bytes.len() + 1);
            match self.byte() % 8 {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.byte()),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                // Four at once: lengths and counts have as many.
                3 if at + 4 <= bytes.len() => {
                    let value = *self.of(&[0_u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
                    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
                }
                _ => {
                    let value = self.byte();
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = value;
                    }
                }
            }
        }
    }
}
