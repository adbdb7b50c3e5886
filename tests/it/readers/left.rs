//! What commands read without an agent: the program itself is run, a panic of it has the exit code 101.

use std::process::{Command, Stdio};

use super::effects::{CONTAINER, POD};
use super::foreign::Foreign;

const WORDS: &[&str] =
    &["{", "}", "[", "]", "\"", ":", ",", "null", "1", "-", "\n", "name", "pods", "version", "A=b", "=", "#"];

const CERTIFICATE: &str = include_str!("../../../fixtures/create/input/ec.crt");
const KEY: &str = include_str!("../../../fixtures/create/input/ec8.key");

/// Runs commands on a root in which one file is what it should not be.
fn commands(file: &'static str, sample: &str, commands: &'static [&'static [&'static str]]) -> Foreign {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    let write = move |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("pods/u-1/record.json", POD.as_bytes());
    write("pods/u-1/containers/a/0/record.json", CONTAINER.as_bytes());
    write("input.env", b"");
    write("input.crt", CERTIFICATE.as_bytes());
    write("input.key", KEY.as_bytes());
    let run = move |bytes: &[u8]| {
        write(file, bytes);
        let mut said = String::new();
        for arguments in commands {
            let mut command = Command::new(env!("CARGO_BIN_EXE_podwright"));
            command.args(*arguments).current_dir(place.path()).env_clear().env("HOME", place.path());
            let output = command.env("PODWRIGHT_ROOT", "root").stdin(Stdio::null()).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {:?}: {error}", output.status);
            said += &error;
            said += &String::from_utf8_lossy(&output.stdout);
        }
        said
    };
    Foreign::new(sample, WORDS, run).cases(12)
}

pub fn pod_record() -> Foreign {
    commands("pods/u-1/record.json", POD, &[&["get", "pods", "-o", "wide"], &["describe", "pod", "web"]])
}

pub fn container_record() -> Foreign {
    commands("pods/u-1/containers/a/0/record.json", CONTAINER, &[&["logs", "web", "-c", "a"], &["image", "list"]])
}

pub fn report() -> Foreign {
    const REPORT: &str = r#"{"apiVersion": "podwright.dev/v1alpha1", "kind": "ProjectionSnapshot", "resourceVersion": 1,
        "reportedAt": "2026-01-02T03:04:05Z", "pods": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web",
        "namespace": "default", "uid": "u-1"}, "spec": {"containers": [{"name": "a"}]}, "status": {"phase": "Running",
        "containerStatuses": [{"name": "a", "restartCount": 1, "ready": true}]}}]}"#;
    commands("snapshot.json", REPORT, &[&["get", "pods"], &["describe", "pod", "web"]])
}

pub fn status() -> Foreign {
    commands("run/status.yaml", super::parsers::STATUS, &[&["status"]])
}

pub fn environment_file() -> Foreign {
    commands("input.env", "A=b\n# c\nD\n", &[&["create", "configmap", "x", "--from-env-file", "root/input.env"]])
}

const TLS: &[&[&str]] = &[&["create", "secret", "tls", "x", "--cert", "root/input.crt", "--key", "root/input.key"]];

pub fn certificate() -> Foreign {
    Foreign { words: PEM, ..commands("input.crt", CERTIFICATE, TLS) }.cases(40)
}

pub fn private_key() -> Foreign {
    Foreign { words: PEM, ..commands("input.key", KEY, TLS) }.cases(40)
}

/// What PEM files are made of.
const PEM: &[&str] = &[
    "-----BEGIN ",
    "-----END ",
    "CERTIFICATE",
    "PRIVATE KEY",
    "EC PRIVATE KEY",
    "RSA PRIVATE KEY",
    "ENCRYPTED",
    "-----",
    "\n",
    ": ",
    "MIIB",
    "MA==",
    "=",
    "é",
];

pub fn docker_configuration() -> Foreign {
    const SAMPLE: &str = r#"{"auths": {"registry.example.com": {"username": "u", "password": "p", "email": "e@example.com",
        "auth": "dTpw"}}, "credHelpers": {}, "HttpHeaders": {"a": "b"}}"#;
    const COMMAND: &[&str] =
        &["create", "secret", "docker-registry", "x", "--from-file", ".dockerconfigjson=root/input.json"];
    commands("input.json", SAMPLE, &[COMMAND]).cases(40)
}
