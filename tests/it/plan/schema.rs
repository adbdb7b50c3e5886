//! Values for any field of a Pod, made from the published schema.

use serde_json::{Value, json};

/// `schemas/pod.json`.
pub(super) struct Schema(Value);

impl Schema {
    pub(super) fn pod() -> Self {
        let file = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas/pod.json");
        Self(serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
    }

    fn resolved<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        while let Some(reference) = schema["$ref"].as_str() {
            schema = self.0.pointer(reference.trim_start_matches('#')).unwrap();
        }
        schema
    }

    /// A value of `name`; each variant gives another one where the type has more than one.
    fn sample(&self, name: &str, schema: &Value, variant: u8) -> Value {
        let schema = self.resolved(schema);
        if let Some(properties) = schema["properties"].as_object() {
            let is_required = |name: &&String| schema["required"].as_array().is_some_and(|r| r.contains(&json!(name)));
            let mut chosen: Vec<&String> = properties.keys().filter(is_required).collect();
            if chosen.is_empty() {
                chosen.extend(properties.keys().next());
            }
            let member = |key: &String| (key.clone(), self.sample(key, &properties[key], variant));
            return Value::Object(chosen.into_iter().map(member).collect());
        }
        match &schema["type"] {
            Value::String(kind) if kind == "array" => json!([self.sample(name, &schema["items"], variant)]),
            Value::String(kind) if kind == "object" => {
                json!({"key": self.sample(name, &schema["additionalProperties"], variant)})
            }
            // No default of Kubernetes is among them.
            Value::String(kind) if kind == "integer" => json!(6 + variant),
            // The only fields that are true unless something else is said.
            Value::String(kind) if kind == "boolean" => json!((name == "enableServiceLinks") != (variant == 1)),
            _ if schema["format"] == "date-time" => json!(format!("2026-01-0{variant}T00:00:00Z")),
            _ => json!(format!("{variant}")),
        }
    }
}

/// Puts a sample into the field `path` of a pod, with what is on the way. Returns its pointer.
pub(super) fn put(schema: &Schema, pod: &mut Value, path: &str, variant: u8) -> String {
    let (mut here, mut at) = (pod, &schema.0);
    let mut pointer = String::new();
    let mut steps = path.split('.').peekable();
    while let Some(step) = steps.next() {
        let name = step.trim_end_matches("[]");
        at = &schema.resolved(at)["properties"][name];
        pointer.push_str(&format!("/{name}"));
        if steps.peek().is_none() {
            here[name] = schema.sample(name, at, variant);
            break;
        }
        let is_list = step.ends_with("[]");
        if here.get(name).is_none() {
            here[name] = if is_list { schema.sample(name, at, 3) } else { json!({}) };
        }
        here = &mut here[name];
        at = schema.resolved(at);
        if is_list {
            here = &mut here[0];
            at = &at["items"];
            pointer.push_str("/0");
        }
    }
    pointer
}

/// Takes a field or an entry of a list out of a pod.
pub(super) fn taken(pod: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match pod.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.shift_remove(&key.replace("~1", "/"))),
        Value::Array(items) => drop(items.remove(key.parse().unwrap())),
        other => panic!("{pointer}: {other}"),
    }
}
