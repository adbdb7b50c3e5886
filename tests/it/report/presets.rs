//! What people hear of presets that were not merged.

use podwright::model::{ConflictSide, EventType, PresetConflict, SkippedPreset, SourceRef};
use podwright::report::preset_events;

use super::fixture::{at, scripted};

pub fn conflict(key: &str) -> PresetConflict {
    let side = |preset: Option<&str>, value: &str, path: &str| ConflictSide {
        preset: preset.map(str::to_owned),
        value: value.into(),
        at: SourceRef { path: path.into(), document: 0, line: 9, column: 5 },
    };
    let (existing, wanted) = (side(None, "\"1\"", "pod.yaml"), side(Some("other"), "\"2\"", "preset.yaml"));
    PresetConflict { field: format!("spec.containers[0].env[{key}]"), key: key.into(), existing, wanted }
}

/// The events of a pod that these presets match, the last of which conflicts.
fn messages(names: &[&str], keys: &[String]) -> Vec<String> {
    let (observed, _) = scripted("Always", "", "a=run");
    let mut target = (*observed.record.realised).clone();
    let skipped = |name: &&str| SkippedPreset { name: (*name).into(), reason: String::new(), conflicts: vec![] };
    target.skipped = names.iter().map(skipped).collect();
    if let Some(last) = target.skipped.last_mut() {
        last.conflicts = keys.iter().map(|key| conflict(key)).collect();
    }
    let events = preset_events(&observed, &target, at(7));
    for event in &events {
        assert_eq!((event.kind, event.reason.as_str()), (EventType::Warning, "PodPresetConflict"));
        assert_eq!((event.component.as_str(), event.uid.as_str()), ("podwright", observed.record.uid.0.as_str()));
        assert_eq!((event.first, event.last, event.count), (at(7), at(7), 1));
    }
    events.into_iter().map(|event| event.message).collect()
}

#[test]
fn a_conflict_is_a_warning_with_presets_key_values_and_places() {
    let text = "spec.containers[0].env[A] is \"1\" in the pod (pod.yaml:9:5) and \"2\" in PodPreset other \
                (preset.yaml:9:5)";
    assert_eq!(messages(&["other"], &["A".into()]), [format!("PodPreset other is not merged: {text}")]);
    let both = format!("none of the PodPresets good, other is merged: {text}");
    assert_eq!(messages(&["good", "other"], &["A".into()]), [both]);
    assert_eq!(messages(&[], &[]), [""; 0]);
}

#[test]
fn many_conflicts_are_counted() {
    let keys: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    let told = messages(&["a", "b", "c", "d", "e", "other"], &keys);
    assert_eq!(told.len(), 6);
    assert!(told[4].starts_with("none of 6 PodPresets is merged, a, b, c, d, e ...: spec.containers[0].env[4] is"));
    assert_eq!(told[5], "none of 6 PodPresets is merged, a, b, c, d, e ...: 4 more conflicts");
    assert_eq!(messages(&["other"], &keys[..5]).len(), 5);
}
