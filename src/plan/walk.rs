//! The walk through two states of a pod: every field that differs, with what it takes and what is behind it.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::quantities;
use super::resize::Resize;
use super::rules::{self, Advice, Rule, covers};
use crate::model::{
    APPLIED_PRESET_PREFIX, AdmittedPod, Cause, EXCLUDE_PRESETS, FieldChange, Json, Origin, Packed, Verb,
};

/// The text of the advice for entries that merely changed places.
const ORDER: &str = "nothing but the order differs: the order of before needs no new pod";
/// The same where entries differ besides, in place.
const ORDER_TOO: &str = "the order differs, too: in the order of before the rest needs no new pod";

/// Every field that differs, in the order of a pod's fields.
pub(super) fn differences(realised: &AdmittedPod, target: &AdmittedPod) -> Vec<FieldChange> {
    let mut values = [&realised.spec, &target.spec, &realised.effective, &target.effective].map(Packed::json);
    values[2..].iter_mut().for_each(quantities::in_one_notation);
    let mut walk = Walk { pods: [realised, target], resize: OnceCell::new(), found: Vec::new() };
    let [a, b, c, d] = &values;
    for part in ["metadata", "spec"] {
        let (spec, effective) = ([a.get(part), b.get(part)], [c.get(part), d.get(part)]);
        if !says_the_same(spec, effective) {
            walk.visit(Node { spec, effective, path: Path::root(part), cause: None });
        }
    }
    walk.found
}

/// One field in its three spellings.
#[derive(Clone)]
struct Path {
    /// For people: list entries by their key, containers by index.
    shown: String,
    /// For the table: without keys and indexes.
    rule: String,
    /// For provenance: by index, before and after.
    indexed: [String; 2],
    /// The container it is in.
    container: Option<String>,
}

impl Path {
    fn root(name: &str) -> Self {
        Self { shown: name.into(), rule: name.into(), indexed: [name.into(), name.into()], container: None }
    }

    fn member(&self, name: &str) -> Self {
        self.extended(&format!(".{name}"), &format!(".{name}"), [Some(format!(".{name}")), Some(format!(".{name}"))])
    }

    /// An entry of a map, such as a label.
    fn key(&self, key: &str) -> Self {
        self.extended(&format!("[{key}]"), "[]", [Some(format!("[{key}]")), Some(format!("[{key}]"))])
    }

    /// An entry of a list, at its index on either side.
    fn item(&self, shown: &str, rule: &str, at: [Option<usize>; 2]) -> Self {
        self.extended(&format!("[{shown}]"), &format!("[{rule}]"), at.map(|at| at.map(|index| format!("[{index}]"))))
    }

    /// Where a side has no such field it has no path either.
    fn extended(&self, shown: &str, rule: &str, indexed: [Option<String>; 2]) -> Self {
        let [before, after] = indexed;
        let add = |base: &str, part: Option<String>| part.map(|part| format!("{base}{part}")).unwrap_or_default();
        Self {
            shown: format!("{}{shown}", self.shown),
            rule: format!("{}{rule}", self.rule),
            indexed: [add(&self.indexed[0], before), add(&self.indexed[1], after)],
            container: self.container.clone(),
        }
    }

    /// The last member of the path.
    fn field(&self) -> &str {
        self.rule.rsplit('.').next().unwrap_or_default()
    }
}

/// A field on all sides; each pair is before and after.
#[derive(Clone)]
struct Node<'a> {
    spec: [Option<&'a Json<'a>>; 2],
    effective: [Option<&'a Json<'a>>; 2],
    path: Path,
    /// What is behind it, where that follows from more than the field itself.
    cause: Option<Cause>,
}

impl<'a> Node<'a> {
    fn lists(&self) -> [&'a [Json<'a>]; 2] {
        self.spec.map(|list| list.and_then(Json::as_array).unwrap_or_default())
    }
}

struct Walk<'a> {
    pods: [&'a AdmittedPod; 2],
    /// Made when the first amount differs.
    resize: OnceCell<Resize>,
    found: Vec<FieldChange>,
}

/// How the entries of a list are told apart.
fn list_key(field: &str) -> Option<&'static str> {
    match field {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        _ => None,
    }
}

fn is_map(field: &str) -> bool {
    ["labels", "annotations", "nodeSelector"].contains(&field)
}

/// Whether these are amounts of a container: each is told on its own, even where there were none.
fn are_amounts(path: &Path) -> bool {
    path.container.is_some() && ["resources", "limits", "requests"].contains(&path.field())
}

impl<'a> Walk<'a> {
    /// Looks into what differs. Nearly all fields do not, so nobody writes the path of one before that is known.
    fn visit(&mut self, node: Node<'a>) {
        let field = node.path.field();
        let is = |test: fn(&Json<'_>) -> bool| node.spec.iter().flatten().all(|v| test(v));
        let both = node.spec.iter().all(Option::is_some);
        if rules::is_judged_whole(&node.path.rule) {
            self.report(&node, None);
        } else if is_map(field) || are_amounts(&node.path) || (both && is(|v| v.is_object())) {
            self.visit_members(&node);
        } else if let Some(keys) = keys_of(&node) {
            self.visit_list(&node, &keys);
        } else if is(is_list_of_objects) && (both || field == "envFrom") {
            // Presets add to envFrom, so its entries are told one by one even where there were none.
            self.visit_by_index(&node);
        } else {
            self.report(&node, None);
        }
    }

    fn visit_members(&mut self, node: &Node<'a>) {
        let members = node.spec.iter().flatten().filter_map(|v| v.as_object());
        let mut names: Vec<&str> = members.flat_map(|members| members.iter().map(|(name, _)| name)).collect();
        names.sort();
        names.dedup();
        let map = is_map(node.path.field());
        for name in names {
            let member = |v: Option<&'a Json<'a>>| v.and_then(|v| v.get(name));
            let (spec, effective) = (node.spec.map(member), node.effective.map(member));
            if !says_the_same(spec, effective) {
                let path = if map { node.path.key(name) } else { node.path.member(name) };
                self.visit(Node { spec, effective, path, cause: node.cause.clone() });
            }
        }
    }

    fn visit_list(&mut self, node: &Node<'a>, keys: &Keys<'a>) {
        let containers = node.path.rule.ends_with("ontainers");
        let found = self.found.len();
        let effective = node.effective.map(|list| by_key(list, keys.field));
        let new = keys.names[1].iter().filter(|name| !keys.index[0].contains_key(*name));
        for name in keys.names[0].iter().chain(new) {
            let spec = [0, 1].map(|side| {
                let index = *keys.index[side].get(name)?;
                Some((index, node.lists()[side].get(index)?))
            });
            let at = spec.map(|entry| entry.map(|(index, _)| index));
            let spec = spec.map(|entry| entry.map(|(_, value)| value));
            let effective = [0, 1].map(|side| effective[side].get(name).copied());
            if says_the_same(spec, effective) {
                continue;
            }
            let shown = match at[1].or(at[0]) {
                Some(index) if containers => index.to_string(),
                _ => (*name).to_owned(),
            };
            let sidecar = containers && spec[1].and_then(|c| c.get("restartPolicy")?.as_str()) == Some("Always");
            let rule = if sidecar && node.path.rule.ends_with("initContainers") { "sidecar" } else { "" };
            let mut path = node.path.item(&shown, rule, at);
            if containers {
                path.container = Some((*name).to_owned());
            }
            self.visit(Node { spec, effective, path, cause: node.cause.clone() });
        }
        self.visit_order(node, keys, found);
    }

    /// The order counts by itself, unless an entry that differs needs a new pod already; of those that come and go all do.
    fn visit_order(&mut self, node: &Node<'a>, keys: &Keys<'a>, found: usize) {
        let entries = &self.found[found..];
        let moved = keys.names[0].iter().zip(&keys.names[1]).position(|(before, after)| before != after);
        let Some(index) = moved.filter(|_| entries.iter().all(|change| change.effect < Verb::Recreate)) else { return };
        let instead = if entries.is_empty() { ORDER } else { ORDER_TOO };
        let cause = self.behind(node).at(index).or_else(|| node.cause.clone());
        self.report(&Node { cause, ..node.clone() }, Some(instead));
    }

    fn visit_by_index(&mut self, node: &Node<'a>) {
        let length = node.lists().map(<[Json<'_>]>::len).into_iter().max().unwrap_or(0);
        let behind = self.behind(node);
        for index in 0..length {
            let item = |v: Option<&'a Json<'a>>| v.and_then(|v| v.item(index));
            let (spec, effective) = (node.spec.map(item), node.effective.map(item));
            if !says_the_same(spec, effective) {
                let path = node.path.item(&index.to_string(), "", spec.map(|v| v.map(|_| index)));
                let cause = behind.at(index).or_else(|| node.cause.clone());
                self.visit(Node { spec, effective, path, cause });
            }
        }
    }

    fn behind(&self, node: &Node<'a>) -> Behind<'a> {
        let sides = [0, 1].map(|side| {
            let preset = |at| self.preset(side, &format!("{}[{at}]", node.path.indexed[side]));
            node.lists()[side].iter().enumerate().map(|(at, entry)| (preset(at), entry)).collect()
        });
        Behind::new(sides)
    }

    fn report(&mut self, node: &Node<'a>, instead: Option<&str>) {
        let path = &node.path;
        let (effect, advice) = self.effect(node);
        let cause = node.cause.clone().unwrap_or_else(|| self.cause(node));
        let note = if let Advice::Note(text) = advice { Some(text.to_owned()) } else { None };
        let compact = |value: Option<&Json<'_>>| value.map(Json::to_string);
        self.found.push(FieldChange {
            field: path.shown.clone(),
            before: compact(node.spec[0]),
            after: compact(node.spec[1]),
            effect,
            avoidable: self.avoidable(effect, &cause, instead, advice),
            cause,
            container: path.container.clone(),
            note,
        });
    }

    /// What the difference takes by itself.
    fn effect(&self, node: &Node<'_>) -> (Verb, Advice) {
        let (rule, advice) = rules::row(&node.path.rule);
        let [before, after] = node.effective;
        match rule {
            Rule::Always(effect) => (effect, advice),
            Rule::By(decide) => (decide(before, after), advice),
            Rule::Resize => {
                let resize = self.resize.get_or_init(|| Resize::new(self.pods[0], self.pods[1]));
                resize.judge(&node.path.rule, node.path.container.as_deref(), after.is_none())
            }
        }
    }

    /// How a restart or recreation could be avoided.
    fn avoidable(&self, effect: Verb, cause: &Cause, instead: Option<&str>, advice: Advice) -> Option<String> {
        if effect == Verb::UpdateInPlace {
            return None;
        }
        match (cause, instead, advice) {
            // What a preset has merged already would go with the annotation: that is a recreation, too.
            (Cause::Preset { .. }, _, _) => self.pods[0].applied.is_empty().then(keep_presets_off),
            (_, Some(text), _) | (_, None, Advice::Instead(text)) => Some(text.to_owned()),
            (_, None, Advice::Nothing | Advice::Note(_)) => None,
        }
    }

    /// What is behind a difference: the preset that provides the new value, or provided the old one when there is no new.
    fn cause(&self, node: &Node<'_>) -> Cause {
        let side = usize::from(node.spec[1].is_some());
        let preset = self.preset(side, &node.path.indexed[side]);
        preset.map_or(Cause::Manifest, |name| Cause::Preset { name: name.to_owned() })
    }

    /// The preset that provides a field on one side, or whose mark an annotation is.
    fn preset(&self, side: usize, field: &str) -> Option<&'a str> {
        let pod = self.pods[side];
        let annotation = field.strip_prefix("metadata.annotations[").and_then(|rest| rest.strip_suffix(']'));
        let marks = annotation.and_then(|annotation| annotation.strip_prefix(APPLIED_PRESET_PREFIX));
        if let Some(applied) = pod.applied.iter().find(|applied| marks == Some(&applied.name)) {
            return Some(&applied.name);
        }
        pod.provenance.iter().find_map(|origin| match &origin.origin {
            Origin::Preset { name, .. } if covers(&origin.field, field) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// The advice for what a preset adds to a pod that has none yet.
fn keep_presets_off() -> String {
    format!("the annotation {EXCLUDE_PRESETS}: \"true\" on the pod keeps presets off")
}

/// An entry of a list with the preset that added it.
type Entry<'a> = (Option<&'a str>, &'a Json<'a>);

/// Two lists whose entries only have a place, before and after.
struct Behind<'a> {
    sides: [Vec<Entry<'a>>; 2],
    /// Whether what presets added is the same on both sides, and whether what the author wrote is.
    merged_same: bool,
    authored_same: bool,
}

impl<'a> Behind<'a> {
    fn new(sides: [Vec<Entry<'a>>; 2]) -> Self {
        let same = |merged: bool| {
            let of = |side: &'_ Vec<Entry<'a>>| -> Vec<Entry<'a>> {
                side.iter().filter(|(preset, _)| preset.is_some() == merged).copied().collect()
            };
            of(&sides[0]) == of(&sides[1])
        };
        Self { merged_same: same(true), authored_same: same(false), sides }
    }

    /// What is behind a difference at `index`. Presets and the author both add to such a list: when one of them has the
    /// same entries as before, the other is behind it; when both changed theirs, the entry itself has to tell.
    fn at(&self, index: usize) -> Option<Cause> {
        if self.merged_same {
            return Some(Cause::Manifest);
        }
        let here = |side: usize| self.sides[side].get(index).and_then(|(preset, _)| *preset);
        let name = here(1).or(here(0)).filter(|_| self.authored_same)?;
        Some(Cause::Preset { name: name.to_owned() })
    }
}

fn is_list_of_objects(value: &Json<'_>) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Json::is_object))
}

/// The keys of a list before and after: in order, and where each stands.
struct Keys<'a> {
    field: &'static str,
    names: [Vec<&'a str>; 2],
    index: [BTreeMap<&'a str, usize>; 2],
}

/// The keys, if every entry has one and none has it twice: then the entries can be told apart.
fn keys_of<'a>(node: &Node<'a>) -> Option<Keys<'a>> {
    let field = list_key(node.path.field())?;
    let mut keys = Keys { field, names: Default::default(), index: Default::default() };
    for (side, list) in node.lists().into_iter().enumerate() {
        for (at, item) in list.iter().enumerate() {
            let name = item.get(field)?.as_str()?;
            keys.names[side].push(name);
            if keys.index[side].insert(name, at).is_some() {
                return None;
            }
        }
    }
    Some(keys)
}

fn by_key<'a>(list: Option<&'a Json<'a>>, key: &str) -> BTreeMap<&'a str, &'a Json<'a>> {
    let items = list.and_then(Json::as_array).into_iter().flatten();
    items.filter_map(|item| Some((item.get(key)?.as_str()?, item))).collect()
}

/// Whether nothing differs in what was written, or the defaults level it out.
fn says_the_same(spec: [Option<&Json<'_>>; 2], effective: [Option<&Json<'_>>; 2]) -> bool {
    same(spec[0], spec[1]) || same(effective[0], effective[1])
}

/// Equality as the API sees it: a missing member, null and an empty list are the same.
fn same(a: Option<&Json<'_>>, b: Option<&Json<'_>>) -> bool {
    let empty = |v: Option<&Json<'_>>| v.is_none_or(|v| *v == Json::Null || v.as_array().is_some_and(<[_]>::is_empty));
    match (a, b) {
        (Some(Json::Object(a)), Some(Json::Object(b))) => {
            a.iter().all(|(key, value)| same(Some(value), b.get(key)))
                && b.iter().all(|(key, value)| a.get(key).is_some() || same(None, Some(value)))
        }
        (Some(Json::Array(a)), Some(Json::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (a, b) => a == b || (empty(a) && empty(b)),
    }
}
