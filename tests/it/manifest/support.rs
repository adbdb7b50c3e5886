//! The table of fields: complete, without dead entries, and told to the author.

use std::path::PathBuf;

use podwright::manifest::support::{Support, entries, fields, is_about};
use podwright::model::{Kind, Severity};
use serde_json::{Value, json};

use super::read;

#[test]
fn every_field_of_every_kind_has_an_answer() {
    let mut counts = std::collections::BTreeMap::new();
    for kind in Kind::ALL {
        let holes: Vec<String> =
            fields(kind).into_iter().filter(|(_, support)| support.is_none()).map(|(path, _)| path).collect();
        assert!(holes.is_empty(), "{kind}: the table of src/manifest/support/table.rs says nothing about {holes:#?}");
        counts.insert(kind.as_str(), fields(kind).len());
    }
    assert!(counts["Pod"] > 1000, "{counts:?}");
}

#[test]
fn every_entry_of_the_table_is_a_field() {
    let all: Vec<(Kind, Vec<String>)> =
        Kind::ALL.into_iter().map(|kind| (kind, fields(kind).into_iter().map(|(path, _)| path).collect())).collect();
    let dead: Vec<&str> = entries()
        .filter(|entry| !all.iter().any(|(kind, paths)| paths.iter().any(|path| is_about(*kind, entry, path))))
        .collect();
    assert!(dead.is_empty(), "entries that no schema has: {dead:?}");
}

/// A valid value for a place of a schema, with something in it.
fn sample(root: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return sample(root, root.pointer(reference.trim_start_matches('#')).unwrap());
    }
    if let Some(properties) = schema["properties"].as_object() {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let chosen = properties.iter().filter(|(name, _)| required.contains(&name.as_str()));
        let mut object: serde_json::Map<String, Value> =
            chosen.map(|(name, schema)| (name.clone(), sample(root, schema))).collect();
        if object.is_empty() {
            let (name, schema) = properties.iter().next().unwrap();
            object.insert(name.clone(), sample(root, schema));
        }
        return Value::Object(object);
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => json!([sample(root, &schema["items"])]),
        Value::String(kind) if kind == "object" => json!({"key": sample(root, &schema["additionalProperties"])}),
        Value::String(kind) if kind == "integer" => json!(1),
        Value::String(kind) if kind == "boolean" => json!(true),
        _ => json!("x"),
    }
}

/// Puts a sample of `path` into the object, making what is on the way.
fn put(root: &Value, object: &mut Value, path: &str) -> bool {
    let (mut schema, mut here) = (root, object);
    let mut steps = path.split('.').peekable();
    while let Some(step) = steps.next() {
        while let Some(reference) = schema["$ref"].as_str() {
            schema = root.pointer(reference.trim_start_matches('#')).unwrap();
        }
        let name = step.trim_end_matches("[]");
        schema = &schema["properties"][name];
        if steps.peek().is_none() {
            here[name] = sample(root, schema);
            return true;
        }
        while let Some(reference) = schema["$ref"].as_str() {
            schema = root.pointer(reference.trim_start_matches('#')).unwrap();
        }
        if step.ends_with("[]") {
            if here.get(name).is_none() {
                here[name] = json!([sample(root, &schema["items"])]);
            }
            (schema, here) = (&schema["items"], &mut here[name][0]);
        } else {
            if here.get(name).is_none() {
                here[name] = json!({});
            }
            here = &mut here[name];
        }
    }
    false
}

#[test]
fn what_is_not_honoured_is_told_for_each_field() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let mut told = 0;
    for (kind, file) in [(Kind::Pod, "pod.json"), (Kind::PodPreset, "podpreset.json")] {
        let schema: Value = serde_json::from_slice(&std::fs::read(directory.join(file)).unwrap()).unwrap();
        let fields = fields(kind);
        let covered = |path: &str| {
            fields.iter().any(|(above, s)| {
                !matches!(s, Some(Support::Honoured(_)))
                    && path.strip_prefix(above.as_str()).is_some_and(|r| r.starts_with(['.', '[']))
            })
        };
        for (path, support) in fields.iter().filter(|(path, _)| !covered(path)) {
            let (severity, rule) = match support {
                Some(Support::Never(_)) => (Severity::Error, "cannot-be-honoured"),
                Some(Support::NoEffect(_)) => (Severity::Warning, "no-effect"),
                _ => continue,
            };
            let mut object = json!({
                "apiVersion": kind.api_version(), "kind": kind.as_str(), "metadata": {"name": "x"},
                "spec": {"selector": {}, "containers": [{"name": "c", "image": "i:1"}], "env": [{"name": "A", "value": "x"}]},
            });
            let unfit: &[&str] = if kind == Kind::Pod { &["selector", "env"] } else { &["containers"] };
            unfit.iter().for_each(|field| drop(object["spec"].as_object_mut().unwrap().remove(*field)));
            assert!(put(&schema, &mut object, path), "{path}");
            let desired = read(&[("f.json", object.to_string())]);
            let expected = path.replace("[]", "[0]");
            let found = desired.diagnostics.0.iter().any(|d| {
                let at = d.field.as_deref() == Some(&expected) && d.severity == severity && d.help.is_some();
                at && (d.rule == rule || d.rule == "server-owned")
            });
            assert!(found, "{path} is ignored without a word: {:?}\n{object:#}", desired.diagnostics.0);
            told += 1;
        }
    }
    assert!(told > 100, "{told}");
}

#[test]
fn what_nobody_does_is_not_claimed() {
    let told = |container: Value, volume: Value| -> Vec<(String, String)> {
        let mut c = json!({"name": "c", "image": "i:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
        c.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [c], "volumes": [{"name": "v", "emptyDir": volume}]}});
        let desired = read(&[("f.json", object.to_string())]);
        desired.diagnostics.0.iter().map(|d| (d.rule.to_owned(), format!("{} {:?}", d.message, d.help))).collect()
    };
    let cases = [
        (json!({}), json!({"medium": "HugePages"}), "cannot-be-honoured", "use `Memory`"),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}),
            json!({}),
            "cannot-be-honoured",
            "see `seccompProfile`",
        ),
    ];
    for (container, volume, rule, words) in cases {
        let told = told(container.clone(), volume);
        assert!(told.len() == 1 && told[0].0 == rule && told[0].1.contains(words), "{container}: {told:?}");
    }
    assert_eq!(told(json!({}), json!({"sizeLimit": "1Gi"})), []);
    assert_eq!(told(json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}), json!({})), []);
    assert_eq!(told(json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}), json!({})), []);
    assert_eq!(
        told(json!({"stdin": true, "stdinOnce": true, "tty": true}), json!({"medium": "Memory", "sizeLimit": "1Mi"})),
        []
    );
}

/// Every function of the sources and the tests.
fn functions() -> std::collections::BTreeSet<String> {
    let mut found = std::collections::BTreeSet::new();
    let mut queue: Vec<PathBuf> =
        ["src", "tests/it"].map(|folder| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)).into();
    while let Some(path) = queue.pop() {
        if path.is_dir() {
            queue.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines = text.lines().map(str::trim).peekable();
            while let Some(line) = lines.next() {
                let name =
                    lines.peek().and_then(|next| next.strip_prefix("fn ")?.split_once('(')).map(|(name, _)| name);
                found.extend(name.filter(|_| line == "#[test]").map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn what_is_honoured_names_a_test_that_exists() {
    let functions = functions();
    assert!(functions.contains("what_is_honoured_names_a_test_that_exists"));
    let missing: std::collections::BTreeSet<&str> = Kind::ALL
        .into_iter()
        .flat_map(fields)
        .filter_map(|(_, support)| match support {
            Some(Support::Honoured(test)) if !functions.contains(test) => Some(test),
            _ => None,
        })
        .collect();
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}
