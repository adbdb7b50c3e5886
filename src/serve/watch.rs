//! Watches: the differences between one view of the projection and the next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::selector::{FieldSelector, LabelSelector};
use crate::model::{Projection, Served};
use crate::report::{Listed, event_object};

/// How many projections are remembered for clients that resume a watch.
const REMEMBERED: usize = 128;

/// Which objects a request is about.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub listed: Listed,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

/// Objects by namespace and name.
pub(super) type View = BTreeMap<(String, String), Arc<Value>>;

impl Selection {
    /// The objects of a projection it is about, for somebody who looks again: they are kept as JSON.
    pub fn view(&self, projection: &Projection) -> View {
        self.view_by(projection, |value| Arc::clone(value))
    }

    /// The same for somebody who looks once.
    pub fn view_once(&self, projection: &Projection) -> View {
        self.view_by(projection, Served::once)
    }

    fn view_by(&self, projection: &Projection, json: impl Fn(&Served) -> Arc<Value>) -> View {
        let all: Vec<Arc<Value>> = match self.listed {
            Listed::Kind(kind) => {
                let of_kind = projection.objects.iter().filter(|(key, _)| key.kind == kind);
                // What nobody asks for is not made.
                of_kind.filter(|(k, _)| self.names(&k.namespace, &k.name)).map(|(_, p)| json(&p.value)).collect()
            }
            Listed::Event => {
                let newest = projection.resource_version;
                let node = projection.node.as_ref().map(|node| node.value.once());
                let node = node.as_ref().and_then(|node| node["metadata"]["name"].as_str()).unwrap_or_default();
                projection.events.iter().map(|e| Arc::new(event_object(e, newest, node))).collect()
            }
            Listed::Node => projection.node.iter().map(|n| json(&n.value)).collect(),
        };
        all.into_iter()
            .filter(|object| self.labels.matches(object) && self.fields.matches(object))
            .map(|object| {
                let text = |member: &str| object["metadata"][member].as_str().unwrap_or_default().to_owned();
                ((text("namespace"), text("name")), object)
            })
            .filter(|((namespace, name), _)| self.names(namespace, name))
            .collect()
    }

    fn names(&self, namespace: &str, name: &str) -> bool {
        self.namespace.as_ref().is_none_or(|n| n == namespace) && self.name.as_ref().is_none_or(|n| n == name)
    }
}

/// What changed from one view to the next: `ADDED`, `MODIFIED` and `DELETED`, deletions first. A deleted object carries
/// `version`, the one it is gone at.
pub(super) fn changes(old: &View, new: &View, version: u64) -> Vec<(&'static str, Arc<Value>)> {
    let mut out = Vec::new();
    for (key, object) in old {
        let uid = &object["metadata"]["uid"];
        if new.get(key).is_none_or(|n| n["metadata"]["uid"] != *uid) {
            let mut last = (**object).clone();
            last["metadata"]["resourceVersion"] = Value::String(version.to_string());
            out.push(("DELETED", Arc::new(last)));
        }
    }
    for (key, object) in new {
        match old.get(key) {
            Some(before) if before["metadata"]["uid"] != object["metadata"]["uid"] => {
                out.push(("ADDED", object.clone()))
            }
            Some(before) if Arc::ptr_eq(before, object) || before == object => {}
            Some(_) => out.push(("MODIFIED", object.clone())),
            None => out.push(("ADDED", object.clone())),
        }
    }
    out
}

/// The projections clients have seen, so that a watch can go on from a version they name.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Arc<Projection>>);

impl History {
    /// Remembers a projection that is about to be shown.
    pub fn note(&mut self, projection: &Arc<Projection>) {
        if self.0.back().is_some_and(|last| last.resource_version >= projection.resource_version) {
            return;
        }
        self.0.push_back(projection.clone());
        while self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// The state at a version, or the oldest version there is.
    pub fn at(&self, version: u64) -> Result<Arc<Projection>, u64> {
        let newest = self.0.back().map_or(0, |p| p.resource_version);
        let found = self.0.iter().rev().find(|p| p.resource_version <= version);
        match found {
            Some(projection) if version <= newest => Ok(projection.clone()),
            _ => Err(self.0.front().map_or(0, |p| p.resource_version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::model::{Kind, MadeOf, PodKey, Projected};

    fn view(objects: &[(&str, &str, u32)]) -> View {
        let object = |(name, uid, n): &(&str, &str, u32)| {
            let value = json!({"metadata": {"name": name, "uid": uid}, "n": n});
            (("ns".to_owned(), (*name).to_owned()), Arc::new(value))
        };
        objects.iter().map(object).collect()
    }

    #[test]
    fn changes_are_told_once_each_and_a_new_uid_is_a_new_object() {
        let old = view(&[("gone", "1", 0), ("same", "2", 0), ("changed", "3", 0), ("again", "4", 0)]);
        let new = view(&[("same", "2", 0), ("changed", "3", 1), ("again", "5", 0), ("fresh", "6", 0)]);
        let told: Vec<String> = changes(&old, &new, 9)
            .iter()
            .map(|(kind, o)| format!("{kind} {} {}", o["metadata"]["name"], o["metadata"]["uid"]).replace('"', ""))
            .collect();
        assert_eq!(told, ["DELETED again 4", "DELETED gone 1", "ADDED again 5", "MODIFIED changed 3", "ADDED fresh 6"]);
        assert!(changes(&new, &new, 9).is_empty());
    }

    #[test]
    fn only_what_is_asked_for_is_made_and_only_a_watch_keeps_it() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let object = |name: &str| {
            let key = PodKey::new("ns", name).object();
            let json = json!({"metadata": {"namespace": "ns", "name": name}});
            let value = Served::when_asked(move || {
                MADE.fetch_add(1, Ordering::Relaxed);
                json.clone()
            });
            (key, Projected { value, resource_version: 1, made_of: MadeOf::Own })
        };
        let objects = Arc::new(["a", "b", "c"].map(object).into());
        let projection = Projection { objects, ..Projection::default() };
        let selection = Selection {
            listed: Listed::Kind(Kind::Pod),
            namespace: Some("ns".to_owned()),
            name: Some("b".to_owned()),
            labels: LabelSelector::default(),
            fields: FieldSelector::default(),
        };
        let looks = |view: &dyn Fn() -> View| {
            assert_eq!(view().len(), 1);
            view();
            MADE.swap(0, Ordering::Relaxed)
        };
        assert_eq!(looks(&|| selection.view_once(&projection)), 2);
        assert_eq!(looks(&|| selection.view(&projection)), 1);
        assert_eq!(looks(&|| selection.view_once(&projection)), 0);
    }

    #[test]
    fn a_version_out_of_reach_is_expired() {
        let mut history = History::default();
        for version in [10, 20, 30] {
            history.note(&Arc::new(Projection { resource_version: version, ..Projection::default() }));
        }
        assert_eq!(history.at(20).unwrap().resource_version, 20);
        assert_eq!(history.at(25).unwrap().resource_version, 20);
        assert_eq!(history.at(30).unwrap().resource_version, 30);
        assert_eq!(history.at(9).unwrap_err(), 10);
        assert_eq!(history.at(31).unwrap_err(), 10);
    }
}
