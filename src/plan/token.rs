//! Tokens of service accounts: what they claim, and when the next one takes the place of one.
//!
//! As Kubernetes 1.36 has it: claims of `pkg/serviceaccount/claims.go`, life of `pkg/registry/core/serviceaccount/storage/token.go`,
//! renewal of `pkg/kubelet/token/token_manager.go`. What lots are drawn for there (`jti`, jitter) derives from pod and moment.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::env::Scope;
use crate::model::{DEFAULT_ACCOUNT, ObjectKey, PodMemory, TokenFile, TokenState, VolumePayload, node_uid, stable_uid};

/// Seconds that a token is good for unless the pod says otherwise.
const EXPIRATION: i64 = 3600;
/// Asked for by nobody but admission: such a token outlives what does not read it again, and says from when on that was late.
const WARN_ONLY: i64 = 3607;
/// Seconds that such a token is good for: a year.
const EXTENDED: i64 = 365 * 24 * 3600;
/// None is used for longer, in seconds: a day.
const LONGEST_USE: i64 = 24 * 3600;
/// Renewals that fall due at once are spread over so much of a token's life, one part of these: all tokens of a machine are
/// made at once when its agent is started. Kubernetes has ten seconds.
const SPREAD: i64 = 20;

/// Whom a token is about, for whom, and for how long.
pub(super) struct Request<'a> {
    pub(super) issuer: &'a str,
    pub(super) namespace: &'a str,
    /// Name and uid of the account.
    pub(super) account: (&'a str, String),
    /// Name and uid of the pod.
    pub(super) pod: (&'a str, &'a str),
    /// Name of the machine.
    pub(super) node: &'a str,
    /// Whom it is for; `None` for the API.
    pub(super) audience: Option<&'a str>,
    /// For how long, in seconds.
    pub(super) seconds: i64,
}

impl<'a> Request<'a> {
    /// What a source of a projected volume asks for.
    pub(super) fn of(source: &'a ServiceAccountTokenProjection, scope: &'a Scope<'_>) -> Self {
        let (pod, node) = (scope.fields.pod, scope.fields.node);
        let namespace = scope.fields.namespace();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        let account = account.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_ACCOUNT);
        let known = scope.data.accounts.get(&(namespace.to_owned(), account.to_owned()));
        let uid = known.and_then(|account| account.uid.clone());
        Self {
            issuer: node.issuer(),
            namespace,
            account: (account, uid.unwrap_or_else(|| ObjectKey::account(namespace, account).uid())),
            pod: (pod.metadata.name.as_deref().unwrap_or_default(), &scope.fields.uid.0),
            node: &node.name,
            audience: source.audience.as_deref().filter(|audience| !audience.is_empty()),
            seconds: source.expiration_seconds.unwrap_or(EXPIRATION),
        }
    }

    /// What is asked for, whenever that is.
    pub(super) fn asked(&self) -> String {
        let Self { issuer, account: (account, uid), seconds, .. } = self;
        format!("{} for {seconds} s as {account} ({uid}) from {issuer}", self.audience.unwrap_or(issuer))
    }

    /// The claims of a token that is made now, as JSON with its members in order, as Go's `encoding/json` has those of a map.
    /// `id` is its `jti`.
    pub(super) fn claims(&self, now: Timestamp, id: &str) -> String {
        let audience = self.audience.unwrap_or(self.issuer);
        let issued = now.as_second();
        let after = |seconds: i64| issued.saturating_add(seconds);
        let is_extended = self.seconds == WARN_ONLY && audience == self.issuer;
        let (account, account_uid) = &self.account;
        let mut about = json!({
            "namespace": self.namespace,
            "node": {"name": self.node, "uid": node_uid(self.node)},
            "pod": {"name": self.pod.0, "uid": self.pod.1},
            "serviceaccount": {"name": account, "uid": account_uid},
        });
        if is_extended {
            about["warnafter"] = json!(after(self.seconds));
        }
        let claims = json!({
            "aud": [audience],
            "exp": after(if is_extended { EXTENDED } else { self.seconds }),
            "iat": issued,
            "iss": self.issuer,
            "jti": id,
            "kubernetes.io": about,
            "nbf": issued,
            "sub": format!("system:serviceaccount:{}:{account}", self.namespace),
        });
        claims.to_string()
    }
}

/// The claims of the token in a Secret: for whom it is made, without an end (pkg/serviceaccount/legacy.go). `account` is its name
/// and uid, `secret` namespace and name of the Secret.
pub fn secret_claims(account: (&str, &str), secret: (&str, &str)) -> String {
    let (namespace, name) = secret;
    let claims = json!({
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": name,
        "kubernetes.io/serviceaccount/service-account.name": account.0,
        "kubernetes.io/serviceaccount/service-account.uid": account.1,
        "sub": format!("system:serviceaccount:{namespace}:{}", account.0),
    });
    claims.to_string()
}

/// When a token is renewed: after four fifths of what was asked for, or a day, and a little before that.
fn refresh_at(issued: Timestamp, seconds: i64, jitter: SignedDuration) -> Timestamp {
    let used = (seconds - seconds.saturating_mul(20) / 100).min(LONGEST_USE);
    let used = SignedDuration::from_secs(used.max(0)) - jitter;
    issued.checked_add(used).unwrap_or(Timestamp::MAX)
}

/// A file with a token that a pod asks for: as much as is known of it whether or not one is to be made.
pub(super) struct Asked<'a> {
    request: Request<'a>,
    /// The volume, by name.
    pub(super) volume: &'a str,
    /// Relative, without `..`.
    pub(super) path: String,
    /// Permission bits.
    pub(super) mode: u32,
    owner: Option<u32>,
    /// What is asked for, whenever that is.
    text: String,
}

impl<'a> Asked<'a> {
    /// What a source of a volume asks for, at a path and with a mode that are as they should be.
    pub(super) fn of(
        source: &'a ServiceAccountTokenProjection,
        (volume, path, mode): (&'a str, String, u32),
        scope: &'a Scope<'_>,
    ) -> Self {
        let request = Request::of(source, scope);
        let text = request.asked();
        Self { request, volume, path, mode, owner: user(scope.fields.pod), text }
    }

    /// The file with a token that is made now.
    pub(super) fn made(&self, now: Timestamp) -> TokenFile {
        let Self { request, volume, path, mode, owner, text } = self;
        let place = format!("{}\n{volume}\n{path}", request.pod.1);
        let id = stable_uid(&format!("{place}\n{}", now.as_nanosecond()));
        TokenFile {
            volume: (*volume).to_owned(),
            path: path.clone(),
            mode: *mode,
            owner: *owner,
            asked: text.clone(),
            claims: request.claims(now, &id),
            issued_at: now,
            refresh_at: refresh_at(now, request.seconds, jitter(&place, request.seconds)),
        }
    }

    fn is_of(&self, volume: &VolumePayload) -> bool {
        self.volume == volume.name
    }
}

/// How much earlier than it has to be a token that is good for so many seconds is made anew.
fn jitter(place: &str, seconds: i64) -> SignedDuration {
    let hash = Sha256::digest(place.as_bytes());
    let number = hash[..8].iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let span = u64::try_from(seconds.min(LONGEST_USE) * 1000 / SPREAD).unwrap_or_default().max(1);
    SignedDuration::from_millis((number % span) as i64)
}

/// The user that all containers run as, if the pod says that of each of them (pkg/volume/util/util.go, `FsUserFrom`): then the
/// token is his file.
fn user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let common = spec.security_context.as_ref().and_then(|security| security.run_as_user);
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut users = all.map(|container| container.security_context.as_ref().and_then(|own| own.run_as_user).or(common));
    let first = users.next()??;
    if users.all(|user| user == Some(first)) { u32::try_from(first).ok() } else { None }
}

/// The mode of a token's file: that of the volume, or nobody's but its user's where that is known, to which a group adds
/// (pkg/volume/projected/projected.go, `collectData`).
pub(super) fn mode(pod: &Pod, default: i32) -> i32 {
    let group = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.fs_group);
    if user(pod).is_some() || group.is_some() { 0o600 } else { default }
}

/// What is to be done about a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing as long as nothing changes.
    Never,
    /// Nothing before this.
    At(Timestamp),
    /// It is not as it should be.
    Changed,
    /// Nothing is known of it, as after a start of the agent.
    Unknown,
    /// It is, but its tokens are old, or from a time that is not yet.
    Old,
}

/// Looks at one with tokens; `asked` is what all of the pod ask for.
pub(super) fn due(volume: &VolumePayload, asked: &[Asked<'_>], memory: &PodMemory, now: Timestamp) -> Due {
    let Some(state) = memory.tokens.iter().find(|state| state.volume == volume.name) else { return Due::Unknown };
    let own = asked.iter().filter(|asked| asked.is_of(volume));
    let own = own.map(|asked| (asked.path.as_str(), asked.mode, asked.owner, asked.text.as_str()));
    if state.digest != digest(volume, own) {
        return Due::Changed;
    }
    // A clock that was set back makes tokens of the future, which nobody takes.
    let is_old = now >= state.refresh_at || now < state.issued_at;
    if is_old { Due::Old } else { Due::At(state.refresh_at) }
}

/// Remembers that volumes were written with these tokens.
pub(super) fn note(memory: &mut PodMemory, volumes: &[VolumePayload], tokens: &[TokenFile]) {
    for volume in volumes {
        let own = || tokens.iter().filter(|token| token.volume == volume.name);
        let (Some(issued_at), Some(refresh_at)) =
            (own().map(|token| token.issued_at).min(), own().map(|token| token.refresh_at).min())
        else {
            continue;
        };
        memory.tokens.retain(|state| state.volume != volume.name);
        let files = own().map(|token| (token.path.as_str(), token.mode, token.owner, token.asked.as_str()));
        let digest = digest(volume, files);
        memory.tokens.push(TokenState { volume: volume.name.clone(), digest, issued_at, refresh_at });
    }
}

/// Whether a volume has any of these tokens.
pub(super) fn is_in(volume: &VolumePayload, tokens: &[TokenFile]) -> bool {
    tokens.iter().any(|token| token.volume == volume.name)
}

/// Whether any of these tokens is asked for in a volume.
pub(super) fn is_asked(volume: &VolumePayload, asked: &[Asked<'_>]) -> bool {
    asked.iter().any(|asked| asked.is_of(volume))
}

/// Of what a volume is made of but the tokens themselves: of those path, mode, owner and what was asked for.
fn digest<'t>(volume: &VolumePayload, tokens: impl Iterator<Item = (&'t str, u32, Option<u32>, &'t str)>) -> String {
    let mut hash = Sha256::new();
    hash.update(super::failure::volume_digest(volume));
    for (path, mode, owner, asked) in tokens {
        hash.update(format!("\n{path}\n{mode:o} {owner:?}\n{asked}"));
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(seconds: i64, audience: Option<&'static str>) -> Request<'static> {
        Request {
            issuer: "https://issuer",
            namespace: "ns",
            account: ("robot", "account-uid".to_owned()),
            pod: ("p", "pod-uid"),
            node: "edge-1",
            audience,
            seconds,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_claims_what_kubernetes_has_it_claim() {
        let claims = request(7200, Some("vault")).claims(at(1_700_000_000), "id");
        let node = node_uid("edge-1");
        assert_ne!(node, node_uid("edge-2"));
        let expected = format!(
            r#"{{"aud":["vault"],"exp":1700007200,"iat":1700000000,"iss":"https://issuer","jti":"id","kubernetes.io":{{"namespace":"ns","node":{{"name":"edge-1","uid":"{node}"}},"pod":{{"name":"p","uid":"pod-uid"}},"serviceaccount":{{"name":"robot","uid":"account-uid"}}}},"nbf":1700000000,"sub":"system:serviceaccount:ns:robot"}}"#
        );
        assert_eq!(claims, expected);
    }

    #[test]
    fn a_token_in_a_secret_has_no_end() {
        let expected = concat!(
            r#"{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/namespace":"ns","#,
            r#""kubernetes.io/serviceaccount/secret.name":"s","kubernetes.io/serviceaccount/service-account.name":"robot","#,
            r#""kubernetes.io/serviceaccount/service-account.uid":"account-uid","sub":"system:serviceaccount:ns:robot"}"#,
        );
        assert_eq!(secret_claims(("robot", "account-uid"), ("ns", "s")), expected);
    }

    #[test]
    fn what_nobody_chose_is_good_for_a_year_and_says_from_when_on_it_is_late() {
        for (seconds, audience, exp, warn_after) in [
            (3607, None, EXTENDED, Some(3607)),
            (3607, Some("https://issuer"), EXTENDED, Some(3607)),
            (3607, Some("vault"), 3607, None),
            (3600, None, 3600, None),
            (600, None, 600, None),
            (1 << 32, None, 1 << 32, None),
        ] {
            let claims: serde_json::Value =
                serde_json::from_str(&request(seconds, audience).claims(at(1000), "id")).unwrap();
            assert_eq!(claims["exp"], json!(1000 + exp), "{seconds} {audience:?}");
            let found = claims["kubernetes.io"].get("warnafter").map(|second| second.as_i64().unwrap() - 1000);
            assert_eq!(found, warn_after, "{seconds} {audience:?}");
        }
    }

    #[test]
    fn a_token_is_renewed_after_four_fifths_of_its_life_or_a_day() {
        let zero = SignedDuration::ZERO;
        for (seconds, after) in
            [(600, 480), (3600, 2880), (3607, 2886), (108_000, 86_400), (108_005, 86_400), (1 << 32, 86_400)]
        {
            assert_eq!(refresh_at(at(0), seconds, zero), at(after), "{seconds}");
        }
        assert_eq!(refresh_at(at(0), 600, SignedDuration::from_secs(9)), at(471));
        assert_eq!(refresh_at(Timestamp::MAX, 600, zero), Timestamp::MAX);
        // A twentieth of its life, or of a day.
        for (seconds, span) in [(600, 30), (3600, 180), (86_400, 4320), (1 << 32, 4320)] {
            let all: Vec<i64> = (0..200).map(|number| jitter(&format!("{number}"), seconds).as_secs()).collect();
            assert!(all.iter().all(|jitter| (0..span).contains(jitter)), "{seconds}");
            let spread = all.iter().max().unwrap() - all.iter().min().unwrap();
            assert!(spread > span * 8 / 10, "they all come at once: {seconds}");
        }
    }

    #[test]
    fn a_token_is_the_file_of_the_one_user_that_the_pod_has() {
        for (spec, owner, mode_expected) in [
            (json!({"containers": [{"name": "a"}]}), None, 0o644),
            (json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 7}}]}), Some(7), 0o600),
            (json!({"securityContext": {"runAsUser": 0}, "containers": [{"name": "a"}]}), Some(0), 0o600),
            (
                json!({"securityContext": {"runAsUser": 7}, "containers": [{"name": "a"}],
                    "initContainers": [{"name": "i", "securityContext": {"runAsUser": 8}}]}),
                None,
                0o644,
            ),
            (json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 7}}, {"name": "b"}]}), None, 0o644),
            (
                json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 7}},
                    {"name": "b", "securityContext": {"runAsUser": 7}}]}),
                Some(7),
                0o600,
            ),
            (json!({"securityContext": {"fsGroup": 9}, "containers": [{"name": "a"}]}), None, 0o600),
        ] {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            assert_eq!((user(&pod), mode(&pod, 0o644)), (owner, mode_expected), "{spec}");
        }
    }
}
