//! The strict JSON Schemas of the kinds, and what an object has against its own.

mod explain;
mod fit;
mod suggest;
mod walk;

use std::sync::{LazyLock, OnceLock};

use jsonschema::Validator;
use serde_json::Value;

use self::fit::Fit;
use super::problem::Finding;
use crate::model::{Json, Kind};

pub(super) use walk::{Shape, Walk};

/// A kind's schema, as a document to walk, and to check by.
struct Schema {
    text: &'static str,
    document: Json<'static>,
    fit: Fit,
    /// Compiled for the first object that does not fit for certain.
    validator: OnceLock<Validator>,
}

impl Schema {
    fn new(text: &'static str) -> Self {
        let document = Json::read(text).expect("invariant: schemas/ holds JSON");
        let fit = Fit::new(&document);
        Self { text, document, fit, validator: OnceLock::new() }
    }

    fn validator(&self) -> &Validator {
        let compile = || {
            let document: Value = serde_json::from_str(self.text).expect("invariant: schemas/ holds JSON");
            jsonschema::validator_for(&document).expect("invariant: schemas/ holds JSON Schemas")
        };
        self.validator.get_or_init(compile)
    }
}

fn schema(kind: Kind) -> &'static Schema {
    static NAMESPACE: LazyLock<Schema> = LazyLock::new(|| Schema::new(include_str!("../../../schemas/namespace.json")));
    static SERVICE_ACCOUNT: LazyLock<Schema> =
        LazyLock::new(|| Schema::new(include_str!("../../../schemas/serviceaccount.json")));
    static CONFIG_MAP: LazyLock<Schema> =
        LazyLock::new(|| Schema::new(include_str!("../../../schemas/configmap.json")));
    static SECRET: LazyLock<Schema> = LazyLock::new(|| Schema::new(include_str!("../../../schemas/secret.json")));
    static POD_PRESET: LazyLock<Schema> =
        LazyLock::new(|| Schema::new(include_str!("../../../schemas/podpreset.json")));
    static POD: LazyLock<Schema> = LazyLock::new(|| Schema::new(include_str!("../../../schemas/pod.json")));
    match kind {
        Kind::Namespace => &NAMESPACE,
        Kind::ServiceAccount => &SERVICE_ACCOUNT,
        Kind::ConfigMap => &CONFIG_MAP,
        Kind::Secret => &SECRET,
        Kind::PodPreset => &POD_PRESET,
        // No manifest is of a machine: it never gets here.
        Kind::Pod | Kind::Node => &POD,
    }
}

/// Reads a kind's schema, if nobody has yet.
pub(super) fn prepare(kind: Kind) {
    schema(kind);
}

/// The fields a kind has, to be walked.
pub(super) fn walk(kind: Kind) -> Walk<'static> {
    Walk::new(&schema(kind).document)
}

/// Everything an object has against its kind's schema.
pub(super) fn check(kind: Kind, object: &Value) -> Vec<Finding> {
    let schema = schema(kind);
    if schema.fit.is_sure_of(object) {
        return vec![];
    }
    let walk = Walk::new(&schema.document);
    // A Secret's values never stand in a message.
    let explain = explain::Explain { walk, object, quotes: kind != Kind::Secret };
    schema.validator().iter_errors(object).flat_map(|error| explain.findings(&error)).collect()
}
