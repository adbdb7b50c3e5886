//! Walking a schema by field names.

use crate::model::{Json, Members};

/// A place in a schema document. References are followed.
#[derive(Clone, Copy)]
pub(in crate::manifest) struct Walk<'a> {
    root: &'a Json<'a>,
    here: &'a Json<'a>,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manifest) enum Shape {
    /// Fields with names of their own.
    Object,
    /// Keys of the author's choice.
    Map,
    List,
    Leaf,
}

/// Where a reference leads, as in `$defs/name`.
pub(super) fn at<'d>(document: &'d Json<'d>, pointer: &str) -> Option<&'d Json<'d>> {
    pointer.split('/').try_fold(document, Json::get)
}

impl<'a> Walk<'a> {
    pub(in crate::manifest) fn new(root: &'a Json<'a>) -> Self {
        Self { root, here: root }.resolved()
    }

    fn resolved(self) -> Self {
        let mut here = self.here;
        while let Some(reference) = here.get("$ref").and_then(Json::as_str) {
            match reference.strip_prefix("#/").and_then(|pointer| at(self.root, pointer)) {
                Some(target) => here = target,
                None => break,
            }
        }
        Self { here, ..self }
    }

    fn to(self, here: &'a Json<'a>) -> Self {
        Self { here, ..self }.resolved()
    }

    /// The fields of an object, none for anything else.
    pub(in crate::manifest) fn properties(self) -> impl Iterator<Item = (&'a str, Walk<'a>)> {
        let fields = self.here.get("properties").and_then(Json::as_object);
        fields.into_iter().flat_map(Members::iter).map(move |(name, schema)| (name, self.to(schema)))
    }

    /// The field `name` of an object.
    pub(in crate::manifest) fn property(self, name: &str) -> Option<Walk<'a>> {
        self.here.get("properties").and_then(|fields| fields.get(name)).map(|schema| self.to(schema))
    }

    /// The field `name` of an object, or the value of a map.
    pub(in crate::manifest) fn field(self, name: &str) -> Option<Walk<'a>> {
        self.property(name).or_else(|| self.values())
    }

    /// What the values of a map are.
    pub(in crate::manifest) fn values(self) -> Option<Walk<'a>> {
        self.here.get("additionalProperties").filter(|schema| schema.is_object()).map(|schema| self.to(schema))
    }

    /// What the items of a list are.
    pub(in crate::manifest) fn items(self) -> Option<Walk<'a>> {
        self.here.get("items").map(|schema| self.to(schema))
    }

    /// The schema of what stands at a place of the object.
    pub(in crate::manifest) fn at(self, mut segments: impl Iterator<Item: AsRef<str>>) -> Option<Walk<'a>> {
        segments.try_fold(
            self,
            |walk, segment| {
                if walk.shape() == Shape::List { walk.items() } else { walk.field(segment.as_ref()) }
            },
        )
    }

    pub(in crate::manifest) fn shape(self) -> Shape {
        if self.here.get("properties").is_some() {
            Shape::Object
        } else if self.here.get("items").is_some() {
            Shape::List
        } else if self.values().is_some() {
            Shape::Map
        } else {
            Shape::Leaf
        }
    }

    /// What the schema wants, in words.
    pub(in crate::manifest) fn wanted(self) -> &'static str {
        let types: Vec<&str> = match self.here.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
            _ => vec![],
        };
        match types.as_slice() {
            ["string"] => "text",
            ["integer"] => "a whole number",
            ["number"] => "a number",
            ["boolean"] => "true or false",
            ["array"] => "a list",
            ["object"] => "a mapping",
            ["string", "number"] => "a number or text",
            _ => "another type",
        }
    }
}
