//! A flood of keys that do not exist. `WEIR_FLOOD=10000000` makes it as large as the docs promise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_engine::engine::Unidentified;
use weir_engine::keys::NewKey;

use crate::support::{START, account, boot, call, wait};

#[test]
fn a_flood_of_random_keys_costs_bounded_memory_and_touches_no_real_key() {
    let folder = tempfile::tempdir().unwrap();
    let engine = boot(folder.path(), START, None);
    let cell = account(&engine, "payg", "100");
    let new = NewKey { name: "k".into(), kind: "read_write".into(), ..NewKey::default() };
    let made = wait(engine.create_key(cell.id, new)).unwrap();
    let secret = made.secret.unwrap();
    let home = IpAddr::V4(Ipv4Addr::LOCALHOST);
    call(&engine, &made.key, 5);
    let flood: u64 =
        std::env::var("WEIR_FLOOD").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let (mut told, mut slowed, mut before) = (0_u64, 0_u64, 0);
    for nth in 0..flood {
        let random = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let address = match nth % 3 {
            0 => home,
            1 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(random >> 32).unwrap())),
            _ => IpAddr::V6(Ipv6Addr::from_bits(u128::from(random) << 64)),
        };
        match engine.identify_from(&format!("sk-{random:016x}"), address) {
            Err(Unidentified::Unknown) => told += 1,
            Err(Unidentified::TooMany(_)) => slowed += 1,
            Ok(key) => panic!("{random:x} is {:?}", key.id),
        }
        if nth % 50_000 == 0 {
            let key = engine.identify_from(&secret, home).expect("it is known");
            assert_eq!(key.id, made.key.id);
        }
        if nth == flood / 10 {
            before = resident_kib();
        }
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB for {flood} keys");
    // Whoever sends them all is slowed down; the others never sent as many.
    assert!(slowed > flood / 3 - 100 && told > flood / 2, "{told} told, {slowed} slowed");
    let key = engine.identify_from(&secret, home).expect("it is known");
    call(&engine, &key, 5);
    let spent = engine.wallet_of(&cell).balance;
    assert_eq!(spent, "90".parse().unwrap(), "two calls of five");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
