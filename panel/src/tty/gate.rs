//! Lets through what a person types, and nothing of what a machine sends in a person's place.
//!
//! A file pasted into a terminal arrives at the speed of the line, and its first keys could have gone far
//! through the menus before their number tells. So every key waits for a moment that nobody notices: if
//! more come in that moment than fingers can do, none of them was a key.

use std::time::Duration;

use crate::vt100::Input;

/// A key waits for so long. Four arrow keys are twelve bytes, at 9600 baud 14 ms.
const HOLD: Duration = Duration::from_millis(20);
/// So many within [`HOLD`] are no fingers: a key left down repeats every 33 ms.
const BURST: usize = 4;
/// A burst ends when nothing came for so long.
const QUIET: Duration = Duration::from_millis(500);

/// What came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// A person did this.
    Input(Input),
    /// A burst began: everything from its first key on is dropped until it is quiet.
    Burst,
}

/// The gate of one console.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    held: Vec<(Input, Duration)>,
    burst: bool,
    refusing: bool,
    last: Duration,
}

impl Gate {
    /// Takes one input.
    pub fn handle_input(&mut self, input: Input, now: Duration) {
        if self.refusing && now.saturating_sub(self.last) >= QUIET {
            self.refusing = false;
        }
        self.last = now;
        if self.refusing {
            return;
        }
        self.held.push((input, now));
        let first = self.held.len().checked_sub(BURST);
        if first.is_some_and(|first| now.saturating_sub(self.held[first].1) <= HOLD) {
            self.held.clear();
            self.refusing = true;
            self.burst = true;
        }
    }

    /// What may pass by now, in its order. Hand it first what has come: a loop that was held up is then not
    /// deceived by keys that look old only because nobody looked.
    pub fn poll(&mut self, now: Duration) -> Option<Passed> {
        if std::mem::take(&mut self.burst) {
            return Some(Passed::Burst);
        }
        let (input, since) = *self.held.first()?;
        if now < since + HOLD {
            return None;
        }
        self.held.remove(0);
        Some(Passed::Input(input))
    }

    /// When [`Gate::poll`] has something.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.held.first().map(|(_, since)| *since + HOLD)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What passes of letters at these times in milliseconds; `!` for a burst.
    fn passed(times: &[u64]) -> String {
        let (mut gate, mut text) = (Gate::default(), String::new());
        let mut take = |gate: &mut Gate, now| {
            while let Some(passed) = gate.poll(now) {
                text.push(match passed {
                    Passed::Input(Input::Typed(letter)) => letter,
                    _ => '!',
                });
            }
        };
        for (&at, letter) in times.iter().zip(('a'..='z').cycle()) {
            let now = Duration::from_millis(at);
            take(&mut gate, now);
            gate.handle_input(Input::Typed(letter), now);
        }
        take(&mut gate, Duration::MAX);
        text
    }

    #[test]
    fn fingers_pass_and_a_paste_does_not_from_its_first_key_on() {
        assert_eq!(passed(&[0, 33, 66, 99, 132]), "abcde");
        assert_eq!(
            passed(&[0, 1, 2]),
            "abc",
            "three at once: a hand on the keys"
        );
        assert_eq!(passed(&[0, 1, 2, 3, 4, 5]), "!");
        assert_eq!(
            passed(&[0, 4, 8, 13, 17, 21]),
            "!",
            "arrow keys at 9600 baud"
        );
        assert_eq!(passed(&[0, 100, 101, 102, 103, 104]), "a!");
        assert_eq!(passed(&[0, 1, 2, 3, 400, 800, 1299]), "!", "never quiet");
        assert_eq!(passed(&[0, 1, 2, 3, 400, 900]), "!f");
    }

    #[test]
    fn a_loop_that_was_held_up_lets_no_part_of_a_paste_through() {
        let (mut gate, late) = (Gate::default(), Duration::from_millis(300));
        gate.handle_input(Input::Typed('a'), Duration::ZERO);
        gate.handle_input(Input::Typed('b'), Duration::ZERO);
        for letter in "cdef".chars() {
            gate.handle_input(Input::Typed(letter), late);
        }
        assert_eq!(gate.poll(late), Some(Passed::Burst));
        assert_eq!(gate.poll(late * 2), None);
    }

    proptest! {
        /// A file of any length at the speed of the line: nothing of it passes.
        #[test]
        fn nothing_of_a_file_passes(keys in proptest::collection::vec(1u64..=4, 3..200)) {
            let mut at = 0;
            let times: Vec<u64> = keys.iter().map(|bytes| { at += bytes; at }).collect();
            let first = [0].into_iter().chain(times).collect::<Vec<_>>();
            prop_assert_eq!(passed(&first), "!");
        }
    }
}
