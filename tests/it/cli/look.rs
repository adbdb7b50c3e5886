//! Looking without an agent: the records and the last report.

use serde_json::{Value, json};

use super::harness::Place;

/// A root with one pod on record, as an agent that was killed leaves it.
fn place(report: bool) -> Place {
    let place = Place::new();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]},
    });
    let source = json!({"path": "web.yaml", "document": 0, "line": 1, "column": 1});
    let record = json!({
        "version": 1, "key": {"namespace": "default", "name": "web"}, "uid": "u-1",
        "createdAt": "2026-01-02T03:04:05Z", "revision": "r1", "generation": 1, "sandboxAttempts": 1,
        "realised": {"key": {"namespace": "default", "name": "web"}, "source": source, "spec": pod, "effective": pod,
            "applied": [], "skipped": [], "provenance": [], "digest": "d"},
    });
    place.write("root/pods/u-1/record.json", &record.to_string());
    let log = place.path("root/logs/a.log").display().to_string();
    let instance = json!({
        "name": "a", "kind": "app", "attempt": 0, "id": "x", "sandboxAttempt": 0, "image": "x", "imageId": "x",
        "createdAt": "2026-01-02T03:04:05Z", "logPath": log,
    });
    place.write("root/pods/u-1/containers/a/0/record.json", &instance.to_string());
    place.write("root/logs/a.log", "2026-01-02T03:04:05.0Z stdout F one\n2026-01-02T03:04:06.0Z stderr F two\n");
    if report {
        let mut seen = pod.clone();
        seen["metadata"]["uid"] = json!("u-1");
        seen["status"] = json!({"phase": "Running", "podIP": "10.88.0.2"});
        let mut gone = seen.clone();
        (gone["metadata"]["name"], gone["metadata"]["uid"]) = (json!("gone"), json!("u-0"));
        let snapshot = json!({
            "apiVersion": "podwright.dev/v1alpha1", "kind": "ProjectionSnapshot",
            "reportedAt": "2026-01-02T03:04:05Z", "resourceVersion": 1, "pods": [seen, gone],
        });
        place.write("root/snapshot.json", &snapshot.to_string());
    }
    place
}

#[test]
fn where_no_agent_ever_was_that_is_said_with_the_way_out() {
    let place = Place::new();
    for args in [&["get", "pods"][..], &["describe", "pod", "web"], &["logs", "web"], &["status"]] {
        let said = place.run(args);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{args:?}");
        assert!(said.err.starts_with("error: no agent answers on "), "{args:?}: {}", said.err);
        assert!(said.err.contains("podwright run DIR"), "{args:?}: {}", said.err);
    }
    assert!(!place.path("root").exists());
}

#[test]
fn a_pod_nobody_reports_on_is_unknown_with_the_age_of_the_last_report() {
    let place = place(true);
    let said = place.run(&["get", "pods"]);
    let rows: Vec<Vec<&str>> = said.out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(rows.len(), 2, "what has no record any more is gone: {}", said.out);
    assert_eq!(rows[1][..4], ["web", "0/2", "Unknown", "0"]);
    assert!(said.err.contains("its last report was") && said.err.ends_with(" ago\n"), "{}", said.err);
    let wide = place.run(&["get", "pods", "-o", "wide"]);
    assert!(wide.out.contains("10.88.0.2"), "{}", wide.out);
    let status = place.run(&["status"]);
    assert_eq!(status.code, Some(0));
    assert!(status.out.contains("Unknown") && status.out.contains(" ago"), "{}", status.out);
}

#[test]
fn without_a_report_the_records_tell_which_pods_there_are() {
    let said = place(false).run(&["get", "pods", "-A", "--no-headers"]);
    let row: Vec<&str> = said.out.split_whitespace().collect();
    assert_eq!(row[..4], ["default", "web", "0/2", "Unknown"], "{said:?}");
    assert!(said.err.contains("on record"), "{}", said.err);
}

#[test]
fn names_selectors_and_formats_work_without_an_agent_too() {
    let place = place(true);
    for (args, expected) in [
        (&["get", "pods", "-o", "name"][..], "pod/web\n"),
        (&["get", "po/web", "-o", "name"], "pod/web\n"),
        (&["get", "pods", "-l", "app=web", "-o", "name"], "pod/web\n"),
        (&["get", "pods", "-l", "app=db", "-o", "name"], ""),
        (&["get", "pods", "--field-selector", "status.phase=Unknown", "-o", "name"], "pod/web\n"),
        (&["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"], "web"),
        (&["get", "pod", "web", "-o", "jsonpath={.metadata.name}{'\\n'}"], "web\n"),
    ] {
        assert_eq!(place.run(args).out, expected, "{args:?}");
    }
    let list: Value = serde_json::from_str(&place.run(&["get", "pods", "-o", "json"]).out).unwrap();
    assert_eq!((&list["kind"], &list["items"][0]["status"]["phase"]), (&json!("List"), &json!("Unknown")));
    let one = place.run(&["get", "pod", "web", "-o", "yaml"]).out;
    assert!(one.starts_with("apiVersion: v1\nkind: Pod\nmetadata:\n"), "{one}");
    let none = place.run(&["get", "pods", "-n", "other"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    assert!(none.err.ends_with("No resources found in other namespace.\n"), "{}", none.err);
    let missing = place.run(&["get", "pods", "nope"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.ends_with("Error from server (NotFound): pods \"nope\" not found\n"), "{}", missing.err);
    for (format, why) in [
        ("jsonpath", "no template given"),
        ("jsonpath={.a", "error parsing jsonpath {.a, unclosed action"),
        ("xml", "it must be wide, yaml, json, name or jsonpath=TEMPLATE"),
    ] {
        let refused = place.run(&["get", "pods", "-o", format]);
        assert!(refused.code != Some(0) && refused.err.contains(why), "{format}: {}", refused.err);
    }
    let outside = place.run(&["get", "pods", "-o", "jsonpath={.items[7]}"]);
    assert_eq!((outside.code, outside.out.as_str()), (Some(1), ""));
    assert!(outside.err.contains("array index out of bounds: index 7, length 1"), "{}", outside.err);
    let events = place.run(&["get", "events"]);
    assert_eq!(events.code, Some(1));
    assert!(events.err.starts_with("error: events are known to a running agent only"), "{}", events.err);
}

#[test]
fn logs_and_descriptions_come_from_the_records() {
    let place = place(true);
    let logs = place.run(&["logs", "web"]);
    assert_eq!(logs.out, "one\ntwo\n", "{logs:?}");
    assert!(logs.err.contains("Defaulted container \"a\" out of: a, b\n"), "{}", logs.err);
    assert_eq!(place.run(&["logs", "web", "a", "--tail", "1"]).out, "two\n");
    // The container's monitor is gone, so following ends.
    assert_eq!(place.run(&["logs", "-f", "pod/web", "-c", "a"]).out, "one\ntwo\n");
    for (args, words) in [
        (&["logs", "web", "-c", "b"][..], "container \"b\" in pod \"web\" is waiting to start"),
        (&["logs", "web", "-c", "a", "-p"], "previous terminated container \"a\" in pod \"web\" not found"),
        (&["logs", "web", "-c", "x"], "container x is not valid for pod web"),
        (&["logs", "nope"], "pods \"nope\" not found"),
    ] {
        let said = place.run(args);
        assert_eq!(said.code, Some(1), "{args:?}");
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
    }
    // Another instance: the one before it is told by itself.
    let next = json!({
        "name": "a", "kind": "app", "attempt": 1, "id": "y", "sandboxAttempt": 0, "image": "x", "imageId": "x",
        "createdAt": "2026-01-02T03:04:07Z", "logPath": place.path("root/logs/next.log").display().to_string(),
    });
    place.write("root/pods/u-1/containers/a/1/record.json", &next.to_string());
    let hour = jiff::SignedDuration::from_hours(1);
    let now = jiff::Timestamp::now();
    let lines = [("older", now - hour * 3), ("newer", now - hour)];
    let lines: String = lines.iter().map(|(word, at)| format!("{at} stdout F {word}\n")).collect();
    place.write("root/logs/next.log", &lines);
    for (flags, expected) in [
        (&[][..], "older\nnewer\n"),
        (&["--previous"], "one\ntwo\n"),
        (&["-p", "--tail=1"], "two\n"),
        (&["--since=4h"], "older\nnewer\n"),
        (&["--since=2h"], "newer\n"),
        (&["--since=7200s"], "newer\n"),
        (&["--since=30m"], ""),
    ] {
        let said = place.run(&[&["logs", "web", "-c", "a"], flags].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(0), expected), "{flags:?}: {}", said.err);
    }
    let described = place.run(&["describe", "pod", "web"]);
    assert!(described.out.starts_with("Name:"), "{}", described.out);
    assert!(described.out.lines().any(|l| l.split_whitespace().eq(["Status:", "Unknown"])), "{}", described.out);
}

#[test]
fn logs_of_all_containers_stand_one_after_the_other_with_the_flags_of_kubectl() {
    let place = place(true);
    let b = json!({
        "name": "b", "kind": "app", "attempt": 0, "id": "y", "sandboxAttempt": 0, "image": "x", "imageId": "x",
        "createdAt": "2026-01-02T03:04:05Z", "logPath": place.path("root/logs/b.log").display().to_string(),
    });
    let missing = place.run(&["logs", "web", "--all-containers"]);
    assert_eq!((missing.code, missing.out.as_str()), (Some(1), "one\ntwo\n"), "{missing:?}");
    let told = place.run(&["logs", "web", "--all-containers", "--ignore-errors"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.starts_with("one\ntwo\n") && told.out.contains("\"b\" in pod \"web\" is waiting"), "{told:?}");
    place.write("root/pods/u-1/containers/b/0/record.json", &b.to_string());
    place.write("root/logs/b.log", "2026-01-02T03:04:07.0Z stdout F three\n2026-01-02T03:04:08.0Z stdout P four\n");
    for (flags, expected) in [
        (&[][..], "one\ntwo\nthree\nfour"),
        (&["--prefix"], "[pod/web/a] one\n[pod/web/a] two\n[pod/web/b] three\n[pod/web/b] four\n"),
        (&["--tail=1", "--prefix"], "[pod/web/a] two\n[pod/web/b] four\n"),
        (&["--since-time", "2026-01-02T04:04:07+01:00"], "three\nfour"),
        (&["--since=1s"], ""),
        (&["--limit-bytes=4", "--tail=1"], "two\nfour"),
        (&["--timestamps", "--tail=1"], "2026-01-02T03:04:06.0Z two\n2026-01-02T03:04:08.0Z four"),
    ] {
        let mut args = vec!["logs", "web", "--all-containers"];
        args.extend(flags);
        let said = place.run(&args);
        assert_eq!((said.code, said.out.as_str()), (Some(0), expected), "{flags:?}: {}", said.err);
    }
    let followed = place.run(&["logs", "-f", "web", "--all-containers=true"]);
    let mut lines: Vec<&str> = followed.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["four", "one", "three", "two"], "{followed:?}");
    let refused = place.run(&["logs", "-f", "web", "--all-containers", "--max-log-requests=1"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("you are attempting to follow 2 log streams"), "{}", refused.err);
    for args in [&["logs", "web", "--all-containers", "a"][..], &["logs", "web", "--since-time", "yesterday"]] {
        assert_eq!(place.run(args).code, Some(64), "{args:?}");
    }
}

#[test]
fn logs_of_pods_are_selected_by_their_labels_without_an_agent_too() {
    let place = place(true);
    let record = std::fs::read_to_string(place.path("root/pods/u-1/record.json")).unwrap();
    let other = |name: &str, uid: &str, app: &str| {
        let record = record.replace(r#""name":"web""#, &format!(r#""name":"{name}""#)).replace("u-1", uid);
        place.write(
            &format!("root/pods/{uid}/record.json"),
            &record.replace(r#""app":"web""#, &format!(r#""app":"{app}""#)),
        );
        let log = place.path(&format!("root/logs/{uid}.log"));
        let instance = std::fs::read_to_string(place.path("root/pods/u-1/containers/a/0/record.json")).unwrap();
        let mut instance: Value = serde_json::from_str(&instance).unwrap();
        instance["logPath"] = json!(log);
        place.write(&format!("root/pods/{uid}/containers/a/0/record.json"), &instance.to_string());
        let lines = (0..12).map(|n| format!("2026-01-02T03:04:{n:02}.0Z stdout F {name} {n}\n"));
        std::fs::write(log, lines.collect::<String>()).unwrap();
    };
    other("also", "u-2", "web");
    other("db", "u-3", "db");
    let said = place.run(&["logs", "-l", "app=web", "--prefix"]);
    // Ten lines of each, in the order of the pods' names.
    let mut expected: Vec<String> = (2..12).map(|n| format!("[pod/also/a] also {n}")).collect();
    expected.extend(["one", "two"].map(|line| format!("[pod/web/a] {line}")));
    assert_eq!(
        (said.code, said.out.lines().collect::<Vec<_>>()),
        (Some(0), expected.iter().map(String::as_str).collect())
    );
    assert_eq!(said.err.matches("Defaulted container \"a\" out of: a, b\n").count(), 2, "{}", said.err);
    let all = place.run(&["logs", "-l", "app in (web,db)", "--tail=-1", "-c", "a"]);
    assert_eq!(all.out.lines().count(), 26, "{all:?}");
    let none = place.run(&["logs", "-l", "app=none", "-n", "other"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    assert!(none.err.ends_with("No resources found in other namespace.\n"), "{}", none.err);
    let wrong = place.run(&["logs", "-l", "app=web", "-c", "x"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(1), ""));
    assert!(wrong.err.ends_with("error: container x is not valid for pod also out of: a, b\n"), "{}", wrong.err);
    // Where one has no log the rest is told only if that is asked for.
    let stopped = place.run(&["logs", "-l", "app=web", "--all-containers", "--tail=1"]);
    assert_eq!((stopped.code, stopped.out.as_str()), (Some(1), "also 11\n"));
    let ignored = place.run(&["logs", "-l", "app=web", "--all-containers", "--tail=1", "--ignore-errors"]);
    assert_eq!(ignored.code, Some(0));
    assert!(ignored.out.starts_with("also 11\n") && ignored.out.contains("\ntwo\n"), "{}", ignored.out);
}
