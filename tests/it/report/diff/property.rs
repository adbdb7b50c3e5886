//! Whatever the objects: nothing differs from itself, and where and in which order they are written does not matter.

use std::sync::Arc;

use podwright::admit::admit;
use podwright::manifest::Reader;
use podwright::model::{Admitted, BlobId, Revision, RevisionKind, Snapshot, SourceFile, Verb};
use podwright::report::{DiffReport, MarkdownOptions, diff_markdown, diff_text};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::schema::checked;
use super::{between, compare, data, pod, preset};

/// One object, out of few names so that two sets meet.
pub fn any_object() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let word = prop::sample::select(vec!["1", "2", "x: y\nz\n", "", "yes"]);
    let label = prop::sample::select(vec!["one", "two"]);
    (0..6_usize, name, word, label, any::<bool>()).prop_map(|(kind, name, word, label, flag)| match kind {
        0 => json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "labels": {"l": label}}}),
        1 => data("ConfigMap", name, json!({"k": word, label: "v"})),
        2 => json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"k": word, label: "v"}}),
        3 => {
            let mut preset = preset(name, word);
            preset["spec"]["selector"] = json!({"matchLabels": {"l": label}});
            preset
        }
        _ => {
            let mut pod = pod(name, if flag { "nginx:1" } else { "nginx:2" });
            pod["metadata"]["labels"] = json!({"l": label});
            pod["spec"]["containers"][0]["env"] = json!([{"name": "E", "value": word}]);
            if kind == 5 {
                pod["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "a", "optional": true}}]);
            }
            pod
        }
    })
}

/// Objects with different names per kind.
pub fn objects() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(any_object(), 0..8).prop_map(|mut all| {
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|object| seen.insert((object["kind"].to_string(), object["metadata"]["name"].to_string())));
        all
    })
}

/// Two sets that share much.
fn two_sets() -> impl Strategy<Value = (Vec<Value>, Vec<Value>)> {
    (objects(), objects(), any::<u16>()).prop_map(|(base, other, mask)| {
        let mut head: Vec<Value> =
            base.iter().enumerate().filter(|(index, _)| mask & (1 << index) != 0).map(|(_, o)| o.clone()).collect();
        let name = |o: &Value| (o["kind"].clone(), o["metadata"]["name"].clone());
        for object in other {
            if !head.iter().any(|o| name(o) == name(&object)) {
                head.push(object);
            }
        }
        (base, head)
    })
}

/// Reads the objects from files, as many in each as the cuts say.
fn read(objects: &[Value], names: &str, per_file: usize) -> Admitted {
    // A directory without any manifest is refused.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "there"}});
    let objects = [objects, &[namespace]].concat();
    let files = objects.chunks(per_file.max(1)).enumerate().map(|(index, chunk)| {
        let text: Vec<String> = chunk.iter().map(|object| serde_json::to_string(object).unwrap() + "\n").collect();
        let text = text.join("---\n");
        SourceFile {
            path: Arc::from(format!("{names}{index}.yaml")),
            blob: BlobId::of_text(&format!("{names}{index}{text}")),
            bytes: Arc::from(text.into_bytes()),
        }
    });
    let snapshot = Snapshot {
        revision: Revision { kind: RevisionKind::Commit, id: "c".repeat(40), subject: None, branch: None },
        files: files.collect(),
        local: Default::default(),
        uncommitted: Vec::new(),
        ignored: Vec::new(),
    };
    admit(&Reader::new().read(&snapshot)).unwrap_or_else(|d| panic!("{d:?}"))
}

/// Without the places, which are all that a file's name and order may show in.
fn placeless(mut report: DiffReport) -> DiffReport {
    for object in &mut report.objects {
        (object.before, object.after) = (None, None);
    }
    for item in &mut report.attention {
        (item.at, item.existing_at) = (None, None);
    }
    report
}

/// The text of an object as its creation shows it.
fn whole(object: &Value, beside: &[Value]) -> Vec<String> {
    let key = |o: &Value| (o["kind"].as_str().unwrap().to_owned(), o["metadata"]["name"].as_str().unwrap().to_owned());
    let (kind, name) = key(object);
    let report = between(&[], beside);
    let found = report.objects.iter().find(|o| o.key.kind.as_str() == kind && o.key.name == name).unwrap();
    found.hunks.iter().flat_map(|hunk| &hunk.lines).map(|line| line[1..].to_owned()).collect()
}

/// Applies hunks as patch(1) does; masks are equal whatever they stand for.
fn patched(old: &[String], hunks: &[podwright::report::Hunk]) -> Vec<String> {
    let plain = |line: &str| line.replace("*** (before)", "***").replace("*** (after)", "***");
    let (mut out, mut next) = (Vec::new(), 0);
    for hunk in hunks {
        let range = hunk.header.trim_start_matches("@@ -").split([' ', ',']).next().unwrap();
        let start: usize = range.parse().unwrap();
        let empty = hunk.header.contains(",0 +");
        let start = if empty { start } else { start - 1 };
        out.extend(old[next..start].iter().cloned());
        next = start;
        for line in &hunk.lines {
            let (sign, text) = line.split_at(1);
            if sign != "+" {
                assert_eq!(old[next], plain(text), "context and removed lines are those of the base");
                next += 1;
            }
            if sign != "-" {
                out.push(plain(text));
            }
        }
    }
    out.extend(old[next..].iter().cloned());
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn nothing_differs_from_itself_wherever_it_is_written(set in objects(), per_file in 1..4_usize, turn in 0..8_usize) {
        let mut moved = set.clone();
        moved.rotate_left(turn % set.len().max(1));
        let report = compare(&read(&set, "a", per_file), &read(&moved, "elsewhere/z", 4 - per_file));
        prop_assert!(report.is_empty() && report.attention.is_empty(), "{}", diff_text(&report));
        prop_assert!(diff_text(&report).ends_with("nothing changes\n"));
    }

    #[test]
    fn order_and_names_of_files_do_not_matter((base, head) in two_sets(), per_file in 1..4_usize, turn in 0..8_usize) {
        let mut moved = head.clone();
        moved.rotate_left(turn % head.len().max(1));
        let base = read(&base, "a", 2);
        let one = placeless(compare(&base, &read(&head, "a", 2)));
        let other = placeless(compare(&base, &read(&moved, "elsewhere/z", per_file)));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn hunks_make_the_head_out_of_the_base((base, head) in two_sets()) {
        let report = between(&base, &head);
        for object in &report.objects {
            let of = |set: &[Value]| {
                let is = |o: &&Value| o["kind"] == object.key.kind.as_str() && o["metadata"]["name"] == *object.key.name;
                set.iter().find(is).map(|o| whole(o, set)).unwrap_or_default()
            };
            if object.renamed_from.is_none() && object.renamed_to.is_none() {
                prop_assert_eq!(patched(&of(&base), &object.hunks), of(&head), "{:?}", object.key);
            }
        }
    }

    #[test]
    fn every_difference_is_told_in_every_view((base, head) in two_sets()) {
        let report = between(&base, &head);
        let back = between(&head, &base);
        let keys = |report: &DiffReport| report.objects.iter().map(|o| o.key.clone()).collect::<Vec<_>>();
        prop_assert_eq!(keys(&report), keys(&back), "what differs one way differs the other way");
        checked(&report);
        let markdown = diff_markdown(&report, &MarkdownOptions { target: "t".into(), max_bytes: 200_000 });
        let text = diff_text(&report);
        for object in &report.objects {
            prop_assert!(text.contains(&format!(" {}  {}", object.key, object.verb_text())), "{text}");
            let name = format!("{} <code>{}/{}</code>", object.key.kind, object.key.namespace, object.key.name);
            prop_assert!(markdown.contains(&name), "{name}: {markdown}");
        }
        for row in &report.counts {
            let here = |set: &[Value]| set.iter().filter(|o| o["kind"] == row.kind.as_str()).count();
            let update = row.update_in_place + row.restart_container + row.recreate;
            prop_assert_eq!(row.create + update + row.unchanged, here(&head), "{:?}", row);
            prop_assert_eq!(row.delete + update + row.unchanged, here(&base), "{:?}", row);
        }
    }

    #[test]
    fn a_pod_under_another_name_is_called_a_rename(set in objects(), image in "[a-z]{3,8}", labels in any::<bool>()) {
        let mut renamed = pod("old", &image);
        renamed["metadata"]["labels"] = json!({"own": "label"});
        let base = [set.clone(), vec![renamed.clone()]].concat();
        renamed["metadata"]["name"] = json!("renamed");
        if labels {
            renamed["metadata"]["labels"] = json!({"another": "label"});
        }
        let report = between(&base, &[set, vec![renamed]].concat());
        prop_assert_eq!(report.objects.len(), 2, "{:?}", report);
        let verbs = report.objects.iter().map(|o| (o.verb, o.renamed_from.is_some(), o.renamed_to.is_some()));
        prop_assert_eq!(verbs.collect::<Vec<_>>(), [(Verb::Delete, false, true), (Verb::Create, true, false)]);
        prop_assert_eq!(report.renames.len(), 1);
        let text = diff_text(&report);
        prop_assert!(text.contains("- Pod default/old  delete  renamed to default/renamed\n"), "{}", text);
        prop_assert!(text.contains("+ Pod default/renamed  create  renamed from default/old\n"), "{}", text);
        let markdown = diff_markdown(&report, &MarkdownOptions { target: "t".into(), max_bytes: 60_000 });
        prop_assert!(markdown.contains("- **delete** Pod `default/old`: renamed to `default/renamed`\n"), "{}", markdown);
    }
}
