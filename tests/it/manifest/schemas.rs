//! The schemas of the kinds, generated from the types: strict, int-or-string spelled out, without prose.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{
    ConfigMap, EnvFromSource, EnvVar, Namespace, Pod, Secret, ServiceAccount, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Set to 1 to write the files instead of comparing them.
const UPDATE: &str = "UPDATE_SCHEMAS";

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

fn of<T: JsonSchema>(kind: &str, api_version: &str) -> (String, Value) {
    let schema = serde_json::to_value(generator().into_root_schema_for::<T>()).unwrap();
    finished(kind, api_version, schema)
}

/// PodPreset left Kubernetes with 1.20: its parts are today's types, its frame is written here.
fn preset() -> (String, Value) {
    let mut generator = generator();
    let metadata = generator.subschema_for::<ObjectMeta>();
    let selector = generator.subschema_for::<LabelSelector>();
    let env = generator.subschema_for::<Vec<EnvVar>>();
    let env_from = generator.subschema_for::<Vec<EnvFromSource>>();
    let volumes = generator.subschema_for::<Vec<Volume>>();
    let mounts = generator.subschema_for::<Vec<VolumeMount>>();
    let schema = json!({
        "type": "object",
        "properties": {
            "apiVersion": {}, "kind": {}, "metadata": metadata,
            "spec": {
                "type": "object",
                "properties": {
                    "selector": selector, "env": env, "envFrom": env_from, "volumes": volumes, "volumeMounts": mounts,
                },
                "required": ["selector"],
            },
        },
        "required": ["metadata", "spec"],
        "$defs": generator.take_definitions(false),
    });
    finished("PodPreset", "settings.k8s.io/v1alpha1", schema)
}

fn finished(kind: &str, api_version: &str, mut schema: Value) -> (String, Value) {
    schema["properties"]["apiVersion"] = json!({"const": api_version});
    schema["properties"]["kind"] = json!({"const": kind});
    // What only a server writes: named, so that it can be answered for, and not looked into.
    if schema["properties"].get("status").is_some() {
        schema["properties"]["status"] = json!({"type": "object"});
    }
    let meta = &mut schema["$defs"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"];
    meta["managedFields"] = json!({"type": "array"});
    let required = schema["required"].as_array_mut().unwrap();
    required.insert(0, "kind".into());
    required.insert(0, "apiVersion".into());
    strict(&mut schema);
    let definitions = schema.as_object_mut().unwrap().remove("$defs");
    let mut file = Map::new();
    file.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    file.insert("$id".into(), json!(format!("https://podwright.dev/schemas/{}.json", kind.to_lowercase())));
    file.insert("title".into(), json!(kind));
    for (key, value) in schema.as_object().unwrap() {
        file.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let definitions = definitions.unwrap_or_else(|| json!({}));
    file.insert("$defs".into(), reachable(&Value::Object(file.clone()), definitions.as_object().unwrap()));
    (format!("{}.json", kind.to_lowercase()), Value::Object(file))
}

/// No unknown fields, numbers within their type, and what may be a number or text says so.
fn strict(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(strict),
        Value::Object(map) => {
            if map.get("description").is_some_and(Value::is_string) {
                map.remove("description");
            }
            if map.get("properties").is_some_and(Value::is_object) && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".into(), json!(false));
            }
            if map.remove("x-kubernetes-int-or-string").is_some() {
                map.insert("type".into(), json!(["string", "number"]));
            }
            match map.get("format").and_then(Value::as_str) {
                Some("int32") => {
                    map.insert("minimum".into(), json!(i32::MIN));
                    map.insert("maximum".into(), json!(i32::MAX));
                }
                Some("int64") => {
                    map.insert("minimum".into(), json!(i64::MIN));
                    map.insert("maximum".into(), json!(i64::MAX));
                }
                _ => {}
            }
            map.values_mut().for_each(strict);
        }
        _ => {}
    }
}

/// The definitions that are still referred to, sorted by name.
fn reachable(root: &Value, all: &Map<String, Value>) -> Value {
    let mut kept = std::collections::BTreeMap::new();
    let mut queue = references(root);
    while let Some(name) = queue.pop() {
        if !kept.contains_key(&name) {
            queue.extend(references(&all[&name]));
            kept.insert(name.clone(), all[&name].clone());
        }
    }
    serde_json::to_value(kept).unwrap()
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| match value {
                Value::String(text) if key == "$ref" => vec![text.trim_start_matches("#/$defs/").to_owned()],
                other => references(other),
            })
            .collect(),
        _ => vec![],
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let all = [
        of::<Pod>("Pod", "v1"),
        of::<ConfigMap>("ConfigMap", "v1"),
        of::<Secret>("Secret", "v1"),
        of::<ServiceAccount>("ServiceAccount", "v1"),
        of::<Namespace>("Namespace", "v1"),
        preset(),
    ];
    for (name, schema) in all {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let path = directory().join(&name);
        if std::env::var(UPDATE).is_ok_and(|v| v == "1") {
            std::fs::write(&path, text).unwrap();
            continue;
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == text, "schemas/{name} is stale: run the tests once with {UPDATE}=1 and commit the result");
    }
}
