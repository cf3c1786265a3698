//! Whether input comes from a person's fingers.

use std::collections::VecDeque;
use std::time::Duration;

/// More than [`BURST`] keys or characters within this time did not come from a person's fingers: a
/// person who types fast, or leaves a key of the keyboard down, makes thirty a second.
const BURST_TIME: Duration = Duration::from_millis(100);
const BURST: usize = 6;
/// A burst ends when nothing came for this long; until then everything is dropped.
const QUIET_TIME: Duration = Duration::from_millis(500);
/// What is to change a setting stands alone: a person does not press ENTER this soon after another key,
/// and a pasted file does.
const DELIBERATE_TIME: Duration = Duration::from_millis(50);

/// What is to be done with a key or a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Take it; it may confirm a setting only if it is deliberate.
    Taken { deliberate: bool },
    /// This one made it a burst.
    FirstRefused,
    /// The burst goes on.
    Refused,
}

/// When input came.
#[derive(Clone, Debug, Default)]
pub(super) struct Typist {
    recent: VecDeque<Duration>,
    refusing: bool,
}

impl Typist {
    /// Input came.
    pub(super) fn handle_input(&mut self, now: Duration) -> Admission {
        let last = self.recent.back().copied();
        if self.recent.len() == BURST {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let first = self.recent.front().copied().unwrap_or(now);
        let burst = self.recent.len() == BURST && now.saturating_sub(first) < BURST_TIME;
        match (self.refusing, burst) {
            (true, _) => Admission::Refused,
            (false, true) => {
                self.refusing = true;
                Admission::FirstRefused
            }
            (false, false) => Admission::Taken {
                deliberate: last.is_none_or(|last| now.saturating_sub(last) >= DELIBERATE_TIME),
            },
        }
    }

    /// Something came that only a burst can be.
    pub(super) fn refuse(&mut self) {
        self.refusing = true;
    }

    /// Time passed: whether input is still refused.
    pub(super) fn handle_tick(&mut self, now: Duration) -> bool {
        let last = self.recent.back();
        let quiet = last.is_none_or(|last| now.saturating_sub(*last) >= QUIET_TIME);
        self.refusing &= !quiet;
        self.refusing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_key_left_down_is_no_burst_and_a_paste_is() {
        let mut typist = Typist::default();
        for at in 0..100 {
            let admission = typist.handle_input(MS * 33 * at);
            assert_eq!(
                admission,
                Admission::Taken {
                    deliberate: at == 0
                }
            );
        }
        let start = MS * 10_000;
        let pasted: Vec<Admission> = (0..7)
            .map(|at| typist.handle_input(start + MS * at))
            .collect();
        assert_eq!(pasted[0], Admission::Taken { deliberate: true });
        assert_eq!(pasted[1], Admission::Taken { deliberate: false });
        assert_eq!(pasted[5..], [Admission::FirstRefused, Admission::Refused]);
        assert!(typist.handle_tick(start + MS * 400));
        assert!(!typist.handle_tick(start + MS * 600));
    }
}
