//! The README's table of fields, made from the table in the code. With `UPDATE_EXPECTED=1` it is written anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use podwright::manifest::support::{Support, fields};
use podwright::model::Kind;

const BEGIN: &str = "<!-- fields: made by UPDATE_EXPECTED=1 cargo test the_readme_lists_every_field -->\n";
const END: &str = "<!-- end of fields -->";
/// What has a row of its own: a kind and the beginning of its fields, written as `kubectl explain` takes them. The longest
/// beginning counts.
const ROWS: &[(Kind, &str, &str)] = &[
    (Kind::Pod, "", "every object"),
    (Kind::Pod, "metadata.", "`metadata`"),
    (Kind::Pod, "spec.", "`pod.spec`"),
    (Kind::Pod, "spec.securityContext.", "`pod.spec.securityContext`"),
    (Kind::Pod, "spec.volumes.", "`pod.spec.volumes`"),
    (Kind::Pod, "spec.containers.", "`pod.spec.containers`"),
    (Kind::Pod, "spec.initContainers.", "`pod.spec.initContainers` where they differ"),
    (Kind::PodPreset, "spec.", "`podpreset.spec` where it differs"),
    (Kind::ConfigMap, "", "`configmap`"),
    (Kind::Secret, "", "`secret`"),
    (Kind::ServiceAccount, "", "`serviceaccount`"),
    (Kind::Namespace, "", "`namespace`"),
];
/// What other rows have too, and how their paths begin there.
const SHARED: &[(&str, &str)] = &[("spec.containers.", ""), ("spec.volumes.", "volumes.")];
const COLUMNS: usize = 3;

/// Fields by name, each with those below it.
#[derive(Default)]
struct Tree {
    support: Option<Support>,
    below: BTreeMap<String, Tree>,
}

/// The column of a field.
fn column(support: Support) -> usize {
    match support {
        Support::Honoured(_) => 0,
        Support::NoEffect(_) => 1,
        Support::Never(_) => 2,
    }
}

impl Tree {
    fn of(kind: Kind) -> Self {
        let mut root = Self::default();
        for (path, support) in fields(kind) {
            let path = path.replace("[]", "");
            path.split('.').fold(&mut root, |at, step| at.below.entry(step.to_owned()).or_default()).support = support;
        }
        root
    }

    fn is_all(&self, wanted: usize) -> bool {
        self.support.is_none_or(|support| column(support) == wanted) && self.below.values().all(|b| b.is_all(wanted))
    }

    /// The paths of the row that begins with `row`, each as far up as the same is done about everything below.
    fn list(&self, above: &str, row: (Kind, &str), out: &mut [Vec<String>; COLUMNS]) {
        for (name, tree) in &self.below {
            let path = format!("{above}{name}");
            let inner = format!("{path}.");
            let is_above_a_row = ROWS.iter().any(|(kind, other, _)| *kind == row.0 && other.starts_with(&inner));
            let uniform = (0..COLUMNS).find(|column| tree.is_all(*column)).filter(|_| !is_above_a_row);
            match uniform.filter(|_| row_of(row.0, &path) == Some(row.1)) {
                Some(column) => out[column].push(path[row.1.len()..].to_owned()),
                None => tree.list(&inner, row, out),
            }
        }
    }
}

/// The row that a field stands in.
fn row_of(kind: Kind, path: &str) -> Option<&'static str> {
    let rows = ROWS.iter().filter(|(of, begin, _)| *of == kind && path.starts_with(begin));
    rows.map(|(_, begin, _)| *begin).max_by_key(|begin| begin.len())
}

fn table() -> String {
    let mut text = String::from(
        "| fields of | honoured | without effect: a warning | refused: cannot be honoured |\n|---|---|---|---|\n",
    );
    let mut told: [Vec<String>; COLUMNS] = Default::default();
    for (kind, begin, title) in ROWS {
        let mut cells: [Vec<String>; COLUMNS] = Default::default();
        let mut tree = Tree::of(*kind);
        if *kind != Kind::Pod && begin.is_empty() {
            tree.below.retain(|name, _| !["apiVersion", "kind", "metadata", "status"].contains(&name.as_str()));
        }
        tree.list("", (*kind, begin), &mut cells);
        if title.contains("differ") {
            cells.iter_mut().zip(&told).for_each(|(own, before)| own.retain(|path| !before.contains(path)));
        } else if let Some(shared) = SHARED.iter().find_map(|(of, prefix)| (of == begin).then_some(prefix)) {
            let paths = cells.iter().map(|own| own.iter().map(|path| format!("{shared}{path}")));
            told.iter_mut().zip(paths).for_each(|(all, own)| all.extend(own));
        }
        let cells = cells.map(|paths| paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", "));
        writeln!(text, "| {title} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

#[test]
fn the_readme_lists_every_field() {
    let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&place).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("where the table begins");
    let (shown, after) = rest.split_once(END).expect("where the table ends");
    let table = table();
    if std::env::var("UPDATE_EXPECTED").is_ok_and(|v| v == "1") {
        std::fs::write(&place, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(shown == table, "README.md has another table of fields, run once with UPDATE_EXPECTED=1:\n{table}");
}
