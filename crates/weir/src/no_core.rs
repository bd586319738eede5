//! No core dump: the memory of every command holds keys, and a server's the bodies of its callers.

#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, setrlimit};

/// From now on the process leaves no core when it dies, wherever the system would put one.
///
/// A command of the operator may besides not be looked into by other processes of its user. A
/// server may: who runs it traces and profiles it.
pub(crate) fn forbid(serves: bool) {
    // A system that does not allow less than it allowed has no cores to write either.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    if !serves {
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
