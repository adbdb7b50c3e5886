//! Whether a value certainly fits a schema: the answer for nearly every object, given in a few comparisons. Compiling a
//! schema for the library that explains what does not fit takes longer than reading a hundred pods.
//!
//! It knows the keywords that schemas/ uses, which a test sees to. What it does not know, or is not sure of, fits nothing:
//! then the library is asked.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};

use super::walk;
use crate::model::Json;

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
    pub(super) fn new(document: &Json<'_>) -> Self {
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
    document: &'d Json<'d>,
    parts: Vec<Part>,
    /// Parts that are referred to; one may be within itself.
    references: HashMap<&'d str, usize>,
}

impl<'d> Compile<'d> {
    fn part(&mut self, schema: &'d Json<'d>) -> usize {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            return self.reference(reference, schema);
        }
        let index = self.parts.len();
        self.parts.push(Part::default());
        self.parts[index] = self.asked(schema).unwrap_or(Part { is_unknown: true, ..Part::default() });
        index
    }

    fn reference(&mut self, reference: &'d str, schema: &'d Json<'d>) -> usize {
        if let Some(known) = self.references.get(reference) {
            return *known;
        }
        let stands_alone = schema.as_object().is_some_and(|members| members.iter().count() == 1);
        let target = reference.strip_prefix("#/").and_then(|pointer| walk::at(self.document, pointer));
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
    fn asked(&mut self, schema: &'d Json<'d>) -> Option<Part> {
        let mut part = Part::default();
        let texts = |value: &Json<'_>| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|text| Some(text.as_str()?.to_owned())).collect()
        };
        for (keyword, value) in schema.as_object()?.iter() {
            match keyword {
                "type" => part.types = value.as_str().map(|one| vec![one.to_owned()]).or_else(|| texts(value))?,
                "const" => part.constant = serde_json::to_value(value).ok(),
                "minimum" => part.minimum = Some(value.as_i64()?),
                "maximum" => part.maximum = Some(value.as_i64()?),
                "items" => part.items = Some(self.part(value)),
                "required" => part.required = texts(value)?,
                "properties" => {
                    let fields = value.as_object()?.iter();
                    part.fields = fields.map(|(name, schema)| (name.to_owned(), self.part(schema))).collect();
                    part.fields.sort();
                }
                "additionalProperties" => {
                    part.others = match value {
                        Json::Bool(true) => Others::Any,
                        Json::Bool(false) => Others::None,
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
    use std::cell::Cell;

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;
    use serde_json::json;

    use super::*;
    use crate::manifest::schema::{Schema, Shape, Walk, schema};
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
            assert!(!Fit::new(&Json::from(&schema)).is_sure_of(&json!(["a"])), "{schema}");
        }
        let recursive = json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}});
        assert!(!Fit::new(&Json::from(&recursive)).is_sure_of(&json!([1])));
    }

    /// Objects with every shape that schemas/ knows, one of each kind.
    fn objects() -> [(Kind, Value); 6] {
        let containers = json!([{
            "name": "a", "image": "b", "command": ["c"], "ports": [{"containerPort": 80}],
            "env": [{"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "e"}}}],
            "resources": {"limits": {"cpu": 1, "memory": "1Mi"}},
            "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 3},
            "securityContext": {"privileged": false, "runAsUser": 5},
        }]);
        let volumes = json!([{"name": "a", "configMap": {"name": "b", "defaultMode": 420}}]);
        let spec = json!({"containers": containers, "volumes": volumes, "hostNetwork": true, "priority": -3});
        let preset = json!({"selector": {"matchLabels": {"a": "b"}}, "env": [{"name": "A", "value": "b"}]});
        let object = |kind: Kind, fields: Value| {
            let metadata = json!({"name": "a", "labels": {"b": "c"}, "creationTimestamp": "2020-01-01T00:00:00Z"});
            let mut value = json!({"apiVersion": kind.api_version(), "kind": kind.as_str(), "metadata": metadata});
            let fields = fields.as_object().into_iter().flatten();
            fields.for_each(|(name, field)| value[name] = field.clone());
            (kind, value)
        };
        [
            object(Kind::Pod, json!({"spec": spec})),
            object(Kind::PodPreset, json!({"spec": preset})),
            object(Kind::ConfigMap, json!({"data": {"a": "b"}, "binaryData": {"c": "ZA=="}, "immutable": true})),
            object(Kind::Secret, json!({"data": {"a": "Yg=="}, "stringData": {"c": "d"}, "type": "Opaque"})),
            object(
                Kind::ServiceAccount,
                json!({"secrets": [{"name": "a"}], "imagePullSecrets": [{"name": "b"}],
                    "automountServiceAccountToken": false}),
            ),
            object(Kind::Namespace, json!({"spec": {"finalizers": ["kubernetes"]}})),
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

    /// 1.0 is a whole number to the library, and there is room for a very large one; here nobody is sure.
    fn is_spared(value: &Value) -> bool {
        let text = value.to_string();
        text.contains("1.0") || text.contains(&u64::MAX.to_string())
    }

    /// A value for a place in a schema: mostly what it asks for, now and then something else.
    fn grown(walk: Walk<'_>, depth: u32) -> BoxedStrategy<Value> {
        let leaf = prop_oneof![
            12 => Just(json!("text")),
            3 => (-3..70_000_i64).prop_map(Value::from),
            2 => any::<bool>().prop_map(Value::from),
            1 => Just(json!(1.5)),
            1 => Just(json!(i64::MAX)),
            1 => Just(Value::Null),
            1 => Just(json!([])),
            1 => Just(json!({})),
        ];
        if depth == 0 {
            return leaf.boxed();
        }
        let made = match walk.shape() {
            Shape::Object => {
                let fields: Vec<(String, Walk<'_>)> =
                    walk.properties().map(|(name, field)| (name.to_owned(), field)).collect();
                // Few of many fields, so that a tree stays small.
                let field = |(name, field): &(String, Walk<'_>)| {
                    let value = prop::option::weighted(4.0 / (fields.len() as f64 + 4.0), grown(*field, depth - 1));
                    value.prop_map({
                        let name = name.clone();
                        move |value| value.map(|value| (name.clone(), value))
                    })
                };
                let fields: Vec<_> = fields.iter().map(field).collect();
                let unknown = prop::option::weighted(0.02, Just(("unknown".to_owned(), json!(1))));
                (fields, unknown)
                    .prop_map(|(fields, unknown)| Value::Object(fields.into_iter().flatten().chain(unknown).collect()))
                    .boxed()
            }
            Shape::Map => {
                let value = walk.values().map_or_else(|| leaf.clone().boxed(), |values| grown(values, depth - 1));
                prop::collection::btree_map("[a-c]", value, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect()))
                    .boxed()
            }
            Shape::List => {
                let item = walk.items().map_or_else(|| leaf.clone().boxed(), |items| grown(items, depth - 1));
                prop::collection::vec(item, 0..3).prop_map(Value::from).boxed()
            }
            Shape::Leaf => return leaf.boxed(),
        };
        prop_oneof![19 => made, 1 => leaf].boxed()
    }

    #[test]
    fn it_agrees_with_the_library_on_grown_trees() {
        for (kind, object) in objects() {
            let (Schema { fit, document, .. }, library) = (schema(kind), schema(kind).validator());
            let settings = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
            let sections = object.as_object().unwrap().keys().cloned();
            let sections = sections.filter(|name| !matches!(name.as_str(), "apiVersion" | "kind"));
            let sections: Vec<String> = sections.collect();
            let (sure, refused) = (Cell::new(0), Cell::new(0));
            for section in &sections {
                let tree = grown(Walk::new(document).property(section).unwrap(), 4);
                let checked = TestRunner::new(settings.clone()).run(&tree, |tree| {
                    let mut value = object.clone();
                    value[section] = tree;
                    let (ours, theirs) = (fit.is_sure_of(&value), library.is_valid(&value));
                    prop_assert!(ours == theirs || (!ours && is_spared(&value)), "{kind}: {ours}, {theirs}: {value}");
                    sure.set(sure.get() + usize::from(ours));
                    refused.set(refused.get() + usize::from(!theirs));
                    Ok(())
                });
                checked.unwrap();
            }
            assert!(sure.get() > 20 && refused.get() > 20, "{kind}: {} fit, {} do not", sure.get(), refused.get());
        }
    }

    #[test]
    fn it_agrees_with_the_library_on_every_changed_object() {
        for (kind, object) in objects() {
            let (Schema { fit, .. }, library) = (schema(kind), schema(kind).validator());
            assert!(fit.is_sure_of(&object), "{kind}");
            let (mut sure, mut refused) = (0, 0);
            changed(&object, &mut |value| {
                let (ours, theirs) = (fit.is_sure_of(value), library.is_valid(value));
                assert!(ours == theirs || (!ours && is_spared(value)), "{kind}: {ours}, {theirs}: {value}");
                sure += usize::from(ours);
                refused += usize::from(!theirs);
            });
            assert!(sure > 10 && refused > 100, "{kind}: {sure}, {refused}");
        }
    }
}
