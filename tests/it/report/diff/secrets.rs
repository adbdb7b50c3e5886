//! Values of Secrets are in no view, in no spelling, and tell nothing by their length either.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use podwright::model::{Kind, Verb};
use podwright::report::{DiffReport, KeyChange, MarkdownOptions, diff_json, diff_markdown, diff_text};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{between, object, pod};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn options() -> MarkdownOptions {
    MarkdownOptions { target: "t".into(), max_bytes: MarkdownOptions::DEFAULT_BYTES }
}

fn views(report: &DiffReport) -> [String; 3] {
    [diff_text(report), diff_json(report), diff_markdown(report, &options())]
}

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

fn secret(data: Value, string_data: Value) -> Value {
    let mut value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}});
    for (member, map) in [("data", data), ("stringData", string_data)] {
        if !map.is_null() {
            value[member] = map;
        }
    }
    value
}

#[test]
fn planted_values_are_in_no_view() {
    let [old, new, gone, fresh, same] = ["hunter2-old", "hunter2-newer", "goes-away", "comes-new", "stays-same"];
    let mut base = secret(json!({"password": encoded(old), "gone": encoded(gone), "same": encoded(same)}), Value::Null);
    base["metadata"]["annotations"] = json!({LAST_APPLIED: format!("{{\"stringData\":{{\"password\":\"{old}\"}}}}")});
    let mut head = secret(json!({"same": encoded(same)}), json!({"password": new, "fresh": fresh}));
    head["metadata"]["annotations"] = json!({LAST_APPLIED: format!("{{\"stringData\":{{\"password\":\"{new}\"}}}}")});
    let mut user = pod("web", "x");
    user["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "db"}}]);
    let mut applied = user.clone();
    applied["metadata"]["annotations"] = json!({LAST_APPLIED: format!("{{\"x\":\"{fresh}\"}}")});
    for (base, head) in [
        (vec![base.clone(), user.clone()], vec![head.clone(), applied.clone()]),
        (vec![head.clone(), applied], vec![base.clone(), user.clone()]),
        (vec![user.clone()], vec![head.clone(), user.clone()]),
        (vec![base.clone(), user.clone()], vec![user.clone()]),
    ] {
        let report = between(&base, &head);
        for view in views(&report) {
            for planted in [old, new, gone, fresh, same] {
                for spelling in [planted.to_owned(), encoded(planted)] {
                    assert!(!view.contains(&spelling), "{spelling} in {view}");
                }
            }
        }
    }
    let report = between(&[base], &[head]);
    let found = object(&report, Kind::Secret, "db");
    let keys: Vec<(&str, KeyChange)> = found.keys.iter().map(|key| (key.name.as_str(), key.change)).collect();
    let expected = [
        ("fresh", KeyChange::Added),
        ("gone", KeyChange::Removed),
        ("password", KeyChange::Changed),
        ("same", KeyChange::Unchanged),
    ];
    assert_eq!((found.verb, keys), (Verb::UpdateInPlace, expected.to_vec()));
    let [text, _, markdown] = views(&report);
    for line in ["-  password: '*** (before)'", "+  password: '*** (after)'", "+  fresh: '***'", "-  gone: '***'"] {
        assert!(text.contains(line) && markdown.contains(line), "{line}: {text}");
    }
    assert!(markdown.contains("`password: *** (before) → *** (after)`"), "{markdown}");
    assert!(markdown.contains("— 3 of 4 keys"), "{markdown}");
}

#[test]
fn another_spelling_of_the_same_data_is_no_change() {
    let data = secret(json!({"a": encoded("1"), "b": encoded("2")}), Value::Null);
    let text = secret(Value::Null, json!({"b": "2", "a": "1"}));
    let both = secret(json!({"a": encoded("x"), "b": encoded("2")}), json!({"a": "1"}));
    for (one, other) in [(&data, &text), (&text, &data), (&both, &data), (&text, &both)] {
        let report = between(std::slice::from_ref(one), std::slice::from_ref(other));
        assert!(report.is_empty(), "{}", diff_text(&report));
    }
}

#[test]
fn values_in_a_pods_own_environment_are_shown() {
    let mut head = pod("web", "x");
    head["spec"]["containers"][0]["env"] = json!([{"name": "MODE", "value": "written-in-the-pod"}]);
    for view in views(&between(&[pod("web", "x")], &[head])) {
        assert!(view.contains("written-in-the-pod"), "{view}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Which keys change is told, and nothing else: values of whatever length and content give the same bytes.
    #[test]
    fn nothing_of_a_value_is_in_any_view(
        values in prop::collection::vec(any::<[String; 2]>(), 1..5),
        text in any::<bool>(),
    ) {
        let build = |side: usize, of: &dyn Fn(usize, &str) -> String| {
            let map: Value = values
                .iter()
                .enumerate()
                .map(|(index, pair)| (format!("k{index}"), Value::from(of(index, &pair[side]))))
                .collect::<serde_json::Map<String, Value>>()
                .into();
            map
        };
        let planted = |side| {
            if text {
                secret(Value::Null, build(side, &|_, value| value.to_owned()))
            } else {
                secret(build(side, &|_, value| encoded(value)), Value::Null)
            }
        };
        let plain = |side: usize| {
            let word = |index: usize, _: &str| {
                let changed = values[index][0] != values[index][1];
                encoded(if changed && side == 1 { "other" } else { "one" })
            };
            secret(build(side, &word), Value::Null)
        };
        let shown = views(&between(&[planted(0)], &[planted(1)]));
        prop_assert_eq!(shown, views(&between(&[plain(0)], &[plain(1)])));
    }
}
