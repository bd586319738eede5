//! What is written behind each second: windows, wallets, roll-ups, checkpoints of streams.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_core::account::{Owner, Slot};
use weir_core::limit::Algorithm;
use weir_core::time::{Span, Timestamp};
use weir_core::window::Window;
use weir_store::index::WalletSnapshot;
use weir_store::op::{Checkpoint, Op, Sweep, Urgency};
use weir_store::usage::{Forget, WindowKey, WindowState};

use crate::cell::{AccountCell, Live};
use crate::counted;
use crate::engine::Engine;
use crate::recover::CheckpointRow;
use crate::snapshot::WalletRow;
use crate::tally::rollups;

impl Engine {
    /// Hands to the store what changed since the last time. Called each second, and at the end.
    pub fn write_behind(&self) {
        let _alone = self.behind.lock();
        let mended = self.mend();
        self.checkpoint_streams();
        self.tell_boosts();
        // Everything posted up to `applied` was touched before it got its position, so that its
        // account is among the dirty ones now, or was among those of an earlier round.
        // What calls of an ended policy counted is among the sums that are taken now.
        let ended = self.policies_ended();
        let (applied, charged) = self.journal.take_sums();
        let tallies = self.tallies.take();
        let mut policies = self.policies.lock();
        let mut rows = rollups(charged, &policies);
        rows.extend(rollups(tallies, &policies));
        policies.retain(|number, _| !ended.contains(number));
        drop(policies);
        if mended {
            self.journal.store().resume_usage(rows, applied);
        } else {
            self.journal.store().add_usage(rows, applied);
        }
        let dirty = std::mem::take(&mut *self.dirty.lock());
        self.ask_top_ups(&dirty);
        let mut wallets = Vec::new();
        for cell in &dirty {
            cell.dirty.store(false, Ordering::Release);
            wallets.extend(self.write_account(cell));
        }
        if let Err(error) = self.journal.store().snapshot(wallets, applied) {
            tracing::error!(%error, "wallets could not be handed to the store");
        }
    }

    /// Blocks until what was handed in to be written behind was tried to be written.
    pub fn flush_behind(&self) {
        self.journal.store().flush();
    }

    /// Removes what has had its time. Called each minute.
    pub fn sweep(self: &Arc<Self>) {
        let now = self.now();
        let store = self.journal.store();
        store.usage_ended(now.minus(LATE));
        store.forget(Forget::Windows(now));
        self.usage_kept().forgotten(now).for_each(|what| store.forget(what));
        let month_ago = now.minus(Span::from_secs(30 * 86_400));
        let sweep = Sweep {
            now,
            events_before: weir_core::id::EventId(self.id_at(month_ago)),
            resources_before: self.audit_before(now),
        };
        drop(self.journal.commit(Urgency::Settlement, vec![Op::Sweep(sweep)]));
        if let Err(error) = self.sweep_early_payments() {
            tracing::warn!(%error, "early payment events could not be looked through");
        }
        let all = self.all_accounts();
        self.ask_top_ups(&all);
        for cell in all {
            self.expire_credit(&cell, now);
            self.tell_expiring(&cell, now);
        }
    }

    fn expire_credit(&self, cell: &Arc<AccountCell>, clock: Timestamp) {
        let mut live = cell.live.lock();
        let now = live.account.observe(clock);
        if live.account.wallet.next_expiry(now).is_none_or(|at| at > now) || !self.is_sound(cell) {
            return;
        }
        self.touch(cell);
        let mut turn = self.journal.turn();
        let postings = live.account.wallet.expire_due(now, &mut || turn.seq());
        let policy = self.policy.load().number();
        let mut ops = Vec::with_capacity(postings.len());
        for posting in postings {
            live.last_entry = posting.seq;
            let reference =
                posting.draws.first().map_or_else(String::new, |draw| draw.from.to_string());
            ops.push(Op::Append(posting.into_entry(cell.id, &reference, policy, None, None)));
        }
        self.read_levels(&mut live, cell.id, now, &mut ops);
        drop(turn.commit(Urgency::Settlement, ops));
    }

    fn checkpoint_streams(&self) {
        let now = self.now();
        self.running.checkpoint(|fresh| {
            let ops = fresh.iter().filter_map(|(running, usage)| {
                let body = serde_json::to_string(&CheckpointRow::of(running, usage)).ok()?;
                let (call, account) = (running.call, running.account);
                Some(Op::Checkpoint(Checkpoint { call, account, at: now, body }))
            });
            drop(self.journal.commit(Urgency::Settlement, ops.collect()));
        });
    }

    /// Hands over an account's windows; gives back its wallet, if it has an entry at all.
    fn write_account(&self, cell: &Arc<AccountCell>) -> Option<WalletSnapshot> {
        let clock = self.now();
        let mut live = cell.live.lock();
        let windows = windows_of(cell, &mut live, clock);
        let wallet = (live.last_entry.0 > 0).then(|| {
            let state = serde_json::to_string(&WalletRow::of(&live)).unwrap_or_default();
            WalletSnapshot { account: cell.id, as_of: live.last_entry, state }
        });
        drop(live);
        self.journal.store().windows(windows);
        wallet.filter(|wallet| !wallet.state.is_empty())
    }

    /// Writes the windows of all accounts in place of what is stored, at once.
    pub(crate) fn write_windows_anew(&self, stored: &[(WindowKey, WindowState)]) {
        let clock = self.now();
        let mut windows: Vec<_> = stored.iter().map(|(key, _)| (key.clone(), None)).collect();
        for cell in self.all_accounts() {
            windows.extend(windows_of(&cell, &mut cell.live.lock(), clock));
        }
        self.journal.store().windows(windows);
        self.flush_behind();
    }
}

/// An account's windows as they are stored.
fn windows_of(
    cell: &AccountCell,
    live: &mut Live,
    clock: Timestamp,
) -> Vec<(WindowKey, Option<WindowState>)> {
    let now = live.account.observe(clock);
    let account = &live.account;
    let of_account = account.entitlement.listed().iter().map(|applied| (Owner::Account, applied));
    let states: Vec<_> = live.keys.iter().map(|key| (key.id, key.state.load_full())).collect();
    let of_keys = states
        .iter()
        .flat_map(|(id, state)| state.limits.iter().map(|applied| (Owner::Key(*id), applied)));
    let mut windows = Vec::new();
    for (owner, applied) in of_account.chain(of_keys) {
        let slot = Slot { owner, limit: applied.limit.id };
        let window = account.windows.at(slot);
        if window == Window::default() || applied.limit.rule.algorithm() == Algorithm::Concurrency {
            continue;
        }
        let view = account.view(owner, applied, now);
        let key = match owner {
            Owner::Account => None,
            Owner::Key(id) => Some(id),
        };
        let [a, b, c] = window.to_bits().map(u64::cast_signed);
        let ends_at = says_nothing_from(&view);
        let name = counted::written(&applied.limit);
        let state = WindowState { a, b, c, ends_at };
        windows.push((WindowKey { account: cell.id, key, name }, Some(state)));
    }
    windows
}

/// From when on a window is as good as never used: after its end, and after as many more windows
/// as its debt takes to be paid.
fn says_nothing_from(view: &weir_core::admit::LimitView) -> Timestamp {
    let limit = view.now.limit.unwrap_or(u64::MAX).max(1);
    let windows = i64::try_from(view.now.used / limit + 1).unwrap_or(i64::MAX);
    let more = view.now.window.micros().saturating_mul(windows);
    view.now.reset_at.plus(Span::from_micros(more))
}

/// How late nearly all usage is counted at the latest, also where the store refused it at first.
const LATE: Span = Span::from_secs(600);
