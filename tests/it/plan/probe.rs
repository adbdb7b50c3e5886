//! One probe: when it is asked, how many equal answers it takes, and what it is made of.

use std::time::Duration;

use podwright::model::ProbeKind::{Liveness, Readiness, Startup};
use podwright::model::{Handler, NoHandler, ProbeKey, ProbeKind, ProbeRun};
use podwright::plan::Tally;
use serde_json::{Value, json};

use super::world::{World, at};
use crate::admit::without_tokens::{admitted, pod_of};

/// A probe of an instance that started at second 10: five seconds of delay, asked every three.
fn run(kind: ProbeKind, successes: u32, failures: u32) -> ProbeRun {
    ProbeRun {
        key: ProbeKey { container: "c".into(), attempt: 0, id: "c-0".into(), kind },
        handler: Ok(Handler::Exec { command: vec![] }),
        started_at: at(10),
        delay: Duration::from_secs(5),
        period: Duration::from_secs(3),
        timeout: Duration::from_secs(1),
        successes,
        failures,
    }
}

/// What counts after each answer (`+` success, `-` failure): the same signs, `?` for neither; `.` at the end when it is not
/// asked any more.
fn counted(kind: ProbeKind, (successes, failures): (u32, u32), answers: &str) -> String {
    let run = run(kind, successes, failures);
    let sign = |tally: Tally| tally.passed().map_or('?', |passed| if passed { '+' } else { '-' });
    let mut tally = Tally::new(kind, None);
    let mut said = sign(tally).to_string();
    for answer in answers.chars() {
        tally = tally.begun(at(20)).answered(&run, answer == '+');
        said.push(sign(tally));
        if tally.is_over() {
            said.push('.');
            break;
        }
    }
    said
}

#[test]
fn thresholds_count_equal_answers_in_a_row() {
    let rows: &[(ProbeKind, (u32, u32), &str, &str)] = &[
        (Liveness, (1, 3), "", "+"),
        (Liveness, (1, 3), "---+", "+++-."),
        (Liveness, (1, 3), "--+--+--", "+++++++++"),
        (Liveness, (1, 1), "-", "+-."),
        (Liveness, (1, 3), "++++", "+++++"),
        (Readiness, (1, 3), "", "-"),
        (Readiness, (1, 3), "+--+---+", "-++++++-+"),
        (Readiness, (3, 1), "++-+++-", "------+-"),
        (Readiness, (2, 2), "+-+-++--", "------++-"),
        (Startup, (1, 3), "", "?"),
        (Startup, (1, 3), "--+", "???+."),
        (Startup, (1, 3), "---", "???-."),
        (Startup, (1, 1), "-", "?-."),
        (Startup, (1, 30), "+", "?+."),
    ];
    for (kind, thresholds, answers, expected) in rows {
        assert_eq!(counted(*kind, *thresholds, answers), *expected, "{kind} {thresholds:?} {answers}");
    }
}

#[test]
fn a_probe_is_asked_after_its_delay_and_then_once_in_a_period() {
    let run = run(Liveness, 1, 3);
    let fresh = Tally::new(Liveness, None);
    let asked = fresh.begun(at(15));
    let rows = [
        ("the delay counts from the start", fresh, 10, 15),
        ("it is over", fresh, 15, 15),
        ("it has been for long: an agent that begins anew", fresh, 500, 500),
        ("the clock was set back", fresh, 2, 7),
        ("a period after it was asked", asked, 15, 18),
        ("it took a second", asked, 16, 18),
        ("it took longer than a period", asked, 22, 22),
        ("the clock was set back since", asked, 4, 7),
    ];
    for (what, tally, now, due) in rows {
        assert_eq!(tally.due(&run, at(now)), at(due), "{what}");
    }
}

/// The first probe that is asked of a container with this one.
fn planned(probe: Value) -> ProbeRun {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "image": "i:1", "livenessProbe": probe, "ports": [{"name": "web", "containerPort": 81}]}]}});
    let admitted = admitted(&[pod]);
    let mut world = World::new(&pod_of(&admitted, "default", "p"), &admitted.data);
    world.settle();
    world.plan().probes.remove(0)
}

#[test]
fn a_probe_is_made_of_its_fields_and_the_defaults() {
    let numbers = |run: ProbeRun| {
        let seconds = [run.delay, run.period, run.timeout].map(|duration| duration.as_secs());
        (seconds, run.successes, run.failures)
    };
    let tcp = |port: Value| json!({"tcpSocket": {"port": port}});
    assert_eq!(numbers(planned(tcp(json!(80)))), ([0, 10, 1], 1, 3));
    let mut all = tcp(json!(80));
    let fields = [
        ("initialDelaySeconds", 4),
        ("periodSeconds", 5),
        ("timeoutSeconds", 6),
        ("successThreshold", 1),
        ("failureThreshold", 8),
    ];
    for (field, value) in fields {
        all[field] = json!(value);
    }
    assert_eq!(numbers(planned(all.clone())), ([4, 5, 6], 1, 8));
    for (field, _) in fields {
        all[field] = json!(0);
    }
    assert_eq!(numbers(planned(all)), ([0, 10, 1], 1, 3), "a zero is none");
    let handler = |port: Value| planned(tcp(port)).handler;
    assert_eq!(handler(json!("web")), Ok(Handler::TcpSocket { host: None, port: 81 }));
    assert_eq!(handler(json!("gone")), Err(NoHandler::UnknownPort("gone".into())));
}
