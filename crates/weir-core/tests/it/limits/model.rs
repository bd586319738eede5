//! A naive limiter: the log of all that happened, replayed from its beginning at every look, one
//! window at a time. Slow, obvious, and nothing in common with the product but the promises.

use weir_core::limit::Algorithm;

/// Something that happened, at a time in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Take { id: usize, amount: u64 },
    GiveBack { id: usize, amount: u64 },
    Quota(u64),
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) algorithm: Algorithm,
    pub(crate) length: i64,
    pub(crate) quota: u64,
    pub(crate) log: Vec<(i64, Event)>,
}

impl Model {
    /// What counts as used at `now`, in units times the length, so that it is exact.
    pub(crate) fn used(&self, now: i64) -> i128 {
        match self.algorithm {
            Algorithm::FixedWindow => self.fixed(now),
            Algorithm::SlidingWindow => self.sliding(now),
            _ => self.bucket(now),
        }
    }

    pub(crate) fn fits(&self, amount: u64, ceiling: u64, now: i64) -> bool {
        self.used(now) + i128::from(amount) * i128::from(self.length)
            <= i128::from(ceiling) * i128::from(self.length)
    }

    /// Whether the clock has gone back by more than a window: what was counted is over then.
    fn is_set_back(&self, from: i64, to: i64) -> bool {
        from - to > self.length
    }

    fn fixed(&self, now: i64) -> i128 {
        // Start, use, and what of it is paid for at the end of the window.
        let mut window: Option<(i64, i128, i128)> = None;
        let mut quota = i128::from(self.quota);
        let mut starts: Vec<(usize, i64)> = Vec::new();
        let roll = |window: &mut Option<(i64, i128, i128)>, quota: i128, until: i64| {
            window.take_if(|(start, ..)| self.is_set_back(*start, until));
            while let Some((start, used, paid)) = *window
                && until >= start + self.length
            {
                let debt = used - paid.max(quota);
                *window = (debt > 0).then_some((start + self.length, debt, quota));
            }
        };
        for (time, event) in &self.log {
            roll(&mut window, quota, *time);
            match *event {
                Event::Take { id, amount } => {
                    let (start, used, paid) = window.unwrap_or((*time, 0, 0));
                    starts.push((id, start));
                    window = (amount > 0)
                        .then_some((start, used + i128::from(amount), paid.max(quota)))
                        .or(window);
                }
                Event::GiveBack { id, amount } => {
                    let from = starts.iter().find(|(take, _)| *take == id).map(|(_, start)| *start);
                    if let Some((start, used, paid)) = window
                        && Some(start) == from
                    {
                        let left = used - i128::from(amount);
                        window = (left > 0).then_some((start, left, paid));
                    }
                }
                Event::Quota(next) => {
                    // Lawful use is paid for by the window it was in, whatever comes after.
                    if let Some((start, used, paid)) = window {
                        window = Some((start, used, used.min(paid.max(quota))));
                    }
                    quota = i128::from(next);
                }
            }
        }
        roll(&mut window, quota, now);
        window.map_or(0, |(_, used, _)| used * i128::from(self.length))
    }

    fn sliding(&self, now: i64) -> i128 {
        // Start, older, newer.
        let mut cells: Option<(i64, i128, i128)> = None;
        let mut quota = i128::from(self.quota);
        let mut starts: Vec<(usize, i64)> = Vec::new();
        let roll = |cells: &mut Option<(i64, i128, i128)>, quota: i128, until: i64| {
            cells.take_if(|(start, ..)| self.is_set_back(*start, until));
            while let Some((start, _, newer)) = *cells
                && until >= start + self.length
            {
                let older = newer.min(quota);
                *cells = (newer > 0).then_some((start + self.length, older, newer - older));
            }
        };
        for (time, event) in &self.log {
            roll(&mut cells, quota, *time);
            match *event {
                Event::Take { id, amount } => {
                    let (start, older, newer) = cells.unwrap_or((*time, 0, 0));
                    starts.push((id, start));
                    cells = (amount > 0)
                        .then_some((start, older, newer + i128::from(amount)))
                        .or(cells);
                }
                Event::GiveBack { id, amount } => {
                    let from = starts.iter().find(|(take, _)| *take == id).map(|(_, start)| *start);
                    if let (Some((start, older, newer)), Some(from)) = (cells, from) {
                        let amount = i128::from(amount);
                        let next = match start - from {
                            0 => (start, older, (newer - amount).max(0)),
                            gap if gap == self.length => (start, (older - amount).max(0), newer),
                            _ => (start, older, newer),
                        };
                        cells = (next.1 + next.2 > 0).then_some(next);
                    }
                }
                Event::Quota(next) => {
                    let next = i128::from(next);
                    if let Some((start, older, newer)) = cells {
                        let debt = (newer - quota).max(0);
                        let held = (newer - debt).min(next) + debt;
                        cells =
                            (older.min(next) + held > 0).then_some((start, older.min(next), held));
                    }
                    quota = next;
                }
            }
        }
        roll(&mut cells, quota, now);
        cells.map_or(0, |(start, older, newer)| {
            older * i128::from(self.length - (now - start).max(0)) + newer * i128::from(self.length)
        })
    }

    fn bucket(&self, now: i64) -> i128 {
        // What is in the bucket, times the length; below zero is debt. The burst is the quota.
        let length = i128::from(self.length);
        let mut quota = i128::from(self.quota);
        let mut level = quota * length;
        let mut last = 0;
        let mut live: Vec<usize> = Vec::new();
        for (time, event) in self.log.iter().copied().chain([(now, Event::Quota(u64::MAX))]) {
            if self.is_set_back(last, time) {
                (level, last) = (quota * length, time);
            }
            // Set back by less, it flows on from where it was.
            level = (level + i128::from((time - last).max(0)) * quota).min(quota * length);
            last = last.max(time);
            if level == quota * length {
                live.clear();
            }
            match event {
                Event::Quota(u64::MAX) => break,
                Event::Take { id, amount } => {
                    level -= i128::from(amount) * length;
                    if amount > 0 {
                        live.push(id);
                    }
                }
                Event::GiveBack { id, amount } if live.contains(&id) => {
                    level = (level + i128::from(amount) * length).min(quota * length);
                    if level == quota * length {
                        live.clear();
                    }
                }
                Event::GiveBack { .. } => {}
                Event::Quota(next) => {
                    let missing = quota * length - level;
                    let debt = (-level).max(0);
                    quota = i128::from(next);
                    level = quota * length - missing.min(quota * length + debt);
                }
            }
        }
        quota * length - level
    }
}
