//! A check that keeps nothing says what the reader and admission say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use podwright::admit::{Admitter, admit};
use podwright::manifest::{Reader, survey};
use podwright::model::{Admitted, Diagnostics, Kind, Snapshot};
use podwright::report::diagnostics_text;

use super::snapshot;

type Said = Result<(BTreeMap<Kind, usize>, Diagnostics), Diagnostics>;

fn said(admitted: Result<Admitted, Diagnostics>) -> Said {
    admitted.map(|admitted| {
        let mut counts = admitted.unread.clone();
        admitted.objects.keys().for_each(|key| *counts.entry(key.kind).or_default() += 1);
        if !admitted.pods.is_empty() {
            *counts.entry(Kind::Pod).or_default() += admitted.pods.len();
        }
        (counts, admitted.diagnostics)
    })
}

/// What both say; they must agree.
pub(crate) fn both(snapshot: &Snapshot) -> Said {
    let kept = said(admit(&Reader::new().read(snapshot)));
    for threads in [1, 3] {
        let surveyed = survey(snapshot, threads, |presets| {
            let admitter = Admitter::new(presets, None);
            Box::new(move |object, pod| !admitter.says_nothing(object, pod))
        });
        let dropped = said(admit(&surveyed));
        if dropped != kept {
            let text = |said: &Said| match said {
                Ok((counts, diagnostics)) => format!("{counts:?}\n{}", diagnostics_text(diagnostics)),
                Err(diagnostics) => diagnostics_text(diagnostics),
            };
            panic!("{threads} threads\n--- kept\n{}--- dropped\n{}", text(&kept), text(&dropped));
        }
    }
    kept
}

fn files(path: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    if path.is_dir() {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().for_each(|path| files(path, found));
    } else if path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
    {
        found.push((path.to_str().unwrap().to_owned(), std::fs::read(path).unwrap()));
    }
}

fn fixtures(below: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    files(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(below), &mut found);
    found
}

#[test]
fn every_fixture_alone_and_all_together_are_told_alike() {
    let (good, bad) = (fixtures("manifests/ok"), fixtures("manifests/bad"));
    assert!(good.len() >= 15 && bad.len() >= 45);
    let mut refused = 0;
    for file in good.iter().chain(&bad) {
        refused += usize::from(both(&snapshot(std::slice::from_ref(file))).is_err());
    }
    assert!(refused >= 40, "{refused}");
    both(&snapshot(&good)).unwrap_err();
    both(&snapshot(&[good, bad].concat())).unwrap_err();
}

fn preset(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: settings.k8s.io/v1alpha1\nkind: PodPreset\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: a}}}}\n{rest}"
    )
}

fn pod(name: &str, app: &str, env: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {app}}}}}\nspec:\n  containers:\n  - name: c\n    image: i:1\n    env: [{{name: A, value: \"{env}\"}}]\n    volumeMounts: [{{name: v, mountPath: /v}}]\n"
    )
}

/// Conflicts, volumes that a conflict keeps away, names that are too long: said by admission, and only of some pods.
#[test]
fn what_admission_says_is_said_although_pods_are_dropped() {
    let long = "p".repeat(60);
    let volume = "  env: [{name: A, value: \"1\"}]\n  volumes: [{name: v, emptyDir: {}}]\n";
    let mut all = vec![("z/preset.yaml".to_owned(), preset("one", volume))];
    for n in 0..100 {
        let (app, env) = (if n % 2 == 0 { "a" } else { "b" }, if n % 10 == 0 { "2" } else { "1" });
        let text = pod(&format!("p{n}"), app, env);
        let text = if app == "b" { text.replace("    volumeMounts", "    # volumeMounts") } else { text };
        all.push((format!("a/{n}.yaml"), text));
    }
    let clash = both(&snapshot(&all)).unwrap_err();
    assert!(clash.0.iter().any(|d| d.rule == "preset-volume") && clash.0.iter().any(|d| d.rule == "preset-conflict"));

    // Without the volume a conflict is a warning, and the revision is valid.
    let quiet: Vec<(String, String)> =
        all.iter().map(|(path, text)| (path.clone(), text.replace("    volumeMounts", "    # volumeMounts"))).collect();
    let (counts, warned) = both(&snapshot(&quiet)).unwrap();
    assert_eq!(counts, BTreeMap::from([(Kind::Pod, 100), (Kind::PodPreset, 1)]));
    assert!(warned.0.iter().filter(|d| d.rule == "preset-conflict").count() >= 10);

    // A kind that is spelt with an escape is found before the pods as well.
    for written in ["\"Pod\\x50reset\"", "\"Pod\\\n  Preset\""] {
        let escaped: Vec<(String, String)> = quiet
            .iter()
            .map(|(path, text)| (path.clone(), text.replace("kind: PodPreset", &format!("kind: {written}"))))
            .collect();
        assert_eq!(both(&snapshot(&escaped)).unwrap().1.counts(), warned.counts(), "{written}");
    }

    let mut named = quiet.clone();
    named[0].1 = preset(&long, "  env: [{name: B, value: \"1\"}]\n");
    assert!(both(&snapshot(&named)).unwrap_err().0.iter().any(|d| d.rule == "preset-name-length"));
}

/// A namespace says of its pods what it says, wherever it stands and however it is spelt.
#[test]
fn what_a_namespace_forbids_is_said_although_pods_are_dropped() {
    let mut all: Vec<(String, String)> = (0..40)
        .map(|n| {
            let spec = if n % 4 == 0 { "spec:\n  hostPID: true\n" } else { "spec:\n" };
            let text = pod(&format!("p{n}"), "a", "1").replace("    volumeMounts", "    # volumeMounts");
            (format!("a/{n}.yaml"), text.replace("spec:\n", spec))
        })
        .collect();
    let labels = "{pod-security.kubernetes.io/MODE: baseline}";
    for (kind, mode) in [("Namespace", "warn"), ("\"Name\\x73pace\"", "warn"), ("Namespace", "enforce")] {
        let labels = labels.replace("MODE", mode);
        let text = format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: default, labels: {labels}}}\n");
        all.push(("z/namespace.yaml".to_owned(), text));
        let told = match both(&snapshot(&all)) {
            Ok((counts, told)) => {
                assert_eq!(counts, BTreeMap::from([(Kind::Namespace, 1), (Kind::Pod, 40)]));
                told
            }
            Err(told) => told,
        };
        let violations = told.0.iter().filter(|d| d.rule == "pod-security").count();
        assert_eq!((violations, told.has_errors()), (10, mode == "enforce"), "{kind} {mode}");
        all.pop();
    }
}
