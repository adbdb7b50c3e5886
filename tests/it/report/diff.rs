//! The text of a plan.

use std::sync::Arc;

use podwright::model::{
    Admitted, AdmittedPod, Cause, DataObjects, Diagnostics, FieldChange, FleetAction, FleetPlan, PodKey, Reason,
    Revision, RevisionKind, Verb,
};
use podwright::report::fleet_diff_text;
use serde_json::json;

use super::fixture::{admitted, observed};

fn revision(pods: &[&Arc<AdmittedPod>]) -> Admitted {
    Admitted {
        revision: Revision { kind: RevisionKind::Commit, id: "r".into(), subject: None, branch: None },
        pods: pods.iter().map(|p| (p.key.clone(), Arc::clone(p))).collect(),
        data: Arc::new(DataObjects::default()),
        objects: Default::default(),
        sources: Default::default(),
        unread: Default::default(),
        diagnostics: Diagnostics::default(),
    }
}

fn change(field: &str, preset: Option<&str>) -> FieldChange {
    FieldChange {
        field: field.into(),
        before: None,
        after: Some("1".into()),
        effect: Verb::Recreate,
        cause: preset.map_or(Cause::Manifest, |name| Cause::Preset { name: name.into() }),
        container: None,
        avoidable: None,
        note: None,
    }
}

#[test]
fn each_pod_has_its_cause_and_its_difference_and_the_counts_come_last() {
    let old = admitted("website", json!({}), json!({"containers": [{"name": "website", "image": "nginx"}]}));
    let env = json!([{"name": "DB_PORT", "value": "6379"}]);
    let new = json!({"containers": [{"name": "website", "image": "nginx", "env": env}]});
    let new = Arc::new(admitted("website", json!({"labels": {"role": "frontend"}}), new));
    let extra = Arc::new(admitted("extra", json!({}), json!({"containers": [{"name": "a"}]})));
    let gone = admitted("gone", json!({}), json!({"containers": [{"name": "b"}]}));
    let changes = vec![change("spec.containers[0].env", Some("allow-database")), change("metadata.labels", None)];
    let plan = FleetPlan {
        actions: vec![
            FleetAction::Remove { key: PodKey::new("default", "gone"), reason: Reason::PodRemoved },
            FleetAction::Apply { pod: extra.clone(), reason: Reason::PodAdded },
            FleetAction::Apply { pod: new.clone(), reason: Reason::Recreated(changes) },
        ],
        unchanged: vec![PodKey::new("default", "same")],
        ..FleetPlan::default()
    };
    let text = fleet_diff_text(&plan, &revision(&[&extra, &new]), &[observed(old), observed(gone)]);
    let expected = "\
- default/gone  delete  removed from the manifests
--- a/default/gone
+++ /dev/null
@@ -1,6 +0,0 @@
-metadata:
-  name: gone
-  namespace: default
-spec:
-  containers:
-  - name: b
+ default/extra  create
--- /dev/null
+++ b/default/extra
@@ -0,0 +1,6 @@
+metadata:
+  name: extra
+  namespace: default
+spec:
+  containers:
+  - name: a
~ default/website  recreate  spec.containers[0].env (PodPreset allow-database), metadata.labels
--- a/default/website
+++ b/default/website
@@ -1,7 +1,12 @@
 metadata:
   name: website
   namespace: default
+  labels:
+    role: frontend
 spec:
   containers:
-  - image: nginx
+  - env:
+    - name: DB_PORT
+      value: '6379'
+    image: nginx
     name: website
1 to create, 0 to update in place, 1 to recreate, 1 to delete, 1 unchanged
";
    assert_eq!(text, expected);
}

#[test]
fn an_empty_plan_is_its_counts() {
    let text = fleet_diff_text(&FleetPlan::default(), &revision(&[]), &[]);
    assert_eq!(text, "0 to create, 0 to update in place, 0 to recreate, 0 to delete, 0 unchanged\n");
}

#[test]
fn a_change_in_place_says_so() {
    let old = admitted("web", json!({}), json!({"containers": [{"name": "a", "image": "nginx:1"}]}));
    let new = Arc::new(admitted("web", json!({}), json!({"containers": [{"name": "a", "image": "nginx:2"}]})));
    let reason = Reason::UpdatedInPlace(vec![change("spec.containers[0].image", None)]);
    let plan = FleetPlan { actions: vec![FleetAction::Apply { pod: new.clone(), reason }], ..FleetPlan::default() };
    let text = fleet_diff_text(&plan, &revision(&[&new]), &[observed(old)]);
    assert!(text.starts_with("~ default/web  update in place  spec.containers[0].image\n"), "{text}");
    assert!(text.contains("-  - image: nginx:1\n+  - image: nginx:2\n"), "{text}");
}
