//! Durability: records, journal and embedded SQLite. Never decides.
