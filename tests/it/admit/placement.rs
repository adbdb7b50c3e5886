//! Placement as scheduler and kubelet decide it.

use std::sync::Arc;

use podwright::admit::{Admitter, admit_on, admit_what_can_be};
use podwright::model::{AdmittedPod, NodeInfo, Outcome, PodKey, Taint, Unmet};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{desired, pod_of};

const PENDING: &str = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes \
                       are available: 1 Preemption is not helpful for scheduling.";
const PINNED: &str = "0/1 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. preemption: 0/1 nodes are \
                      available: 1 Preemption is not helpful for scheduling.";
const TAINTED: &str = "0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: 0/1 nodes are available: 1 \
                       Preemption is not helpful for scheduling.";
const REJECTED: &str =
    "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";

const REFUSED: &str =
    "Pod was rejected: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";

pub(crate) fn taint(key: &str, value: Option<&str>, effect: &str) -> Taint {
    Taint { key: key.into(), value: value.map(str::to_owned), effect: effect.into() }
}

/// `edge-1` with `disktype=ssd`, `slots=5` and an empty label `bare`.
pub(crate) fn edge() -> NodeInfo {
    let labels = [("disktype", "ssd"), ("slots", "5"), ("bare", "")];
    NodeInfo {
        name: "edge-1".into(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..NodeInfo::default()
    }
}

fn with_taints(taints: &[Taint]) -> NodeInfo {
    NodeInfo { taints: taints.to_vec(), ..edge() }
}

pub(crate) fn pod(spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

pub(crate) fn placed(pod: &Value, node: &NodeInfo) -> Arc<AdmittedPod> {
    let admitted = admit_on(&desired(std::slice::from_ref(pod)), Some(node)).unwrap();
    assert!(!admitted.is_untold);
    pod_of(&admitted, "default", "p")
}

/// The required affinity with these terms.
pub(crate) fn terms(terms: Value) -> Value {
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
}

fn label(key: &str, operator: &str, values: &[&str]) -> Value {
    terms(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
}

fn name(operator: &str, values: &[&str]) -> Value {
    json!({"key": "metadata.name", "operator": operator, "values": values})
}

fn tolerations(all: Value) -> Value {
    json!({"tolerations": all})
}

/// What became of a pod: nothing, or the message it has.
fn told(pod: &AdmittedPod) -> &str {
    pod.unplaced.as_ref().map_or("", |unplaced| unplaced.message.as_str())
}

const AWAY: &str = "`nodeName` is edge-2, this machine is edge-1";

/// A spec with a `nodeName`.
fn named(name: &str, mut spec: Value) -> Value {
    spec["nodeName"] = json!(name);
    spec
}

/// A spec with a `nodeSelector`.
fn selecting(selector: Value, mut spec: Value) -> Value {
    spec["nodeSelector"] = selector;
    spec
}

fn of_names_and_selectors() -> Vec<(Value, &'static str)> {
    let [ssd, hdd] = ["ssd", "hdd"].map(|kind| json!({"nodeSelector": {"disktype": kind}}));
    vec![
        (json!({}), ""),
        (named("", json!({})), ""),
        (named("edge-1", json!({})), ""),
        (named("edge-2", json!({})), AWAY),
        (named("edge-1", ssd.clone()), ""),
        (named("edge-1", hdd.clone()), REJECTED),
        (named("edge-2", hdd.clone()), AWAY),
        (named("edge-1", label("disktype", "DoesNotExist", &[])), REJECTED),
        (ssd, ""),
        (hdd, PENDING),
        (selecting(json!({}), json!({})), ""),
        (selecting(json!({"bare": ""}), json!({})), ""),
        (selecting(json!({"no": ""}), json!({})), PENDING),
        (selecting(json!({"disktype": "ssd", "slots": "6"}), json!({})), PENDING),
        // A selector and terms hold together.
        (selecting(json!({"no": "x"}), label("disktype", "Exists", &[])), PENDING),
        (selecting(json!({"disktype": "ssd"}), label("no", "Exists", &[])), PENDING),
        (selecting(json!({"disktype": "ssd"}), label("slots", "Exists", &[])), ""),
    ]
}

fn of_operators() -> Vec<(Value, &'static str)> {
    vec![
        (label("disktype", "In", &["hdd", "ssd"]), ""),
        (label("disktype", "In", &["hdd"]), PENDING),
        (label("no", "In", &[""]), PENDING),
        (label("disktype", "NotIn", &["hdd"]), ""),
        (label("disktype", "NotIn", &["ssd", "hdd"]), PENDING),
        (label("no", "NotIn", &["ssd"]), ""),
        (label("bare", "Exists", &[]), ""),
        (label("no", "Exists", &[]), PENDING),
        (label("no", "DoesNotExist", &[]), ""),
        (label("bare", "DoesNotExist", &[]), PENDING),
        (label("slots", "Gt", &["4"]), ""),
        (label("slots", "Gt", &["5"]), PENDING),
        (label("slots", "Lt", &["6"]), ""),
        (label("slots", "Lt", &["5"]), PENDING),
        (label("slots", "Gt", &["x"]), PENDING),
        (label("disktype", "Gt", &["4"]), PENDING),
        (label("no", "Lt", &["4"]), PENDING),
        (label("slots", "Near", &["5"]), PENDING),
    ]
}

/// Expressions hold together, terms are alternatives, an empty one matches nothing.
fn of_terms() -> Vec<(Value, &'static str)> {
    let expression = |key: &str, operator: &str| json!({"key": key, "operator": operator, "values": ["5"]});
    let exists = |key: &str| json!({"key": key, "operator": "Exists"});
    let labels = |all: &[Value]| json!({"matchExpressions": all});
    let fields = |all: &[Value]| json!({"matchFields": all});
    let unknown = json!({"key": "no", "operator": "In", "values": ["edge-1"]});
    let preferred = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [exists("no")]}}]}}});
    vec![
        (terms(json!([labels(&[exists("disktype"), expression("slots", "In")])])), ""),
        (terms(json!([labels(&[exists("disktype"), expression("slots", "NotIn")])])), PENDING),
        (terms(json!([])), PENDING),
        (terms(json!([{}])), PENDING),
        (terms(json!([{"matchExpressions": [], "matchFields": []}])), PENDING),
        (terms(json!([{}, labels(&[exists("disktype")])])), ""),
        (terms(json!([labels(&[exists("no")]), labels(&[exists("disktype")])])), ""),
        (terms(json!([fields(&[name("In", &["edge-1"])])])), ""),
        (terms(json!([fields(&[name("In", &["edge-2"])])])), PINNED),
        (terms(json!([fields(&[name("In", &["edge-2"]), name("In", &["edge-1"])])])), PINNED),
        (terms(json!([fields(&[name("In", &["edge-2"])]), fields(&[name("In", &["edge-1"])])])), ""),
        (terms(json!([fields(&[name("In", &["edge-2"])]), fields(&[name("NotIn", &["edge-1"])])])), PENDING),
        (terms(json!([fields(&[name("NotIn", &["edge-1"])])])), PENDING),
        (terms(json!([fields(&[name("NotIn", &["edge-2"])])])), ""),
        (terms(json!([fields(&[unknown])])), PENDING),
        (terms(json!([{"matchFields": [name("In", &["edge-1"])], "matchExpressions": [exists("no")]}])), PENDING),
        (named("edge-1", terms(json!([fields(&[name("In", &["edge-2"])])]))), REJECTED),
        // Preferences decide nothing.
        (preferred, ""),
    ]
}

#[test]
fn each_row_of_the_placement_table() {
    let edge = edge();
    let rows = [of_names_and_selectors(), of_operators(), of_terms()].concat();
    let mut fleet = edge.clone();
    fleet.fleet = true;
    for (spec, expected) in rows {
        let found = placed(&pod(spec.clone()), &edge);
        assert_eq!(told(&found), expected, "{spec}");
        let outcome = found.unplaced.as_ref().map(|unplaced| unplaced.outcome);
        let is_pending = outcome == Some(Outcome::Pending);
        assert_eq!(is_pending, [PENDING, PINNED].contains(&expected), "{spec}");
        // In a fleet what waits is another machine's; the rest is the same.
        let in_fleet = placed(&pod(spec.clone()), &fleet);
        match found.unplaced.as_deref() {
            Some(unplaced) if is_pending => {
                let other = in_fleet.unplaced.as_deref().unwrap();
                assert_eq!((other.outcome, other.unmet), (Outcome::NotForThisMachine, unplaced.unmet), "{spec}");
                assert_eq!((&other.message, &other.detail), (&unplaced.detail, &unplaced.detail), "{spec}");
            }
            _ => assert_eq!(in_fleet.unplaced, found.unplaced, "{spec}"),
        }
        assert_eq!(found.is_elsewhere(), expected == AWAY, "{spec}");
        assert_eq!(in_fleet.is_elsewhere(), is_pending || expected == AWAY, "{spec}");
        // What is wanted does not depend on where it runs.
        assert_eq!((&found.spec, &found.digest), (&in_fleet.spec, &in_fleet.digest), "{spec}");
    }
}

#[test]
fn each_row_of_the_table_of_taints() {
    let one = taint("dedicated", Some("line-3"), "NoSchedule");
    let bare = taint("dedicated", None, "NoSchedule");
    let soft = taint("dedicated", Some("line-3"), "PreferNoSchedule");
    let out = taint("out", None, "NoExecute");
    let tolerating_out = |mut spec: Value| {
        spec["tolerations"] =
            json!([{"key": "out", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]);
        spec
    };
    let toleration = |key: &str, operator: &str, value: &str, effect: &str| {
        tolerations(json!([{"key": key, "operator": operator, "value": value, "effect": effect}]))
    };
    let rows = [
        (&[][..], json!({}), ""),
        (&[one.clone()][..], json!({}), TAINTED),
        (&[soft.clone()][..], json!({}), ""),
        (&[soft, one.clone()][..], json!({}), TAINTED),
        (&[one.clone()][..], toleration("dedicated", "Equal", "line-3", "NoSchedule"), ""),
        (&[one.clone()][..], tolerations(json!([{"key": "dedicated", "value": "line-3"}])), ""),
        (&[one.clone()][..], toleration("dedicated", "", "line-3", ""), ""),
        (&[one.clone()][..], toleration("dedicated", "Equal", "line-4", "NoSchedule"), TAINTED),
        (&[one.clone()][..], toleration("other", "Equal", "line-3", "NoSchedule"), TAINTED),
        (&[one.clone()][..], toleration("dedicated", "Equal", "line-3", "NoExecute"), TAINTED),
        (&[one.clone()][..], toleration("dedicated", "Exists", "", ""), ""),
        (&[one.clone()][..], toleration("other", "Exists", "", ""), TAINTED),
        (&[one.clone()][..], toleration("", "Exists", "", ""), ""),
        (&[one.clone()][..], tolerations(json!([{"operator": "Exists"}])), ""),
        (&[one.clone()][..], tolerations(json!([{"operator": "Exists", "effect": "PreferNoSchedule"}])), TAINTED),
        (&[one.clone()][..], toleration("dedicated", "Near", "line-3", ""), TAINTED),
        // No value and an empty one are the same.
        (&[bare.clone()][..], tolerations(json!([{"key": "dedicated"}])), ""),
        (&[bare.clone()][..], toleration("dedicated", "Equal", "", ""), ""),
        (&[bare][..], toleration("dedicated", "Equal", "x", ""), TAINTED),
        // Every taint by one of them.
        (&[one.clone(), taint("b", None, "NoSchedule")][..], toleration("dedicated", "Exists", "", ""), TAINTED),
        (
            &[one.clone(), taint("b", None, "NoSchedule")][..],
            tolerations(json!([{"key": "b", "operator": "Exists"}, {"key": "dedicated", "operator": "Exists"}])),
            "",
        ),
        // The kubelet does not ask for them,
        (&[one.clone()][..], json!({"nodeName": "edge-1"}), ""),
        // but for those that end what runs.
        (&[out.clone()][..], json!({"nodeName": "edge-1"}), REFUSED),
        (&[out.clone()][..], tolerating_out(json!({"nodeName": "edge-1"})), ""),
        (&[out.clone()][..], json!({}), TAINTED),
        (&[out.clone()][..], tolerating_out(json!({})), ""),
        (&[one.clone(), out.clone()][..], tolerating_out(json!({})), TAINTED),
        (&[out.clone()][..], toleration("out", "Exists", "", "NoSchedule"), TAINTED),
        // The scheduler asks for taints first, and for names before.
        (&[one.clone()][..], json!({"nodeSelector": {"no": "x"}}), TAINTED),
        (&[one.clone()][..], terms(json!([{"matchFields": [name("In", &["edge-2"])]}])), PINNED),
    ];
    for (taints, spec, expected) in rows {
        let found = placed(&pod(spec.clone()), &with_taints(taints));
        assert_eq!(told(&found), expected, "{taints:?} {spec}");
        let unmet = found.unplaced.as_ref().map(|unplaced| unplaced.unmet);
        assert_eq!(unmet == Some(Unmet::NodeTaints), [TAINTED, REFUSED].contains(&expected), "{spec}");
    }
    let ends =
        |taints: &[Taint]| placed(&pod(json!({})), &with_taints(taints)).unplaced.clone().unwrap().ends_what_runs;
    let detail = |taint: Taint| placed(&pod(json!({})), &with_taints(&[taint])).unplaced.clone().unwrap().detail;
    assert!(
        ends(std::slice::from_ref(&out)) && ends(&[one.clone(), out]) && !ends(std::slice::from_ref(&one)),
        "it runs on but for NoExecute"
    );
    let away = json!({"nodeName": "edge-1", "nodeSelector": {"no": "x"}});
    let away = placed(&pod(away), &with_taints(&[taint("out", None, "NoExecute")]));
    assert!(away.unplaced.clone().unwrap().ends_what_runs, "{}", told(&away));
    assert_eq!(detail(one), "the taint dedicated=line-3:NoSchedule of this machine is not tolerated");
    assert_eq!(detail(taint("a", None, "NoSchedule")), "the taint a:NoSchedule of this machine is not tolerated");
}

#[test]
fn what_is_asked_for_in_vain_is_told_with_its_field() {
    let rows = [
        (
            json!({"nodeSelector": {"disktype": "hdd"}}),
            "spec.nodeSelector[disktype]",
            "`nodeSelector` asks for disktype=hdd, this machine has \"ssd\"",
        ),
        (
            json!({"nodeSelector": {"no": "x"}}),
            "spec.nodeSelector[no]",
            "`nodeSelector` asks for no=x, this machine has no such label",
        ),
        (
            label("no", "Exists", &[]),
            "spec.affinity.nodeAffinity",
            "no term of the required `nodeAffinity` matches this machine",
        ),
        (
            terms(json!([{"matchFields": [name("In", &["edge-2"])]}])),
            "spec.affinity.nodeAffinity",
            "no term of the required `nodeAffinity` matches this machine",
        ),
        (json!({"nodeName": "edge-2"}), "spec.nodeName", "`nodeName` is edge-2, this machine is edge-1"),
    ];
    for (spec, field, detail) in rows {
        let unplaced = placed(&pod(spec.clone()), &edge()).unplaced.clone().unwrap();
        assert_eq!((unplaced.field.as_str(), unplaced.detail.as_str()), (field, detail), "{spec}");
    }
}

#[test]
fn a_pod_that_does_not_run_here_is_a_warning_at_its_field() {
    let edge = edge();
    let fleet = NodeInfo { fleet: true, ..edge.clone() };
    let small = NodeInfo { allocatable: [("cpu".to_owned(), "1".to_owned())].into(), ..edge.clone() };
    let asking = |cpu: &str| {
        let requests = json!({"requests": {"cpu": cpu}});
        json!({"containers": [{"name": "c", "image": "i:1", "resources": requests}]})
    };
    let too_much = "it asks for 2 of cpu, and this machine has 1 for pods";
    let lack = "`nodeSelector` asks for no=x, this machine has no such label";
    let other = "`nodeName` is edge-2, this machine is edge-1";
    let rows = [
        (&edge, json!({}), None),
        (&edge, json!({"nodeName": "edge-2"}), Some(("the pod names another machine", other, "placement: fleet"))),
        (&fleet, json!({"nodeName": "edge-2"}), None),
        (&edge, json!({"nodeSelector": {"no": "x"}}), Some(("the pod stays Pending", lack, "placement: fleet"))),
        (&fleet, json!({"nodeSelector": {"no": "x"}}), Some(("the pod is left to another machine", lack, "meant so"))),
        (
            &edge,
            json!({"nodeSelector": {"no": "x"}, "nodeName": "edge-1"}),
            Some(("the pod fails on the machine that its `nodeName` is", lack, "without `nodeName` it would wait")),
        ),
        (&small, asking("1"), None),
        (&small, asking("2"), Some(("the pod stays Pending", too_much, "ask for less"))),
        (
            &small,
            named("edge-1", asking("2")),
            Some(("the pod fails on the machine that its `nodeName` is", too_much, "without `nodeName` it would wait")),
        ),
    ];
    for (node, spec, expected) in rows {
        let desired = desired(&[pod(spec.clone())]);
        let admitted = admit_on(&desired, Some(node)).unwrap();
        let found: Vec<_> =
            admitted.diagnostics.0.iter().map(|d| (d.rule, d.message.clone(), d.help.clone())).collect();
        let (object, packed) = desired.pods.values().next().unwrap();
        // Who keeps nothing keeps what is told.
        let says_nothing = Admitter::new(&desired, Some(node)).says_nothing(object, Some(&packed.open()));
        match expected {
            None => assert_eq!(found, [], "{spec}"),
            Some((becomes, lack, help)) => {
                assert_eq!(found.len(), 1, "{spec}");
                assert_eq!((found[0].0, found[0].1.as_str()), ("not-placed", format!("{becomes}: {lack}").as_str()));
                assert!(found[0].2.as_ref().unwrap().contains(help), "{found:?}");
                let place = admitted.diagnostics.0[0].place.clone().unwrap();
                assert!(place.at.line > 1, "at the field: {place:?}");
            }
        }
        assert_eq!(says_nothing, expected.is_none() && spec.get("nodeName").is_none(), "{spec}");
    }
}

#[test]
fn what_nobody_told_of_the_machine_is_not_guessed() {
    let arch = || json!({"nodeSelector": {"kubernetes.io/arch": "arm64"}});
    let told = NodeInfo { untold: ["kubernetes.io/arch".to_owned()].into(), ..edge() };
    let nameless = NodeInfo { name: String::new(), ..edge() };
    let named = terms(json!([{"matchFields": [name("In", &["edge-2"])]}]));
    let rows = [
        (None, json!({}), (true, false)),
        (None, json!({"nodeName": "a"}), (true, true)),
        (None, json!({"nodeName": ""}), (true, false)),
        (None, json!({"nodeSelector": {}}), (true, false)),
        (None, arch(), (true, true)),
        (None, named.clone(), (true, true)),
        (None, tolerations(json!([{"operator": "Exists"}])), (true, false)),
        (Some(&told), arch(), (true, true)),
        (Some(&told), label("kubernetes.io/arch", "DoesNotExist", &[]), (true, true)),
        (Some(&told), json!({"nodeSelector": {"disktype": "hdd"}}), (false, false)),
        (Some(&told), json!({"nodeName": "edge-2"}), (false, false)),
        (Some(&nameless), json!({"nodeName": "edge-2"}), (true, true)),
        (Some(&nameless), named, (true, true)),
        (Some(&nameless), json!({"nodeSelector": {"disktype": "hdd"}}), (false, false)),
        (Some(&nameless), json!({"nodeSelector": {"disktype": "ssd"}}), (true, false)),
    ];
    for (node, spec, expected) in rows {
        let admitted = admit_what_can_be(&desired(&[pod(json!({})), pod(spec.clone())]), node);
        let pod = pod_of(&admitted, "default", "p");
        assert_eq!((pod.unplaced.is_none(), admitted.is_untold), expected, "{node:?} {spec}");
    }
}

fn requirement() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec!["disktype", "slots", "bare", "no"]);
    let operator = prop::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]);
    let value = prop::sample::select(vec!["ssd", "5", "6", "4", "", "x"]);
    (key, operator, prop::collection::vec(value, 0..3))
        .prop_map(|(key, operator, values)| json!({"key": key, "operator": operator, "values": values}))
}

fn spec() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["", "edge-1", "edge-2"]);
    let affinity = prop::option::of(prop::collection::vec(prop::collection::vec(requirement(), 0..3), 0..3));
    let selector = prop::collection::btree_map(
        prop::sample::select(vec!["disktype", "no"]),
        prop::sample::select(vec!["ssd", "hdd"]),
        0..2,
    );
    (name, affinity, selector).prop_map(|(name, affinity, selector)| {
        let mut spec = affinity.map_or(json!({}), |all| {
            terms(all.into_iter().map(|expressions| json!({"matchExpressions": expressions})).collect())
        });
        spec["nodeName"] = json!(name);
        spec["nodeSelector"] = json!(selector);
        spec
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What comes out of admission, admitted again, is the same and placed the same; terms in another order too.
    #[test]
    fn to_place_again_changes_nothing(spec in spec(), fleet in any::<bool>()) {
        let node = NodeInfo { fleet, ..edge() };
        let once = placed(&pod(spec.clone()), &node);
        let again = placed(&serde_json::to_value(once.spec.open()).map(typed).unwrap(), &node);
        prop_assert_eq!(&again.unplaced, &once.unplaced);
        prop_assert_eq!(&again.digest, &once.digest);
        let mut turned = spec;
        let pointer = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        if let Some(Value::Array(list)) = turned.pointer_mut(pointer) {
            list.reverse();
        }
        prop_assert_eq!(&placed(&pod(turned), &node).unplaced, &once.unplaced);
        // A record of it tells the same.
        let record: AdmittedPod = serde_json::from_str(&serde_json::to_string(&*once).unwrap()).unwrap();
        prop_assert_eq!(record, (*once).clone());
    }
}

fn typed(mut pod: Value) -> Value {
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod
}

#[test]
fn presets_are_merged_into_a_pod_that_does_not_run_here() {
    let preset = json!({"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": "z"},
        "spec": {"selector": {}, "env": [{"name": "A", "value": "1"}]}});
    let admitted = admit_on(&desired(&[pod(json!({"nodeName": "edge-2"})), preset]), Some(&edge())).unwrap();
    let pod = &admitted.pods[&PodKey::new("default", "p")];
    assert!(pod.is_elsewhere());
    assert_eq!(pod.applied.len(), 1);
}
