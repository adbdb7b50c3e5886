//! What objects have to do with each other, and fields whose meaning is in the reading alone.

use podwright::model::Severity;

use super::read;

fn pod(spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  {spec}\n  containers: [{{name: c, image: i:1}}]\n"
    )
}

/// `rule field` of each diagnostic, errors in capitals.
fn told(files: &[(&str, &str)]) -> Vec<String> {
    let show = |d: &podwright::model::Diagnostic| {
        let rule = if d.severity == Severity::Error { d.rule.to_uppercase() } else { d.rule.to_owned() };
        format!("{rule} {}", d.field.as_deref().unwrap_or_default())
    };
    read(files).diagnostics.0.iter().map(show).collect()
}

const ROBOT: &str = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: robot}\n";

#[test]
fn an_account_that_is_not_among_the_manifests_is_a_warning() {
    let quiet = "automountServiceAccountToken: false\n  ";
    for field in ["serviceAccountName", "serviceAccount"] {
        let named = pod(&format!("{quiet}{field}: robot"));
        assert_eq!(told(&[("pod.yaml", &named)]), [format!("missing-object spec.{field}")]);
        assert_eq!(told(&[("pod.yaml", &named), ("robot.yaml", ROBOT)]), [""; 0]);
        let elsewhere = ROBOT.replace("name: robot", "name: robot, namespace: other");
        assert_eq!(told(&[("pod.yaml", &named), ("robot.yaml", &elsewhere)]), [format!("missing-object spec.{field}")]);
        assert_eq!(told(&[("pod.yaml", &pod(&format!("{field}: default")))]), [""; 0], "every namespace has it");
    }
    let both = pod(&format!("{quiet}serviceAccountName: robot\n  serviceAccount: other"));
    assert_eq!(told(&[("pod.yaml", &both), ("robot.yaml", ROBOT)]), ["CONTRADICTION spec.serviceAccount"]);
}

#[test]
fn a_secret_for_an_account_has_its_keys_and_misses_the_account() {
    let secret = |account: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, annotations: {{kubernetes.io/service-account.name: {account}}}}}\ntype: kubernetes.io/service-account-token\n"
        )
    };
    let with = |key: &str| {
        let from = format!("{{secretKeyRef: {{name: s, key: {key}}}}}");
        pod("restartPolicy: Always")
            .replace("image: i:1}", &format!("image: i:1, env: [{{name: A, valueFrom: {from}}}]}}"))
    };
    for key in ["token", "ca.crt", "namespace"] {
        assert_eq!(told(&[("pod.yaml", &with(key)), ("s.yaml", &secret("default"))]), [""; 0], "{key}");
    }
    let missing = ["missing-key spec.containers[0].env[0].valueFrom.secretKeyRef.key"];
    assert_eq!(told(&[("pod.yaml", &with("other")), ("s.yaml", &secret("default"))]), missing);
    let missing = ["missing-object metadata.annotations[kubernetes.io/service-account.name]"];
    assert_eq!(told(&[("s.yaml", &secret("robot"))]), missing);
    assert_eq!(told(&[("s.yaml", &secret("robot")), ("robot.yaml", ROBOT)]), [""; 0]);
}

#[test]
fn the_certificate_that_every_namespace_has_is_not_missed() {
    let with = |name: &str, key: &str| {
        let from = format!("{{configMapKeyRef: {{name: {name}, key: {key}}}}}");
        pod("restartPolicy: Always")
            .replace("image: i:1}", &format!("image: i:1, env: [{{name: A, valueFrom: {from}}}]}}"))
    };
    assert_eq!(told(&[("pod.yaml", &with("kube-root-ca.crt", "ca.crt"))]), [""; 0]);
    let missing = ["missing-object spec.containers[0].env[0].valueFrom.configMapKeyRef.name"];
    assert_eq!(told(&[("pod.yaml", &with("other-ca.crt", "ca.crt"))]), missing);
}

#[test]
fn a_field_reference_is_of_version_one() {
    let with = |version: &str| {
        pod("restartPolicy: Always").replace(
            "image: i:1}",
            &format!(
                "image: i:1, env: [{{name: A, valueFrom: {{fieldRef: {{{version}fieldPath: metadata.name}}}}}}]}}"
            ),
        )
    };
    assert_eq!(told(&[("pod.yaml", &with(""))]), [""; 0]);
    assert_eq!(told(&[("pod.yaml", &with("apiVersion: v1, "))]), [""; 0]);
    let expected = ["CHOICE spec.containers[0].env[0].valueFrom.fieldRef.apiVersion"];
    assert_eq!(told(&[("pod.yaml", &with("apiVersion: v2, "))]), expected);
}

#[test]
fn names_of_ports_are_checked_and_shown() {
    let text =
        pod("restartPolicy: Always").replace("image: i:1}", "image: i:1, ports: [{name: http, containerPort: 80}]}");
    let desired = read(&[("pod.yaml", &text)]);
    assert!(desired.diagnostics.0.is_empty());
    let (_, pod) = desired.pods.values().next().unwrap();
    let pod = pod.open();
    let ports = pod.spec.as_ref().unwrap().containers[0].ports.as_ref().unwrap();
    assert_eq!(ports[0].name.as_deref(), Some("http"));
    let expected = ["NAME spec.containers[0].ports[0].name"];
    assert_eq!(told(&[("pod.yaml", &text.replace("name: http", "name: HTTP"))]), expected);
}

#[test]
fn keys_that_a_type_needs_are_asked_for() {
    let secret = |kind: &str, key: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ntype: {kind}\nstringData: {{{key}: '{{}}'}}\n")
    };
    let types = [
        ("kubernetes.io/dockerconfigjson", ".dockerconfigjson"),
        ("kubernetes.io/dockercfg", ".dockercfg"),
        ("kubernetes.io/ssh-auth", "ssh-privatekey"),
        ("kubernetes.io/basic-auth", "username"),
        ("kubernetes.io/basic-auth", "password"),
        ("Opaque", "other"),
        ("example.com/own", "other"),
    ];
    for (kind, key) in types {
        assert_eq!(told(&[("s.yaml", &secret(kind, key))]), [""; 0], "{kind}");
        let expected = if key == "other" { vec![] } else { vec!["MISSING-FIELD type"] };
        assert_eq!(told(&[("s.yaml", &secret(kind, "nothing"))]), expected, "{kind}");
    }
}

#[test]
fn an_optional_reference_may_lead_nowhere_and_another_one_is_a_warning() {
    let volumes = |optional: &str| {
        pod(&format!(
            "volumes: [{{name: a, configMap: {{name: m{optional}}}}}, {{name: b, secret: {{secretName: s{optional}}}}}]"
        ))
    };
    assert_eq!(told(&[("pod.yaml", &volumes(", optional: true"))]), [""; 0]);
    let expected =
        ["missing-object spec.volumes[0].configMap.name", "missing-object spec.volumes[1].secret.secretName"];
    assert_eq!(told(&[("pod.yaml", &volumes(""))]), expected);
}

#[test]
fn secrets_to_pull_with_and_keys_that_are_needed_are_looked_up() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {key: a}\nbinaryData: {bin: AA==}\n";
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {token: a}\n";
    let spec = "volumes: [{name: v, configMap: {name: m, items: [{key: key, path: a}, {key: bin, path: b}, {key: kye, path: c}]}}]\n  \
                imagePullSecrets: [{name: s}, {name: pull}]";
    let text = pod(spec).replace(
        "image: i:1}",
        "image: i:1, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: tokn}}}, \
         {name: B, valueFrom: {configMapKeyRef: {name: m, key: gone, optional: true}}}]}",
    );
    let files = [("a.yaml", map), ("pod.yaml", text.as_str()), ("s.yaml", secret)];
    let expected = [
        "missing-key spec.volumes[0].configMap.items[2].key",
        "missing-object spec.imagePullSecrets[1].name",
        "missing-key spec.containers[0].env[0].valueFrom.secretKeyRef.key",
    ];
    assert_eq!(told(&files), expected);
    let help: Vec<String> = read(&files).diagnostics.0.into_iter().filter_map(|d| d.help).collect();
    assert!(help[0] == "did you mean `key`?" && help[2] == "did you mean `token`?", "{help:?}");
    let account =
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\nimagePullSecrets: [{name: s}, {name: gone}]\n";
    let told = told(&[("a.yaml", account), ("s.yaml", secret)]);
    assert_eq!(told, ["missing-object imagePullSecrets[1].name"]);
}

#[test]
fn an_image_without_a_tag_is_a_warning() {
    let cases = [
        ("nginx", true),
        ("example.com:5000/team/app", true),
        ("nginx:latest", false),
        ("nginx:1.29", false),
        ("example.com:5000/app:1", false),
        ("nginx@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", false),
        ("podwright.invalid/host", false),
    ];
    for (image, warns) in cases {
        let text = pod("restartPolicy: Always").replace("image: i:1", &format!("image: '{image}'"));
        let expected = if warns { vec!["image-tag spec.containers[0].image"] } else { vec![] };
        assert_eq!(told(&[("pod.yaml", &text)]), expected, "{image}");
    }
}

#[test]
fn annotations_together_have_at_most_256_kib() {
    let with = |bytes: usize| {
        let text = "x".repeat(bytes / 2);
        // The keys `a` and `b` count too.
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\n  annotations: {{a: {text}, b: {text}}}\n")
    };
    let most = (256 << 10) - 2;
    assert_eq!(told(&[("m.yaml", &with(most))]), [""; 0]);
    assert_eq!(told(&[("m.yaml", &with(most + 2))]), ["ANNOTATION metadata.annotations"]);
}

#[test]
fn a_variable_that_builds_on_an_earlier_one_is_meant() {
    let cases =
        [("$(PATH):/opt", vec![]), ("/opt", vec!["duplicate-variable"]), ("$(PATH)", vec!["duplicate-variable"])];
    for (value, expected) in cases {
        let variables = format!("image: i:1, env: [{{name: PATH, value: /bin}}, {{name: PATH, value: '{value}'}}]}}");
        let text = pod("restartPolicy: Always").replace("image: i:1}", &variables);
        let found: Vec<&str> = read(&[("pod.yaml", &text)]).diagnostics.0.iter().map(|d| d.rule).collect();
        assert_eq!(found, expected, "{value}");
    }
}
