//! Live state: clock, accounts in memory, admission, settlement, group commit, outbox.
