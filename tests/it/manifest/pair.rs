//! Reading two revisions for a comparison gives the plan of two full readings, with less read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use podwright::admit::{admit, admit_what_can_be};
use podwright::manifest::Reader;
use podwright::model::{Admitted, Desired, FleetPlan, Kind, ObjectKey, Severity, Snapshot};
use podwright::plan;
use podwright::report::{DiffBase, compare, diff_json};
use proptest::prelude::*;

use super::snapshot;

/// One object, small enough that two of them often have to do with each other.
#[derive(Clone, Debug, PartialEq)]
struct Thing {
    kind: usize,
    namespace: usize,
    name: usize,
    /// What it says, in digits of different meaning for each kind.
    content: [u8; 6],
    /// Its file, and how it is spelled.
    file: usize,
    spelling: usize,
}

const KINDS: [&str; 6] = ["Pod", "Pod", "PodPreset", "ConfigMap", "Secret", "ServiceAccount"];
const NAMES: [&str; 3] = ["default", "one", "two"];

fn thing() -> impl Strategy<Value = Thing> {
    (0..KINDS.len(), 0..2_usize, 0..3_usize, any::<[u8; 6]>(), 0..30_usize, 0..12_usize).prop_map(
        |(kind, namespace, name, content, file, spelling)| Thing { kind, namespace, name, content, file, spelling },
    )
}

impl Thing {
    fn text(&self) -> String {
        let Thing { namespace, name, content: [a, b, c, d, e, f], .. } = self;
        let kind = KINDS[self.kind];
        let version = if kind == "PodPreset" { "settings.k8s.io/v1alpha1" } else { "v1" };
        let namespace = ["a", "b"][*namespace];
        // Two of the kinds share a name, so that a name alone does not say which object is meant.
        let name = if kind == "Pod" { format!("pod-{}-{name}", self.kind) } else { NAMES[*name].to_owned() };
        let head = match self.spelling {
            0 => format!(
                "apiVersion: {version}\nkind: {kind}\nmetadata: {{namespace: {namespace}, name: {name}, labels: {{app: l{}}}}}\n",
                a % 2
            ),
            _ => format!(
                "apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  labels:\n    app: l{}\n",
                a % 2
            ),
        };
        // Names within may be hidden by an escape.
        let named = |digit: u8| match (self.spelling, NAMES[usize::from(digit) % 3]) {
            (1, "one") => "\"o\\x6ee\"".to_owned(),
            (_, name) => name.to_owned(),
        };
        let rest = match kind {
            "Pod" => self.pod(&named),
            "PodPreset" => {
                let selector =
                    if b % 2 == 0 { "{}".to_owned() } else { format!("{{matchLabels: {{app: l{}}}}}", b % 4 / 2) };
                let value = if c % 3 == 0 { "u" } else { "w" };
                let data = match d % 4 {
                    0 => format!("  envFrom:\n  - configMapRef:\n      name: {}\n", named(*e)),
                    1 => format!("  envFrom:\n  - secretRef: {{name: {}, optional: true}}\n", named(*e)),
                    _ => String::new(),
                };
                let volume = "  volumes:\n  - name: given\n    emptyDir: {}\n  volumeMounts:\n  - name: given\n    mountPath: /g\n";
                format!(
                    "spec:\n  selector: {selector}\n  env:\n  - name: PRESET\n    value: {value}\n{data}{}",
                    if f % 2 == 0 { volume } else { "" }
                )
            }
            "ConfigMap" => format!("data:\n  key: v{}\n", b % 3),
            "Secret" => format!("stringData:\n  key: v{}\n", b % 3),
            _ => String::new(),
        };
        format!("{head}{rest}")
    }

    fn pod(&self, named: &dyn Fn(u8) -> String) -> String {
        let [_, b, c, d, e, f] = self.content;
        let mut spec = String::from("spec:\n");
        match b % 6 {
            0 => spec.push_str(&format!("  serviceAccountName: {}\n", named(c))),
            1 => spec.push_str("  hostNetwork: true\n"),
            _ => {}
        }
        spec.push_str(&format!("  containers:\n  - name: c\n    image: i{}\n", c % 2));
        match d % 5 {
            0 => spec.push_str(&format!("    envFrom:\n    - configMapRef:\n        name: {}\n", named(e))),
            1 => spec.push_str(&format!(
                "    env:\n    - name: V\n      valueFrom:\n        secretKeyRef: {{name: {}, key: key}}\n",
                named(e)
            )),
            _ => {}
        }
        match f % 8 {
            0 => spec.push_str(&format!("    ports:\n    - containerPort: 8{}\n      hostPort: 8{}\n", e % 9, e % 9)),
            1 => spec.push_str(&format!("    ports:\n    - containerPort: 8{}\n", e % 9)),
            2 => spec.push_str("    volumeMounts:\n    - name: given\n      mountPath: /given\n"),
            3 => spec.push_str(&format!("    volumeMounts:\n    - name: v\n      mountPath: /v\n  volumes:\n  - name: v\n    configMap:\n      name: {}\n", named(e))),
            _ => {}
        }
        spec
    }
}

/// The files of some objects; of two with the same name only the first is written, unless they are to clash.
fn files(things: &[Thing], clashes: bool) -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for thing in things {
        if seen.insert((KINDS[thing.kind], thing.kind, thing.namespace, thing.name)) || clashes {
            let file = files.entry(format!("d{}/{}.yaml", thing.file % 3, thing.file)).or_default();
            if !file.is_empty() {
                file.push_str("---\n");
            }
            file.push_str(&thing.text());
        }
    }
    files.into_iter().collect()
}

#[derive(Clone, Debug)]
enum Edit {
    Remove(prop::sample::Index),
    Move(prop::sample::Index, usize),
    Change(prop::sample::Index, usize, u8),
    Add(Thing),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        at().prop_map(Edit::Remove),
        (at(), 0..40_usize).prop_map(|(at, file)| Edit::Move(at, file)),
        (at(), 0..6_usize, any::<u8>()).prop_map(|(at, digit, value)| Edit::Change(at, digit, value)),
        thing().prop_map(Edit::Add),
    ]
}

fn edited(things: &[Thing], edits: &[Edit]) -> Vec<Thing> {
    let mut things = things.to_vec();
    for edit in edits {
        match edit {
            Edit::Add(thing) => things.insert(0, thing.clone()),
            _ if things.is_empty() => {}
            Edit::Remove(at) => drop(things.remove(at.index(things.len()))),
            Edit::Move(at, file) => {
                let at = at.index(things.len());
                things[at].file = *file;
            }
            Edit::Change(at, digit, value) => {
                let at = at.index(things.len());
                things[at].content[*digit] = *value;
            }
        }
    }
    things
}

/// What a comparison shows: the plan, how many pods stay, the other objects that differ, and the report to the byte.
fn comparison(base: &Admitted, head: &Admitted) -> (FleetPlan, usize, BTreeSet<ObjectKey>, String) {
    let mut plan = plan::fleet(head, &plan::converged(base, Timestamp::UNIX_EPOCH));
    let shown = diff_json(&compare(&plan, &DiffBase::Revision(base), head));
    let unchanged = plan.unchanged.len() + head.unread.get(&Kind::Pod).copied().unwrap_or_default();
    plan.unchanged.clear();
    let keys = base.objects.keys().chain(head.objects.keys());
    let differing = keys.filter(|key| base.objects.get(key) != head.objects.get(key)).cloned().collect();
    (plan, unchanged, differing, shown)
}

/// Whether both ways of reading say the same. Of two invalid revisions they need not.
fn compared(full: (&Desired, &Desired), base: &Snapshot, head: &Snapshot) -> Result<(), String> {
    let mut reader = Reader::new();
    let part = reader.read_pair(base, head);
    for (part, full) in [(&part.0, full.0), (&part.1, full.1)] {
        let known = |d: &&podwright::model::Diagnostic| !full.diagnostics.0.contains(d);
        if let Some(wrong) = part.diagnostics.0.iter().find(known) {
            return Err(format!("only the part has {wrong:?}"));
        }
    }
    let again = reader.read_pair(base, head);
    if format!("{part:?}") != format!("{again:?}") {
        return Err("a reader that knows the files reads something else".to_owned());
    }
    let full = (admit(full.0), admit(full.1));
    let part = (admit(&part.0), admit(&part.1));
    match (&full.0, &full.1) {
        (Ok(base), Ok(head)) => {
            let (Ok(part_base), Ok(part_head)) = (&part.0, &part.1) else {
                return Err(format!("only the part is refused: {:?} {:?}", part.0.err(), part.1.err()));
            };
            let (full, part) = (comparison(base, head), comparison(part_base, part_head));
            if full != part { Err(format!("full {full:#?}\npart {part:#?}")) } else { Ok(()) }
        }
        // One side is valid, so the files that both have are: the change is at fault, and that is seen.
        (Ok(_), Err(_)) if part.1.is_ok() => Err(format!("the part misses {:?}", full.1)),
        (Err(_), Ok(_)) if part.0.is_ok() => Err(format!("the part misses {:?}", full.0)),
        _ => Ok(()),
    }
}

/// Whether both ways of reading say the same of a base that is invalid.
fn mended(full: (&Desired, &Desired), base: &Snapshot, head: &Snapshot) -> Result<(), String> {
    let part = Reader::new().read_pair(base, head);
    let full = (admit_what_can_be(full.0, None), admit(full.1).map_err(|e| format!("the head: {e:?}"))?);
    let part = (admit_what_can_be(&part.0, None), admit(&part.1).map_err(|e| format!("the part of the head: {e:?}"))?);
    let (full, part) = (comparison(&full.0, &full.1), comparison(&part.0, &part.1));
    if full != part { Err(format!("full {full:#?}\npart {part:#?}")) } else { Ok(()) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_part_gives_the_plan_of_the_whole(
        things in prop::collection::vec(thing(), 1..24),
        edits in prop::collection::vec(edit(), 0..4),
        clashes in prop::bool::weighted(0.1),
    ) {
        let (base, head) = (files(&things, false), files(&edited(&things, &edits), clashes));
        let shown = || format!("base {base:#?}\nhead {head:#?}");
        let (old, new) = (snapshot(&base), snapshot(&head));
        let full = (Reader::new().read(&old), Reader::new().read(&new));
        let is_empty = |desired: &Desired| desired.diagnostics.0.iter().any(|d| d.rule == "no-manifests");
        // Too many of these fail the test.
        prop_assume!(!is_empty(&full.0));
        prop_assume!(!full.0.diagnostics.has_errors() || !full.1.diagnostics.has_errors());
        // What is a broken head one way round is a broken base the other way round.
        let compared = compared((&full.0, &full.1), &old, &new).and_then(|()| match admit(&full.0) {
            // Nothing is a base without a fault.
            Ok(_) if full.1.diagnostics.has_errors() && !is_empty(&full.1) => mended((&full.1, &full.0), &new, &old),
            _ => Ok(()),
        });
        compared.map_err(|why| TestCaseError::fail(format!("{why}\n{}", shown())))?;
    }
}

fn pod(name: &str, spec: &str) -> (String, String) {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n{spec}  containers:\n  - name: c\n    image: i\n"
    );
    (format!("{name}.yaml"), text)
}

fn pair(base: &[(String, String)], head: &[(String, String)]) -> (Desired, Desired) {
    Reader::new().read_pair(&snapshot(base), &snapshot(head))
}

fn names(desired: &Desired) -> Vec<String> {
    let pods = desired.pods.keys().map(|key| key.object());
    let all = pods.chain(desired.presets.keys().cloned()).chain(desired.others.keys().cloned());
    all.map(|key| key.to_string()).collect()
}

#[test]
fn equal_revisions_and_moved_files_are_not_parsed() {
    let base: Vec<_> = ["a", "b"].map(|name| pod(name, "")).into();
    let (old, new) = pair(&base, &base);
    assert_eq!((names(&old), names(&new)), (vec![], vec![]));
    assert_eq!(new.unread, BTreeMap::from([(Kind::Pod, 2)]));
    assert!(!old.diagnostics.has_errors() && !new.diagnostics.has_errors());
    let moved: Vec<_> = base.iter().map(|(path, text)| (format!("elsewhere/{path}"), text.clone())).collect();
    let (old, new) = pair(&base, &moved);
    assert_eq!((names(&old), names(&new)), (vec![], vec![]));
    // A copy is no move: its pod is there twice.
    let copied: Vec<_> = base.iter().cloned().chain([("copy.yaml".to_owned(), base[0].1.clone())]).collect();
    let (_, new) = pair(&base, &copied);
    assert!(new.diagnostics.0.iter().any(|d| d.rule == "duplicate-object"), "{:?}", new.diagnostics);
}

#[test]
fn what_changed_is_read_with_what_it_can_reach() {
    let object = |kind: &str, name: &str, rest: &str| {
        let version = if kind == "PodPreset" { "settings.k8s.io/v1alpha1" } else { "v1" };
        let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n{rest}");
        (format!("{}-{name}.yaml", kind.to_lowercase()), text)
    };
    let uses = |name: &str| format!("  volumes:\n  - name: v\n    configMap:\n      name: {name}\n");
    let base = vec![
        pod("plain", ""),
        pod("other", ""),
        pod("user", &uses("used")),
        object("ConfigMap", "used", "data:\n  a: b\n"),
        object("ConfigMap", "unused", "data:\n  a: b\n"),
        object("ServiceAccount", "robot", ""),
        object("Namespace", "default", ""),
        object("PodPreset", "env", "spec:\n  selector: {}\n  env:\n  - name: A\n    value: b\n"),
    ];
    let changed = |path: &str, from: &str, to: &str| {
        let mut head = base.clone();
        let file = head.iter_mut().find(|(p, _)| p == path).unwrap();
        file.1 = file.1.replace(from, to);
        let (old, new) = pair(&base, &head);
        assert!(!new.diagnostics.has_errors(), "{:?}", new.diagnostics);
        assert_eq!(names(&old), names(&new), "{path}");
        let read = names(&new).len();
        assert_eq!(read + new.unread.values().sum::<usize>(), base.len(), "{path}");
        names(&new).join(", ")
    };
    let preset = "PodPreset default/env";
    assert_eq!(
        changed("plain.yaml", "image: i", "image: j"),
        format!("Pod default/plain, {preset}, Namespace default")
    );
    assert_eq!(
        changed("user.yaml", "image: i", "image: j"),
        format!("Pod default/user, {preset}, Namespace default, ConfigMap default/used"),
    );
    assert_eq!(
        changed("configmap-used.yaml", "a: b", "a: c"),
        format!("Pod default/user, {preset}, Namespace default, ConfigMap default/used")
    );
    assert_eq!(changed("configmap-unused.yaml", "a: b", "a: c"), "ConfigMap default/unused");
    assert_eq!(
        changed("podpreset-env.yaml", "value: b", "value: c"),
        format!(
            "Pod default/other, Pod default/plain, Pod default/user, {preset}, Namespace default, ConfigMap default/used"
        )
    );
    // A namespace may say what its pods may ask for.
    assert_eq!(
        changed("namespace-default.yaml", "name: default\n", "name: default\n  labels:\n    a: b\n"),
        format!(
            "Pod default/other, Pod default/plain, Pod default/user, {preset}, Namespace default, ConfigMap default/used"
        )
    );
}

#[test]
fn what_a_namespace_forbids_is_seen_whichever_of_both_changed() {
    let namespace = |level: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels: \
             {{pod-security.kubernetes.io/enforce: {level}}}\n"
        );
        ("namespace.yaml".to_owned(), text)
    };
    let shared = pod("shared", "  hostPID: true\n");
    let preset = |volume: &str| {
        let text = format!(
            "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata:\n  name: p\nspec:\n  selector: {{}}\n  \
             volumes: [{{name: v, {volume}}}]\n"
        );
        ("preset.yaml".to_owned(), text)
    };
    let good = [pod("shared", ""), namespace("baseline"), preset("emptyDir: {}")];
    for (what, index, changed) in [("the pod", 0, shared.clone()), ("the preset", 2, preset("hostPath: {path: /}"))] {
        let mut head = good.clone();
        head[index] = changed;
        let (old, new) = pair(&good, &head);
        assert!(admit(&old).is_ok(), "{what}");
        let told = admit(&new).unwrap_err();
        let rules: Vec<_> = told.0.iter().map(|d| d.rule).filter(|rule| *rule != "image-tag").collect();
        assert_eq!(rules, ["pod-security"], "{what}");
        assert_eq!(admit(&Reader::new().read(&snapshot(&head))).unwrap_err(), told, "{what}");
    }
    let loose = [shared.clone(), namespace("privileged"), preset("emptyDir: {}")];
    let (old, new) = pair(&loose, &[shared, namespace("baseline"), preset("emptyDir: {}")]);
    assert!(admit(&old).is_ok());
    assert_eq!(admit(&new).unwrap_err().0[0].rule, "pod-security");
}

#[test]
fn host_ports_of_a_changed_pod_are_compared_with_all_others() {
    let port = |name: &str, spec: &str, port: &str| {
        let (path, text) = pod(name, spec);
        (path, format!("{text}    ports:\n    - containerPort: 80\n{port}"))
    };
    let base = vec![port("a", "", "      hostPort: 80\n"), port("b", "", ""), port("c", "  hostNetwork: true\n", "")];
    let mut head = base.clone();
    head[1] = port("b", "", "      hostPort: 81\n");
    let clash = |head: &[(String, String)]| {
        let (_, new) = pair(&base[..2], head);
        new.diagnostics.0.iter().any(|d| d.rule == "host-port")
    };
    assert!(!clash(&head[..2]));
    head[1] = port("b", "", "      hostPort: 80\n");
    assert!(clash(&head[..2]));
    let (_, new) = pair(&base[1..], &head[1..]);
    assert!(
        new.diagnostics.0.iter().any(|d| d.rule == "host-port"),
        "the host's network counts: {:?}",
        new.diagnostics
    );
}

#[test]
fn of_a_base_with_errors_stays_what_could_be_read() {
    let base = vec![
        pod("whole", ""),
        pod("wrong", "  restartPolicy: Sometimes\n"),
        ("cut.yaml".to_owned(), "kind: [".to_owned()),
    ];
    let mut head = base.clone();
    head[1] = pod("wrong", "  restartPolicy: Never\n");
    head[2] = pod("new", "");
    let (old, new) = pair(&base, &head);
    assert!(admit(&old).is_err());
    let (old, new) = (admit_what_can_be(&old, None), admit(&new).unwrap());
    let errors = old.diagnostics.0.iter().filter(|d| d.severity == Severity::Error);
    let errors: Vec<String> = errors.map(|d| d.place.as_ref().unwrap().at.to_string()).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("cut.yaml:1:") && errors[1].starts_with("wrong.yaml:6:"), "{errors:?}");
    let (plan, unchanged, ..) = comparison(&old, &new);
    let created: Vec<String> = plan.actions.iter().map(|a| format!("{} {}", a.verb().as_str(), a.key())).collect();
    assert_eq!((created, unchanged), (vec!["create default/new".to_owned(), "create default/wrong".to_owned()], 1));
}

#[test]
fn an_object_that_two_unchanged_files_define_is_refused() {
    let (path, text) = pod("twice", "  serviceAccountName: robot\n");
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: robot\n";
    let base = vec![
        pod("other", ""),
        (path, text.clone()),
        ("copy.yaml".to_owned(), text),
        ("robot.yaml".to_owned(), account.to_owned()),
    ];
    let mut head = base.clone();
    for changed in [false, true] {
        if changed {
            head[0].1 = head[0].1.replace("image: i", "image: j");
        }
        let (old, new) = pair(&base, &head);
        for (part, files) in [(old, &base), (new, &head)] {
            assert!(part.diagnostics.0.iter().any(|d| d.rule == "duplicate-object"), "{:?}", part.diagnostics);
            let full = Reader::new().read(&snapshot(files)).diagnostics;
            let wrong = part.diagnostics.0.iter().find(|d| !full.0.contains(d));
            assert!(wrong.is_none(), "{wrong:?}");
        }
    }
}

#[test]
fn an_account_leads_to_no_other_account() {
    let account = |name: &str, secret: &str| {
        let text = format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\nimagePullSecrets:\n  - name: {secret}\n"
        );
        (format!("{name}.yaml"), text)
    };
    let secret = |value: &str| {
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: token\nstringData:\n  value: {value}\n");
        ("token.yaml".to_owned(), text)
    };
    let rest = [account("robot", "token"), account("second", "robot"), pod("user", "  serviceAccountName: robot\n")];
    let files = |value: &str| -> Vec<_> { rest.iter().cloned().chain([secret(value)]).collect() };
    let (_, new) = pair(&files("a"), &files("b"));
    assert_eq!(names(&new), ["Pod default/user", "ServiceAccount default/robot", "Secret default/token"]);
}
