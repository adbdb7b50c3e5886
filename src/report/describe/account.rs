//! `describe serviceaccount`, as kubectl has it (`describeServiceAccount` of staging/src/k8s.io/kubectl/pkg/describe).

use std::fmt::Write as _;

use serde_json::Value;

use super::{annotations, map, texts};
use crate::model::{ACCOUNT_NAME, ACCOUNT_TOKEN};
use crate::report::tabs;

/// The description of an account as the API serves it; `secrets` are those of its namespace.
pub fn describe_account(account: &Value, secrets: &[Value]) -> String {
    let metadata = &account["metadata"];
    let mut out = String::new();
    for (title, member) in [("Name", "name"), ("Namespace", "namespace")] {
        let _ = writeln!(out, "{title}:\t{}", metadata[member].as_str().unwrap_or_default());
    }
    map(&mut out, "Labels:", Some(&texts(&metadata["labels"])));
    annotations(&mut out, Some(&texts(&metadata["annotations"])));
    let named = |list: &str| {
        let items = account[list].as_array().into_iter().flatten();
        items.filter_map(|item| item["name"].as_str()).map(str::to_owned).collect::<Vec<String>>()
    };
    let name = |secret: &Value| secret["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let is_of_it = |secret: &&Value| {
        secret["type"] == ACCOUNT_TOKEN && secret["metadata"]["annotations"][ACCOUNT_NAME] == metadata["name"]
    };
    let tokens = secrets.iter().filter(is_of_it).map(name).collect();
    for (title, names) in [
        ("Image pull secrets:", named("imagePullSecrets")),
        ("Mountable secrets:", named("secrets")),
        ("Tokens:", tokens),
    ] {
        if names.is_empty() {
            let _ = writeln!(out, "{title}\t<none>");
        }
        for (index, own) in names.iter().enumerate() {
            let missing = if secrets.iter().any(|secret| name(secret) == *own) { "" } else { " (not found)" };
            let _ = writeln!(out, "{}\t{own}{missing}", if index == 0 { title } else { "" });
        }
    }
    out.push_str("Events:\t<none>\n");
    tabs::align(&out, 0, 2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_is_described_as_kubectl_describes_it() {
        let account = json!({"metadata": {"name": "robot", "namespace": "shop", "labels": {"app": "x"}},
            "imagePullSecrets": [{"name": "pull"}, {"name": "gone"}]});
        let token =
            json!({"type": ACCOUNT_TOKEN, "metadata": {"name": "robot-token", "annotations": {ACCOUNT_NAME: "robot"}}});
        let other =
            json!({"type": ACCOUNT_TOKEN, "metadata": {"name": "other", "annotations": {ACCOUNT_NAME: "other"}}});
        let expected = "Name:                robot\n\
                        Namespace:           shop\n\
                        Labels:              app=x\n\
                        Annotations:         <none>\n\
                        Image pull secrets:  pull\n\
                        \x20                    gone (not found)\n\
                        Mountable secrets:   <none>\n\
                        Tokens:              robot-token\n\
                        Events:              <none>\n";
        assert_eq!(describe_account(&account, &[token, other, json!({"metadata": {"name": "pull"}})]), expected);
    }
}
