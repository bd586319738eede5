//! The waiting room of a full upstream: bounded, urgent calls first, accounts in turn.
//!
//! What waits holds nothing: no limit, no slot, no credit. Whoever may go gets a [`Seat`], which
//! is the right to be one of the calls in flight until it is dropped. One room serves all cores.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use weir_core::id::AccountId;
use weir_core::key::Urgency;

/// Where calls wait for an upstream that has as many as it bears.
#[derive(Debug)]
pub struct WaitingRoom {
    seats: usize,
    waiting_max: usize,
    patience: Duration,
    state: Mutex<State>,
}

/// The right to be one of the calls in flight; dropped, it goes to whoever waits first.
#[derive(Debug)]
#[must_use = "a seat is given up when it is dropped"]
pub struct Seat(Option<Arc<WaitingRoom>>);

/// There was no room, or no seat became free in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overloaded;

#[derive(Debug, Default)]
struct State {
    taken: usize,
    waiting: usize,
    /// By urgency, least first.
    lanes: [Lane; 4],
}

/// Those who are equally urgent: accounts take turns, and within an account it is first come,
/// first served.
#[derive(Debug, Default)]
struct Lane(VecDeque<(AccountId, VecDeque<oneshot::Sender<Seat>>)>);

impl WaitingRoom {
    /// A room of this many seats, with room for as many to wait, at least [`Self::WAITING_MIN`].
    pub fn new(seats: usize) -> Arc<Self> {
        Arc::new(Self {
            seats,
            waiting_max: seats.max(Self::WAITING_MIN),
            patience: PATIENCE,
            state: Mutex::default(),
        })
    }

    /// How many can wait in the smallest room.
    pub const WAITING_MIN: usize = 64;

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    /// Takes a seat, waiting for one if need be. Cancelled, it leaves the room.
    ///
    /// # Errors
    ///
    /// [`Overloaded`] when the room is full of calls that are as urgent and of accounts that have
    /// no more of them, when more urgent ones took the place, or after ten seconds.
    pub async fn enter(
        self: &Arc<Self>,
        account: AccountId,
        urgency: Urgency,
    ) -> Result<Seat, Overloaded> {
        let waiter = {
            let mut state = self.state.lock();
            if state.taken < self.seats && state.waiting == 0 {
                state.taken += 1;
                return Ok(Seat(Some(Arc::clone(self))));
            }
            if state.waiting >= self.waiting_max {
                state.leave();
            }
            if state.waiting >= self.waiting_max {
                state.make_room(account, urgency)?;
            }
            let (seat, waiter) = oneshot::channel();
            state.lanes[urgency as usize].push(account, seat);
            state.waiting += 1;
            waiter
        };
        match tokio::time::timeout(self.patience, waiter).await {
            Ok(Ok(seat)) => Ok(seat),
            // Out of time, or somebody more urgent has the place.
            Ok(Err(_)) | Err(_) => Err(Overloaded),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(room) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = room.state.lock();
                let next = state.next();
                if next.is_none() {
                    state.taken -= 1;
                }
                next
            };
            let Some(waiter) = next else { return };
            match waiter.send(Seat(Some(Arc::clone(&room)))) {
                Ok(()) => return,
                // It went away meanwhile: the seat is for the next.
                Err(mut seat) => seat.0 = None,
            }
        }
    }
}

impl State {
    /// Whoever goes first: of the most urgent, one of the account whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Seat>> {
        let waiter = self.lanes.iter_mut().rev().find_map(Lane::pop)?;
        self.waiting -= 1;
        Some(waiter)
    }

    /// Forgets those who went away.
    fn leave(&mut self) {
        for lane in &mut self.lanes {
            lane.0.iter_mut().for_each(|(_, queue)| queue.retain(|seat| !seat.is_closed()));
            lane.0.retain(|(_, queue)| !queue.is_empty());
        }
        self.waiting = self.lanes.iter().map(Lane::len).sum();
    }

    /// Sends away the last of the least urgent; of the equally urgent only one of an account that
    /// has more of them waiting than the one who comes.
    fn make_room(&mut self, account: AccountId, urgency: Urgency) -> Result<(), Overloaded> {
        let least = self.lanes.iter().position(|lane| !lane.0.is_empty()).unwrap_or_default();
        if least > urgency as usize {
            return Err(Overloaded);
        }
        let lane = &mut self.lanes[least];
        let own = lane.0.iter().find(|(known, _)| *known == account).map_or(0, |(_, q)| q.len());
        let largest = lane.0.iter_mut().max_by_key(|(_, queue)| queue.len());
        let Some((_, queue)) = largest else { return Err(Overloaded) };
        if least == urgency as usize && queue.len() <= own + 1 {
            return Err(Overloaded);
        }
        queue.pop_back();
        lane.0.retain(|(_, queue)| !queue.is_empty());
        self.waiting -= 1;
        Ok(())
    }
}

impl Lane {
    fn push(&mut self, account: AccountId, seat: oneshot::Sender<Seat>) {
        match self.0.iter_mut().find(|(known, _)| *known == account) {
            Some((_, queue)) => queue.push_back(seat),
            None => self.0.push_back((account, VecDeque::from([seat]))),
        }
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Seat>> {
        let (account, mut queue) = self.0.pop_front()?;
        let first = queue.pop_front();
        if !queue.is_empty() {
            self.0.push_back((account, queue));
        }
        first
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(_, queue)| queue.len()).sum()
    }
}

/// How long a call waits at most.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
