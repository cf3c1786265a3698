//! What the last pass could not ask, because where its gateway is was not known then.
//!
//! A gateway that is found after the last pass has been past units behind it gets a pass of its own
//! over them. What is behind one that is never found was never asked: it is unreachable, not silent.

/// Places of the last pass, one after the other: its questions in turn, all units for each.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
    /// Hosts in it.
    hosts: u64,
}

/// By gateway, what was passed over in the last pass.
#[derive(Clone, Debug)]
pub(super) struct Late {
    skipped: Box<[Option<Span>]>,
    /// How many of these there are.
    count: usize,
    /// What the pass asks that is being made for it.
    due: Box<[Option<Span>]>,
    /// By gateway, whether something behind it was passed over in any pass.
    ever: Box<[bool]>,
}

impl Late {
    /// For so many gateways.
    pub(super) fn new(gateways: usize) -> Self {
        let none = vec![None; gateways].into_boxed_slice();
        Self {
            skipped: none.clone(),
            count: 0,
            due: none,
            ever: vec![false; gateways].into_boxed_slice(),
        }
    }

    /// What is at `place` is behind `gateway` and was not asked; `host` if it is the last of its host.
    pub(super) fn skip(&mut self, gateway: u32, place: u64, host: bool) {
        self.skip_once(gateway);
        let skipped = &mut self.skipped[gateway as usize];
        self.count += usize::from(skipped.is_none());
        let span = skipped.get_or_insert(Span {
            first: place,
            last: place,
            hosts: 0,
        });
        (span.first, span.last) = (span.first.min(place), span.last.max(place));
        span.hosts += u64::from(host);
    }

    /// Something behind `gateway` was not asked in a pass before the last.
    pub(super) fn skip_once(&mut self, gateway: u32) {
        self.ever[gateway as usize] = true;
    }

    /// Whether something behind `gateway` was not asked in some pass: what comes from there late may have been asked late.
    pub(super) fn was_skipped(&self, gateway: u32) -> bool {
        self.ever[gateway as usize]
    }

    /// True when nothing was skipped.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes what is behind gateways that are `known` by now as due. How many hosts that are; `None` if there are no such gateways.
    pub(super) fn begin(&mut self, known: impl Fn(u32) -> bool) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        self.due.fill(None);
        let before = self.count;
        for (gateway, skipped) in self.skipped.iter_mut().enumerate() {
            if skipped.is_some() && known(gateway as u32) {
                self.due[gateway] = skipped.take();
                self.count -= 1;
            }
        }
        let hosts = self.due.iter().flatten().map(|span| span.hosts).sum();
        (self.count < before).then_some(hosts)
    }

    /// Whether what is at `place` behind `gateway` is due.
    pub(super) fn is_due(&self, gateway: u32, place: u64) -> bool {
        self.due[gateway as usize].is_some_and(|span| (span.first..=span.last).contains(&place))
    }

    /// Nothing was skipped: another window begins.
    pub(super) fn clear(&mut self) {
        self.ever.fill(false);
        if self.count > 0 {
            self.skipped.fill(None);
            self.count = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_due_once_its_gateway_is_known() {
        let mut late = Late::new(3);
        assert_eq!(late.begin(|_| true), None);
        for (gateway, place) in [(0, 5), (2, 7), (2, 3), (2, 9)] {
            late.skip(gateway, place, place != 3);
        }
        assert_eq!(late.begin(|gateway| gateway == 1), None);
        assert_eq!(late.begin(|gateway| gateway == 2), Some(2));
        let due: Vec<_> = (0..12).filter(|place| late.is_due(2, *place)).collect();
        assert_eq!(due, [3, 4, 5, 6, 7, 8, 9]);
        assert!(!late.is_due(0, 5) && !late.is_empty());
        // Gone again in the pass of its own.
        late.skip(2, 4, true);
        assert_eq!(late.begin(|_| true), Some(2));
        assert!(late.is_due(0, 5) && late.is_due(2, 4) && !late.is_due(2, 5));
        assert!(late.is_empty());
        late.skip(1, 1, true);
        late.clear();
        assert_eq!(late.begin(|_| true), None);
    }
}
