//! When an ended container runs again: restart policies and the crash back-off.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, ContainerRestartRule, PodSpec};

use super::failure::double;
use crate::model::{
    ContainerKind, ContainerRecord, ExitRecord, ImageSource, ObservedContainer, ProbeKind, Reason, Stopping,
};

/// An instance that ended so long after it was begun starts the back-off anew (kubelet: twice the longest back-off).
const RESET_AFTER: SignedDuration = SignedDuration::from_secs(600);

/// Which list of the pod a container stands in.
pub(super) fn kind_of(container: &Container, init: bool) -> ContainerKind {
    match (init, container.restart_policy.as_deref()) {
        (true, Some("Always")) => ContainerKind::Sidecar,
        (true, _) => ContainerKind::Init,
        (false, _) => ContainerKind::App,
    }
}

/// What decides whether an ended container runs again: its own policy with its rules, else the pod's policy
/// (pkg/api/v1/pod/util.go of 1.36, `ContainerShouldRestart`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    name: &'a str,
    container: &'a Container,
}

impl<'a> Policy<'a> {
    /// Of a container in its list. An init container has to succeed once, so `Always` of the pod means `OnFailure` for it.
    pub(super) fn of(container: &'a Container, kind: ContainerKind, pod_policy: &'a str) -> Self {
        let name = match (kind, container.restart_policy.as_deref().unwrap_or(pod_policy)) {
            (ContainerKind::Sidecar, _) => "Always",
            (ContainerKind::Init, "Always") => "OnFailure",
            (_, policy) => policy,
        };
        Self { name, container }
    }

    /// Whether an ended container runs again. A start that was cut short has not run it: kubelet, too, always starts what it
    /// finds merely created.
    pub(super) fn restarts(self, exit: &ExitRecord) -> bool {
        if exit.started_at.is_none() && exit.reason.as_deref() == Some("ContainerStatusUnknown") {
            return true;
        }
        if rule(self.container, exit.exit_code).is_some() {
            return true;
        }
        match self.name {
            "Never" => false,
            "OnFailure" => exit.exit_code != 0,
            _ => true,
        }
    }

    /// Whether one that failed its probe or its hook runs again whatever its exit code is.
    pub(super) fn restarts_what_failed(self) -> bool {
        self.name != "Never"
    }

    /// Whether one that ended in an earlier sandbox runs again in a new one: only success under `OnFailure` lasts
    /// (pkg/kubelet/kuberuntime/kuberuntime_manager.go, `computePodActions`, the containers that run once), unless a rule has it
    /// run again.
    pub(super) fn runs_anew(self, exit: &ExitRecord) -> bool {
        self.name != "OnFailure" || exit.exit_code != 0 || rule(self.container, exit.exit_code).is_some()
    }

    /// In words, for one that ended so.
    pub(super) fn told(self, exit: &ExitRecord) -> String {
        match rule(self.container, exit.exit_code) {
            Some((index, _)) => format!("{} overruled by restartPolicyRules[{index}]", self.name),
            None => self.name.to_owned(),
        }
    }
}

/// The first rule of a container for this exit code, with its place (`FindMatchingContainerRestartRule`). Each action there is
/// restarts the container itself; rules without a policy of the container's own are refused by the API.
pub(super) fn rule(container: &Container, exit_code: i32) -> Option<(usize, &ContainerRestartRule)> {
    container.restart_policy.as_ref()?;
    let mut rules = container.restart_policy_rules.iter().flatten().enumerate();
    rules.find(|(_, rule)| {
        let Some(codes) = &rule.exit_codes else { return false };
        let is_listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        match codes.operator.as_str() {
            "In" => is_listed,
            "NotIn" => !is_listed,
            _ => false,
        }
    })
}

/// Where a container stands among what a new sandbox begins with (pkg/kubelet/kuberuntime/kuberuntime_manager.go, `SyncPod`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// It is started in the round that makes the sandbox: the first init container, or any of a pod that has none.
    #[default]
    First,
    /// A later init container, or such a sidecar: what was left of it goes with the sandbox before (`purgeInitContainers`).
    Init,
    /// After init containers.
    App,
}

impl Place {
    pub(super) fn of(spec: &PodSpec, name: &str) -> Self {
        let init = spec.init_containers.as_deref().unwrap_or_default();
        match init.iter().position(|container| container.name == name) {
            Some(0) => Self::First,
            Some(_) => Self::Init,
            None if init.is_empty() => Self::First,
            None => Self::App,
        }
    }
}

/// What a wait depends on beside the instances.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Terms {
    /// The back-off knows nothing of what it would count for the next instance.
    pub(super) is_fresh: bool,
    pub(super) place: Place,
    /// The sandbox that runs now.
    pub(super) sandbox: Option<u32>,
}

/// When the next instance may start and the back-off it will have waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Now { backoff: SignedDuration },
    At { until: Timestamp, backoff: SignedDuration },
}

/// The crash back-off after `latest` ended, for the next instance; `before` is the one before it.
///
/// As kubelet's `doBackOff` and client-go's `flowcontrol.Backoff` have it: the first restart is immediate (it creates the
/// back-off entry), the next waits 10 s, then 20 s and so on up to 300 s, always measured from the end of the instance.
/// The entry's key holds image and resources, so what differs in them waits for nothing; nor does an instance after one of an
/// earlier boot, for a kubelet's entries do not outlive the machine (`is_fresh`). The entry is of the moment at which the instance
/// was begun, before its image was pulled: one that ends over 600 s after that resets it.
///
/// What is killed for its probe is started again by the same `SyncPod`, whose status is from before the kill: there the instance
/// before is the newest that has ended. The first instance has none and makes no entry; after another one the wait is measured from
/// the end of the instance before. If it is not over then, a later round measures it from the end of `latest`. When a sandbox died
/// the same goes for what a new one begins with; of later init containers nothing is left that could be measured, and the others
/// are started by a later `SyncPod`, whose status has the kill.
pub(super) fn next(
    (latest, exit): (&ObservedContainer, &ExitRecord),
    before: Option<&ObservedContainer>,
    Terms { is_fresh, place, sandbox }: Terms,
    now: Timestamp,
) -> Next {
    let is_gone = place == Place::Init && sandbox.is_some_and(|own| own != latest.record.sandbox_attempt);
    if is_gone && !is_fresh {
        // It is not counted: what there is counts on.
        return Next::Now { backoff: latest.record.backoff };
    }
    let backoff = if is_fresh { SignedDuration::ZERO } else { backoff_after((&latest.record, exit), before, place) };
    // A clock that was set back cannot measure the wait: the one restart that follows sets things right.
    if backoff.is_zero() || exit.finished_at > now {
        return Next::Now { backoff };
    }
    if latest.record.stopping.as_ref().is_some_and(|stopping| is_same_round(stopping, place)) {
        let before = before.filter(|before| !is_gone_with_sandbox(&before.record, &latest.record, place));
        match before.and_then(ObservedContainer::exit) {
            None => return Next::Now { backoff: latest.record.backoff },
            Some(before) if exit.finished_at.duration_since(before.finished_at) >= backoff => {
                return Next::Now { backoff };
            }
            Some(_) => {}
        }
    }
    match exit.finished_at.checked_add(backoff) {
        Ok(until) if until > now => Next::At { until, backoff },
        _ => Next::Now { backoff },
    }
}

/// Whether kubelet starts what was stopped for this in the round in which it stops it.
fn is_same_round(stopping: &Stopping, place: Place) -> bool {
    ProbeKind::behind(stopping).is_some() || (place == Place::First && stopping.is_for(&Reason::SandboxDied))
}

/// Whether kubelet knew nothing any more of the instance before this one when it started it.
fn is_gone_with_sandbox(before: &ContainerRecord, record: &ContainerRecord, place: Place) -> bool {
    place == Place::Init && before.sandbox_attempt != record.sandbox_attempt
}

fn backoff_after(
    (record, exit): (&ContainerRecord, &ExitRecord),
    before: Option<&ObservedContainer>,
    place: Place,
) -> SignedDuration {
    let pulled = match record.image_source {
        ImageSource::Pulled { waited, .. } => waited,
        ImageSource::Present | ImageSource::Stale { .. } => SignedDuration::ZERO,
    };
    let lasted = exit.finished_at.duration_since(record.created_at).saturating_add(pulled);
    // Whether there is no entry yet: for the first instance, and for the second after one that did not end by itself. What its
    // postStart hook fails for is killed in the round that started it, and an app after init containers is started in another
    // round than the one that killed it with the sandbox before.
    let is_counted = |told: &Stopping| {
        told.is_for(&Reason::PostStartFailed) || (place == Place::App && told.is_for(&Reason::SandboxDied))
    };
    let made_none = |before: &ObservedContainer| {
        let was_stopped = || before.record.stopping.as_ref().is_some_and(|told| !is_counted(told));
        before.record.attempt == 0 && (is_gone_with_sandbox(&before.record, record, place) || was_stopped())
    };
    let is_first = record.attempt == 0 || (record.attempt == 1 && before.is_some_and(made_none));
    if (is_first && record.backoff.is_zero()) || lasted > RESET_AFTER {
        SignedDuration::ZERO
    } else {
        double(record.backoff)
    }
}

/// A whole number of seconds as Go prints durations: `10s`, `1m20s`, `5m0s`.
pub(super) fn go_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the container of a pod without others, which is what it was.
    const FIRST: Terms = Terms { is_fresh: false, place: Place::First, sandbox: None };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn instance(attempt: u32, backoff: i64) -> ObservedContainer {
        ObservedContainer {
            record: ContainerRecord {
                name: "c".into(),
                kind: ContainerKind::App,
                attempt,
                id: String::new(),
                sandbox_attempt: 0,
                round: 0,
                image: "i".into(),
                image_id: String::new(),
                image_source: ImageSource::Present,
                volume_images: Default::default(),
                created_at: at(0),
                boot_id: String::new(),
                backoff: SignedDuration::from_secs(backoff),
                log_path: String::new(),
                resources: None,
                data: None,
                stopping: None,
            },
            state: crate::model::ContainerState::Created,
            earlier_boot: false,
        }
    }

    fn exit(started: i64, finished: i64) -> ExitRecord {
        ExitRecord {
            exit_code: 1,
            signal: None,
            oom_killed: false,
            started_at: Some(at(started)),
            finished_at: at(finished),
            reason: None,
            message: None,
        }
    }

    #[test]
    fn a_crashing_container_waits_longer_each_time_up_to_five_minutes() {
        let (mut attempt, mut waited, mut clock, mut waits) = (0, 0, 1000, Vec::new());
        for _ in 0..9 {
            let mut latest = instance(attempt, waited);
            latest.record.created_at = at(clock - 1);
            let exit = exit(clock - 1, clock);
            let backoff = match next((&latest, &exit), None, FIRST, at(clock)) {
                Next::Now { backoff } => backoff,
                Next::At { until, backoff } => {
                    assert_eq!(until, at(clock) + backoff);
                    assert_eq!(next((&latest, &exit), None, FIRST, until), Next::Now { backoff });
                    backoff
                }
            };
            waited = backoff.as_secs();
            waits.push(waited);
            clock += waited + 1;
            attempt += 1;
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn what_resets_the_back_off() {
        let now = Next::Now { backoff: SignedDuration::ZERO };
        let latest = instance(5, 160);
        let next = |latest: &_, exit: &_, is_fresh, now| next((latest, exit), None, Terms { is_fresh, ..FIRST }, now);
        assert_eq!(next(&latest, &exit(1, 601), false, at(601)), now, "it ended over ten minutes after it was begun");
        assert!(
            matches!(next(&latest, &exit(0, 600), false, at(600)), Next::At { .. }),
            "ten minutes are not over ten"
        );
        let (took, waited) = (SignedDuration::ZERO, SignedDuration::from_secs(1));
        let mut pulled = latest.clone();
        pulled.record.image_source = ImageSource::Pulled { took, waited, size: 1, mended: None };
        assert_eq!(next(&pulled, &exit(0, 600), false, at(600)), now, "it was begun before its image was pulled");
        assert_eq!(next(&latest, &exit(0, 5), true, at(5)), now, "another image or other resources");
        let after_reset = next(&instance(6, 0), &exit(0, 5), false, at(5));
        assert_eq!(after_reset, Next::At { until: at(15), backoff: SignedDuration::from_secs(10) });
    }

    #[test]
    fn a_clock_set_back_does_not_make_a_container_wait_for_ages() {
        assert!(matches!(next((&instance(3, 20), &exit(9000, 9001)), None, FIRST, at(10)), Next::Now { .. }));
    }

    /// The same, told to stop for this.
    fn told(mut instance: ObservedContainer, reason: &Reason) -> ObservedContainer {
        instance.record.stopping = Some(Stopping::new(at(0), 30, reason.to_string()));
        instance
    }

    fn unhealthy(instance: ObservedContainer) -> ObservedContainer {
        told(instance, &Reason::ProbeFailed { kind: ProbeKind::Liveness })
    }

    fn ended(mut instance: ObservedContainer, second: i64) -> ObservedContainer {
        instance.state = crate::model::ContainerState::Exited(exit(second - 1, second));
        instance
    }

    #[test]
    fn what_is_killed_waits_from_the_end_of_the_instance_before() {
        let first = |second| ended(instance(0, 0), second);
        let second = |second| ended(unhealthy(instance(1, 0)), second);
        let fourth = |second| ended(unhealthy(instance(4, 20)), second);
        let (hook, sandbox) = (Reason::PostStartFailed, Reason::SandboxDied);
        let now = |backoff| Next::Now { backoff: SignedDuration::from_secs(backoff) };
        let wait = |backoff| Next::At { until: at(100 + backoff), backoff: SignedDuration::from_secs(backoff) };
        for (case, latest, before, expected) in [
            ("the first instance", unhealthy(instance(0, 0)), None, now(0)),
            ("the second one: there is no entry yet", unhealthy(instance(1, 0)), Some(unhealthy(first(99))), now(0)),
            ("nor when it failed by itself", instance(1, 0), Some(unhealthy(first(99))), now(0)),
            ("nor after one whose sandbox died", instance(1, 0), Some(told(first(99), &sandbox)), now(0)),
            ("a hook that failed makes one", instance(1, 0), Some(told(first(99), &hook)), wait(10)),
            ("so does an end of its own", instance(1, 0), Some(first(99)), wait(10)),
            ("killed after an end of its own", unhealthy(instance(1, 0)), Some(first(91)), wait(10)),
            ("which was long enough ago", unhealthy(instance(1, 0)), Some(first(90)), now(10)),
            ("the third one, killed as the others were", unhealthy(instance(2, 0)), Some(second(91)), wait(10)),
            ("it lived longer", unhealthy(instance(2, 0)), Some(second(90)), now(10)),
            ("its sandbox died", told(instance(2, 0), &sandbox), Some(second(90)), now(10)),
            ("its hook failed", told(instance(2, 0), &hook), Some(second(90)), wait(10)),
            ("a later one", unhealthy(instance(5, 20)), Some(fourth(60)), now(40)),
            ("a later one that lived less", unhealthy(instance(5, 20)), Some(fourth(61)), wait(40)),
            ("a later one that ended by itself", instance(5, 20), Some(fourth(60)), wait(40)),
            ("nothing is known of the one before", unhealthy(instance(5, 20)), None, now(20)),
            ("the one before has no end", unhealthy(instance(5, 20)), Some(instance(4, 10)), now(20)),
        ] {
            let exit = exit(99, 100);
            assert_eq!(next((&latest, &exit), before.as_ref(), FIRST, at(100)), expected, "{case}");
        }
    }

    #[test]
    fn an_app_after_init_containers_waits_from_its_own_end_when_its_sandbox_died() {
        let (hook, sandbox) = (Reason::PostStartFailed, Reason::SandboxDied);
        let first = || ended(instance(0, 0), 50);
        let now = |backoff| Next::Now { backoff: SignedDuration::from_secs(backoff) };
        let wait = |backoff| Next::At { until: at(100 + backoff), backoff: SignedDuration::from_secs(backoff) };
        for (case, latest, before, expected) in [
            ("the first instance", told(instance(0, 0), &sandbox), None, now(0)),
            ("it makes an entry", instance(1, 0), Some(told(first(), &sandbox)), wait(10)),
            ("twice", told(instance(1, 0), &sandbox), Some(told(first(), &sandbox)), wait(10)),
            ("after an end of its own long ago", told(instance(1, 0), &sandbox), Some(first()), wait(10)),
            ("a later one", told(instance(5, 20), &sandbox), Some(ended(instance(4, 10), 50)), wait(40)),
            ("nothing is known of the one before", told(instance(5, 20), &sandbox), None, wait(40)),
            ("its probe failed", unhealthy(instance(1, 0)), Some(first()), now(10)),
            ("which makes none", instance(1, 0), Some(unhealthy(first())), now(0)),
            ("its hook failed", told(instance(1, 0), &hook), Some(first()), wait(10)),
        ] {
            let (exit, terms) = (exit(99, 100), Terms { place: Place::App, ..FIRST });
            assert_eq!(next((&latest, &exit), before.as_ref(), terms, at(100)), expected, "{case}");
        }
    }

    #[test]
    fn of_a_later_init_container_nothing_is_known_in_a_new_sandbox() {
        let in_sandbox = |attempt, mut instance: ObservedContainer| {
            instance.record.sandbox_attempt = attempt;
            instance
        };
        let here = |instance| in_sandbox(1, instance);
        let old = |attempt, backoff| ended(in_sandbox(0, instance(attempt, backoff)), 99);
        let now = |backoff| Next::Now { backoff: SignedDuration::from_secs(backoff) };
        let wait = |backoff| Next::At { until: at(100 + backoff), backoff: SignedDuration::from_secs(backoff) };
        for (case, latest, before, expected) in [
            ("it ended in the one before", old(5, 20), None, now(20)),
            ("it was killed with it", told(old(5, 20), &Reason::SandboxDied), Some(old(4, 10)), now(20)),
            ("that was the first one", told(old(0, 0), &Reason::SandboxDied), None, now(0)),
            ("an end here after it", here(instance(1, 0)), Some(told(old(0, 0), &Reason::SandboxDied)), now(0)),
            ("which had ended by itself", here(instance(1, 0)), Some(old(0, 0)), now(0)),
            ("one that had been counted before", here(instance(6, 20)), Some(old(5, 20)), wait(40)),
            ("its probe fails here", unhealthy(here(instance(6, 20))), Some(old(5, 20)), now(20)),
            ("two ends here", here(instance(1, 0)), Some(here(ended(instance(0, 0), 99))), wait(10)),
            (
                "its probe fails after one here",
                unhealthy(here(instance(1, 0))),
                Some(here(ended(instance(0, 0), 99))),
                wait(10),
            ),
        ] {
            let (exit, terms) = (exit(99, 100), Terms { place: Place::Init, sandbox: Some(1), ..FIRST });
            assert_eq!(next((&latest, &exit), before.as_ref(), terms, at(100)), expected, "{case}");
        }
        // Another image, or another boot of the machine.
        let (latest, exit) = (old(5, 20), exit(99, 100));
        let terms = Terms { is_fresh: true, place: Place::Init, sandbox: Some(1) };
        assert_eq!(next((&latest, &exit), None, terms, at(100)), now(0));
    }

    #[test]
    fn a_sandbox_begins_with_the_first_init_container_or_all_others() {
        let spec = |init: &[&str]| {
            let named = |name: &&str| Container { name: (*name).to_owned(), ..Container::default() };
            let init_containers = (!init.is_empty()).then(|| init.iter().map(named).collect());
            PodSpec { init_containers, containers: vec![named(&"a"), named(&"b")], ..PodSpec::default() }
        };
        let places = |init: &[&str]| ["init", "setup", "a", "b"].map(|name| Place::of(&spec(init), name));
        let (first, init, app) = (Place::First, Place::Init, Place::App);
        assert_eq!(places(&["init", "setup"]), [first, init, app, app]);
        assert_eq!(places(&[])[2..], [first, first]);
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        let text = |seconds| go_duration(SignedDuration::from_secs(seconds));
        assert_eq!([text(10), text(80), text(300), text(3600)], ["10s", "1m20s", "5m0s", "1h0m0s"]);
    }
}
