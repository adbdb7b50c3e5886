//! Whether a value certainly fits a schema: the answer for nearly every object, given in a few comparisons. Compiling a
//! schema for the library that explains what does not fit takes longer than reading a hundred pods.
//!
//! It knows the keywords that schemas/ uses, which a test sees to. What it does not know, or is not sure of, fits nothing:
//! then the library is asked.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};

/// Keywords that ask for nothing; `format` is a note since 2019.
const NOTES: [&str; 7] = ["$schema", "$id", "$defs", "title", "description", "format", "default"];

/// A schema as a table of its parts, the first of which is the whole.
#[derive(Debug)]
pub(super) struct Fit {
    parts: Vec<Part>,
}

/// What one schema within the document asks for. Parts are named by their index.
#[derive(Debug, Default)]
struct Part {
    /// It asks for something that is not known here.
    is_unknown: bool,
    /// Names of types; none allows any.
    types: Vec<String>,
    constant: Option<Value>,
    minimum: Option<i64>,
    maximum: Option<i64>,
    items: Option<usize>,
    /// Sorted by name.
    fields: Vec<(String, usize)>,
    required: Vec<String>,
    others: Others,
}

/// Fields without a name of their own.
#[derive(Debug, Default)]
enum Others {
    #[default]
    Any,
    None,
    Fit(usize),
}

impl Fit {
    pub(super) fn new(document: &Value) -> Self {
        let mut compile = Compile { document, parts: Vec::new(), references: HashMap::new() };
        compile.part(document);
        Self { parts: compile.parts }
    }

    /// Whether the value certainly fits.
    pub(super) fn is_sure_of(&self, value: &Value) -> bool {
        self.fits(0, value)
    }

    fn fits(&self, part: usize, value: &Value) -> bool {
        let part = &self.parts[part];
        if part.is_unknown || part.constant.as_ref().is_some_and(|constant| constant != value) {
            return false;
        }
        let allows = |name: &str| part.types.is_empty() || part.types.iter().any(|one| one == name);
        match value {
            Value::Null => allows("null"),
            Value::Bool(_) => allows("boolean"),
            Value::String(_) => allows("string"),
            Value::Number(number) => part.has_room_for(number, allows("number"), allows("integer")),
            Value::Array(items) => {
                allows("array") && part.items.is_none_or(|part| items.iter().all(|item| self.fits(part, item)))
            }
            Value::Object(map) => allows("object") && self.has_fields(part, map),
        }
    }

    fn has_fields(&self, part: &Part, map: &Map<String, Value>) -> bool {
        let fits = |(name, value): (&String, &Value)| match part.fields.binary_search_by(|(known, _)| known.cmp(name)) {
            Ok(at) => self.fits(part.fields[at].1, value),
            Err(_) => match part.others {
                Others::Any => true,
                Others::None => false,
                Others::Fit(other) => self.fits(other, value),
            },
        };
        part.required.iter().all(|name| map.contains_key(name)) && map.iter().all(fits)
    }
}

impl Part {
    fn has_room_for(&self, number: &Number, any: bool, whole: bool) -> bool {
        match number.as_i64() {
            Some(number) => {
                (any || whole)
                    && self.minimum.is_none_or(|least| least <= number)
                    && self.maximum.is_none_or(|most| number <= most)
            }
            // Also a whole number that is too large for a comparison here.
            None => any && self.minimum.is_none() && self.maximum.is_none(),
        }
    }
}

struct Compile<'d> {
    document: &'d Value,
    parts: Vec<Part>,
    /// Parts that are referred to; one may be within itself.
    references: HashMap<&'d str, usize>,
}

impl<'d> Compile<'d> {
    fn part(&mut self, schema: &'d Value) -> usize {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            return self.reference(reference, schema);
        }
        let index = self.parts.len();
        self.parts.push(Part::default());
        self.parts[index] = self.asked(schema).unwrap_or(Part { is_unknown: true, ..Part::default() });
        index
    }

    fn reference(&mut self, reference: &'d str, schema: &'d Value) -> usize {
        if let Some(known) = self.references.get(reference) {
            return *known;
        }
        let stands_alone = schema.as_object().is_some_and(|map| map.len() == 1);
        let target = reference.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer));
        let index = self.parts.len();
        self.parts.push(Part { is_unknown: true, ..Part::default() });
        if let Some(target) = target.filter(|target| stands_alone && target.get("$ref").is_none()) {
            self.references.insert(reference, index);
            if let Some(asked) = self.asked(target) {
                self.parts[index] = asked;
            }
        }
        index
    }

    /// What a schema asks for; `None` when some of it is not known here.
    fn asked(&mut self, schema: &'d Value) -> Option<Part> {
        let mut part = Part::default();
        let texts = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|text| Some(text.as_str()?.to_owned())).collect()
        };
        for (keyword, value) in schema.as_object()? {
            match keyword.as_str() {
                "type" => part.types = value.as_str().map(|one| vec![one.to_owned()]).or_else(|| texts(value))?,
                "const" => part.constant = Some(value.clone()),
                "minimum" => part.minimum = Some(value.as_i64()?),
                "maximum" => part.maximum = Some(value.as_i64()?),
                "items" => part.items = Some(self.part(value)),
                "required" => part.required = texts(value)?,
                "properties" => {
                    let fields = value.as_object()?.iter();
                    part.fields = fields.map(|(name, schema)| (name.clone(), self.part(schema))).collect();
                    part.fields.sort();
                }
                "additionalProperties" => {
                    part.others = match value {
                        Value::Bool(true) => Others::Any,
                        Value::Bool(false) => Others::None,
                        schema => Others::Fit(self.part(schema)),
                    }
                }
                note if NOTES.contains(&note) => {}
                _ => return None,
            }
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::schema::{Schema, schema};
    use crate::model::Kind;

    #[test]
    fn every_keyword_of_the_schemas_is_known() {
        for kind in Kind::ALL {
            let parts = &schema(kind).fit.parts;
            assert!(parts.len() > 10 && parts.iter().all(|part| !part.is_unknown), "{kind}");
        }
    }

    #[test]
    fn what_is_not_known_fits_nothing() {
        for schema in [
            json!({"pattern": "a"}),
            json!({"type": 1}),
            json!({"items": {"enum": [1]}}),
            json!({"$ref": "#/none"}),
            json!({"$ref": "#/$defs/a", "type": "array", "$defs": {"a": {}}}),
        ] {
            assert!(!Fit::new(&schema).is_sure_of(&json!(["a"])), "{schema}");
        }
        let recursive =
            Fit::new(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}));
        assert!(!recursive.is_sure_of(&json!([1])));
    }

    /// A pod and a preset with every shape that schemas/ knows.
    fn objects() -> [(Kind, Value); 2] {
        let containers = json!([{
            "name": "a", "image": "b", "command": ["c"], "ports": [{"containerPort": 80}],
            "env": [{"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "e"}}}],
            "resources": {"limits": {"cpu": 1, "memory": "1Mi"}},
            "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 3},
            "securityContext": {"privileged": false, "runAsUser": 5},
        }]);
        let metadata = json!({"name": "a", "labels": {"b": "c"}, "creationTimestamp": "2020-01-01T00:00:00Z"});
        let volumes = json!([{"name": "a", "configMap": {"name": "b", "defaultMode": 420}}]);
        let spec = json!({"containers": containers, "volumes": volumes, "hostNetwork": true, "priority": -3});
        let preset = json!({"selector": {"matchLabels": {"a": "b"}}, "env": [{"name": "A", "value": "b"}]});
        [
            (Kind::Pod, json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})),
            (
                Kind::PodPreset,
                json!({"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": metadata,
                    "spec": preset}),
            ),
        ]
    }

    /// Calls `see` with the object once for each of its values, replaced by each of `others`, removed, or with a new field.
    fn changed(object: &Value, see: &mut dyn FnMut(&Value)) {
        let others = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(5_000_000_000_i64),
            json!(u64::MAX),
            json!(1.0),
            json!(1.5),
            json!("text"),
            json!([]),
            json!({}),
            json!(["text"]),
            json!([{}]),
            json!({"a": 1}),
            json!({"name": "a"}),
        ];
        fn pointers(value: &Value, here: &str, all: &mut Vec<String>) {
            all.push(here.to_owned());
            match value {
                Value::Array(items) => {
                    items.iter().enumerate().for_each(|(at, item)| pointers(item, &format!("{here}/{at}"), all));
                }
                Value::Object(map) => {
                    map.iter().for_each(|(key, value)| pointers(value, &format!("{here}/{key}"), all));
                }
                _ => {}
            }
        }
        let mut all = Vec::new();
        pointers(object, "", &mut all);
        for pointer in &all {
            let mut copy = object.clone();
            for other in &others {
                *copy.pointer_mut(pointer).unwrap() = other.clone();
                see(&copy);
            }
            let mut copy = object.clone();
            if let Some(map) = copy.pointer_mut(pointer).and_then(Value::as_object_mut) {
                map.insert("unknown".to_owned(), json!("text"));
                see(&copy);
                for key in map_keys(object, pointer) {
                    let mut copy = object.clone();
                    copy.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap().remove(&key);
                    see(&copy);
                }
            }
        }
    }

    fn map_keys(object: &Value, pointer: &str) -> Vec<String> {
        object.pointer(pointer).and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned().collect()
    }

    #[test]
    fn it_agrees_with_the_library_on_every_changed_object() {
        for (kind, object) in objects() {
            let Schema { fit, .. } = schema(kind);
            let library = jsonschema::validator_for(&schema(kind).document).unwrap();
            assert!(fit.is_sure_of(&object), "{kind}");
            let (mut sure, mut refused) = (0, 0);
            changed(&object, &mut |value| {
                let (ours, theirs) = (fit.is_sure_of(value), library.is_valid(value));
                // 1.0 is a whole number to the library; here nobody is sure.
                let is_spared = value.to_string().contains("1.0") || value.to_string().contains(&u64::MAX.to_string());
                assert!(ours == theirs || (!ours && is_spared), "{kind}: {ours}, {theirs}: {value}");
                sure += usize::from(ours);
                refused += usize::from(!theirs);
            });
            assert!(sure > 20 && refused > 100, "{kind}: {sure}, {refused}");
        }
    }
}
