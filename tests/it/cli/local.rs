//! `secret` and `configmap`: objects of this machine alone.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::harness::{Place, Said};
use crate::points;
use crate::support;

const CREATE: &[&str] = &["secret", "create", "generic", "db", "--from-literal=password=planted-value", "--local"];

fn said(code: i32, out: &str, err: &str) -> Said {
    Said { code: Some(code), out: out.into(), err: err.into() }
}

fn with(args: &[&'static str], more: &[&'static str]) -> Vec<&'static str> {
    args.iter().chain(more).copied().collect()
}

/// Every file below with its mode.
fn files(top: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut queue = vec![top.to_owned()];
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                queue.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(top).unwrap().display().to_string();
                found.insert(name, entry.metadata().unwrap().permissions().mode() & 0o7777);
            }
        }
    }
    found
}

#[test]
fn an_object_is_provisioned_listed_replaced_and_removed() {
    let place = Place::new();
    let listed = |args: &[&str]| place.run(args).out;
    assert_eq!(place.run(&["secret", "ls"]), said(0, "", "no secrets are provisioned on this machine\n"));
    assert_eq!(place.run(CREATE), said(0, "secret/db created\n", ""));
    let again = "error: cannot create secrets \"db\": it already exists on this machine\n  help: --replace puts this one in its place\n";
    assert_eq!(place.run(CREATE), said(1, "", again));
    assert_eq!(place.run(&with(CREATE, &["--replace"])), said(0, "secret/db replaced\n", ""));
    // The longer way to say it, another namespace, another kind.
    let typed = ["create", "secret", "generic", "db", "-n", "shop", "--type=example.com/x", "--local"];
    assert_eq!(place.run(&typed), said(0, "secret/db created\n", ""));
    let config = ["configmap", "create", "ui", "--from-literal=a=1", "--from-literal=b=2", "--local"];
    assert_eq!(place.run(&config), said(0, "configmap/ui created\n", ""));
    let expected = [("configmaps/default/ui", 0o600), ("secrets/default/db", 0o600), ("secrets/shop/db", 0o600)];
    assert_eq!(files(&place.path("root/local")), expected.map(|(name, mode)| (name.to_owned(), mode)).into());
    assert_eq!(listed(&["secret", "ls"]), "NAME   TYPE     DATA\ndb     Opaque   1\n");
    let both = "NAMESPACE   NAME   TYPE            DATA\ndefault     db     Opaque          1\nshop        db     example.com/x   0\n";
    assert_eq!(listed(&["secret", "ls", "-A"]), both);
    assert_eq!(listed(&["configmap", "ls"]), "NAME   DATA\nui     2\n");
    // Without --local nothing is provisioned.
    let printed = place.run(&["secret", "create", "generic", "other", "--from-literal=a=b"]);
    assert_eq!(printed.out, place.run(&["create", "secret", "generic", "other", "--from-literal=a=b"]).out);
    assert_eq!(files(&place.path("root/local")).len(), 3);
    let removed = place.run(&["secret", "rm", "db", "none"]);
    let none = "Error from server (NotFound): secrets \"none\" not found\n";
    assert_eq!(removed, said(1, "secret \"db\" deleted\n", none));
    assert_eq!(listed(&["secret", "ls", "-A"]).lines().count(), 2);
}

#[test]
fn what_cannot_be_one_is_not_provisioned() {
    let place = Place::new();
    let usage = [
        with(CREATE, &["-o", "json"]),
        with(CREATE, &["--dry-run=client"]),
        vec!["secret", "create", "generic", "db", "--replace"],
        vec!["secret", "rm"],
    ];
    for args in usage {
        assert_eq!(place.run(&args).code, Some(64), "{args:?}");
    }
    for (name, namespace) in [("../../escape", "default"), ("Upper", "default"), ("db", "../x")] {
        let args = ["secret", "create", "generic", name, "-n", namespace, "--local"];
        assert_eq!(place.run(&args).code, Some(1), "{args:?}");
    }
    assert_eq!(files(&place.path("root/local")), BTreeMap::new());
    place.write("root/local/secrets/default/kept", "");
    place.write("root/outside", "");
    for (name, namespace) in [("../default/kept", "default"), ("kept", "../secrets/default"), ("outside", "../..")] {
        assert_eq!(place.run(&["secret", "rm", name, "-n", namespace]).code, Some(1), "{name}");
    }
    assert!(place.path("root/outside").exists() && place.path("root/local/secrets/default/kept").exists());
}

#[test]
fn what_somebody_else_put_there_is_told_and_hides_nothing() {
    let place = Place::new();
    assert_eq!(place.run(CREATE).code, Some(0));
    let pod = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \
               \"image\": \"i\"}]}}";
    place.write("root/local/secrets/default/pod", pod);
    place.write("root/local/secrets/default/torn", "{\"apiVersion\": \"v1\", \"kind\": \"Sec");
    place.write("root/local/secrets/default/data", "{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"x\"}, \"data\": {\"k\": \"planted!value\"}}");
    symlink("/etc/passwd", place.path("root/local/secrets/default/link")).unwrap();
    let said = place.run(&["secret", "ls"]);
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 2), "{said:?}");
    assert_eq!(said.err.lines().filter(|line| line.starts_with("warning: ")).count(), 4, "{said:?}");
    // Whatever is wrong there, another one can be provisioned, and each can be removed.
    assert_eq!(place.run(&["secret", "create", "generic", "other", "--local"]).code, Some(0));
    for name in ["pod", "torn", "data", "link"] {
        assert_eq!(place.run(&["secret", "rm", name]).code, Some(0), "{name}");
    }
    assert_eq!(place.run(&["secret", "ls"]).err, "");
    assert!(!said.err.contains("planted"), "{said:?}");
}

#[test]
fn a_provisioning_that_is_killed_at_every_effect_leaves_the_old_object_or_the_new_one() {
    if !cfg!(debug_assertions) {
        return support::skip("a release has no fault points");
    }
    let place = Place::new();
    let secret = place.path("root/local/secrets/default/db");
    // Points are told apart by what is done to which place, so removing has a list of its own.
    let run = |args: &[&str]| {
        let fault = format!("agent:kill:{}", place.path(args[1]).display());
        place.podwright(args).env("PODWRIGHT_FAULT", fault).output().unwrap().status
    };
    let mut tries = 0;
    let mut before: Option<Vec<u8>> = None;
    for args in [
        CREATE.to_vec(),
        vec!["secret", "create", "generic", "db", "--from-literal=password=next", "--local", "--replace"],
    ] {
        // One that was killed may have done what it was to do.
        while !run(&args).success() {
            tries += 1;
            assert!(tries < 100, "{args:?}");
            let now = std::fs::read(&secret).ok();
            if let Some(bytes) = &now {
                let object: serde_json::Value = serde_json::from_slice(bytes).unwrap();
                assert_eq!(object["kind"], "Secret");
            }
            assert!(now.is_some() || before.is_none(), "an object was lost");
            if now.is_some() && args == CREATE {
                break;
            }
        }
        before = std::fs::read(&secret).ok();
        assert!(before.is_some());
    }
    let kept = before.unwrap();
    while !run(&["secret", "rm", "db"]).success() {
        tries += 1;
        assert!(tries < 100);
        match std::fs::read(&secret) {
            Ok(bytes) => assert_eq!(bytes, kept),
            // Killed between the removal and its being on the disk: once more.
            Err(_) => std::fs::write(&secret, &kept).unwrap(),
        }
    }
    assert_eq!(files(&place.path("root/local")), BTreeMap::new(), "nothing of it is left");
    assert!(tries > 10, "{tries} kills");
    let met = ["create", "rm"].map(|list| std::fs::read_to_string(place.path(list)).unwrap()).concat();
    points::check("local", &points::effects(&met));
}
