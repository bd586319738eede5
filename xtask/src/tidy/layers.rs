//! Which crate may stand on which, and what must be absent from it.

use std::path::Path;

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::tidy::complaint::Complaint;

/// A crate's place in the house.
struct Layer {
    name: &'static str,
    /// Crates of ours that it may stand on.
    below: &'static [&'static str],
    /// Crates of others that must stay out of it.
    absent: &'static [&'static str],
}

/// The table of the architecture. xtask stands outside the house and on nothing of it.
const LAYERS: [Layer; 9] = [
    Layer {
        name: "weir-core",
        below: &[],
        absent: &["serde", "serde_json", "tokio", "futures-util", "fastrand", "jiff", "tracing"],
    },
    Layer { name: "weir-wire", below: &[], absent: &["tokio", "hyper", "axum", "rusqlite"] },
    Layer { name: "weir-store", below: &["weir-core"], absent: HTTP },
    Layer { name: "weir-engine", below: &["weir-core", "weir-store"], absent: HTTP_AND_SQL },
    Layer { name: "weir-gate", below: &["weir-core", "weir-engine", "weir-wire"], absent: SQL },
    Layer { name: "weir-api", below: &["weir-core", "weir-engine", "weir-wire"], absent: SQL },
    Layer { name: "weir-client", below: &["weir-wire"], absent: SQL },
    Layer {
        name: "weir",
        below: &["weir-core", "weir-store", "weir-engine", "weir-gate", "weir-api", "weir-wire"],
        absent: SQL,
    },
    Layer { name: "xtask", below: &[], absent: &[] },
];

const HTTP: &[&str] = &["http", "hyper", "hyper-util", "axum", "tower", "ureq", "tonic"];
const SQL: &[&str] = &["rusqlite", "tokio-postgres"];
const HTTP_AND_SQL: &[&str] = &[
    "http",
    "hyper",
    "hyper-util",
    "axum",
    "tower",
    "ureq",
    "tonic",
    "rusqlite",
    "tokio-postgres",
];

/// A crate and one crate it depends on, in whatever way.
struct Edge {
    from: String,
    to: String,
    /// `to` is a crate of the workspace.
    ours: bool,
}

/// Checks what cargo says about the workspace against the table.
///
/// # Errors
///
/// When cargo cannot describe the workspace.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Complaint>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo cannot describe the workspace")?;
    let names: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let edges = metadata.packages.iter().flat_map(|package| {
        package.dependencies.iter().filter_map(|dependency| {
            let ours = names.contains(&dependency.name.as_str());
            // A foreign crate that only tests use, an oracle, is not in the product.
            let counts = ours || dependency.kind != DependencyKind::Development;
            let (from, to) = (package.name.to_string(), dependency.name.clone());
            counts.then_some(Edge { from, to, ours })
        })
    });
    let mut complaints: Vec<Complaint> = edges.filter_map(|edge| judge(&edge)).collect();
    complaints.extend(names.iter().filter(|name| layer(name).is_none()).map(|name| {
        Complaint::of(&manifest(name), "this crate has no line in the table of layers")
    }));
    Ok(complaints)
}

fn judge(edge: &Edge) -> Option<Complaint> {
    let layer = layer(&edge.from)?;
    let to = edge.to.as_str();
    if edge.ours && !layer.below.contains(&to) {
        let text = format!("{} must not stand on {to}", edge.from);
        return Some(Complaint::of(&manifest(&edge.from), text));
    }
    if layer.absent.contains(&to) {
        let text = format!("{} must do without {to}", edge.from);
        return Some(Complaint::of(&manifest(&edge.from), text));
    }
    None
}

fn layer(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}

fn manifest(name: &str) -> String {
    if name == "xtask" {
        "xtask/Cargo.toml".to_owned()
    } else {
        format!("crates/{name}/Cargo.toml")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, to: &str, ours: bool, allowed: bool) {
        let edge = Edge { from: from.to_owned(), to: to.to_owned(), ours };
        assert_eq!(judge(&edge).is_none(), allowed, "{from} on {to}");
    }

    #[test]
    fn a_crate_stands_only_on_those_below_it() {
        check("weir-engine", "weir-store", true, true);
        check("weir-gate", "weir-store", true, false);
        check("weir-gate", "weir-api", true, false);
        check("weir-core", "weir-wire", true, false);
        check("weir", "weir-client", true, false);
        check("weir-client", "weir-wire", true, true);
    }

    #[test]
    fn a_crate_does_without_what_its_wall_keeps_out() {
        check("weir-core", "serde", false, false);
        check("weir-core", "smallvec", false, true);
        check("weir-engine", "hyper", false, false);
        check("weir-store", "rusqlite", false, true);
    }
}
