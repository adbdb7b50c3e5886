//! Secrets of type `kubernetes.io/service-account-token`, filled as Kubernetes' controller fills them
//! (`pkg/controller/serviceaccount/tokens_controller.go` of 1.36): with a token that never expires, certificate and namespace.
//! They are filled in memory, anew by each agent, and what is written there by hand stays. What cannot be had is noted: pods
//! keep what they have of it.
//!
//! Of one whose account is not there nothing is made; admission has warned of that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::model::{
    ACCOUNT_UID, Admitted, DEFAULT_ACCOUNT, DataObjects, Filling, Fillings, Kind, Masked, ObjectKey, ROOT_CA_KEY,
    SharedBytes, TOKEN_KEY,
};
use crate::plan;
use crate::port::{PortError, Tokens};

/// The tokens that were made, by their claims: a Secret has the same one as long as it says the same.
pub(super) type Known = BTreeMap<String, Masked<String>>;

/// Signs the tokens for what admission has left to be filled, all that can be signed. Those of other revisions stay known.
///
/// # Errors
/// When one cannot be.
pub(super) fn sign(admitted: &Admitted, signer: &dyn Tokens, known: &mut Known) -> Result<(), PortError> {
    let mut unsigned = None;
    for claims in unfilled(admitted).into_iter().filter_map(|one| one.claims) {
        if known.contains_key(&claims) {
            continue;
        }
        match signer.mint(&claims) {
            Ok(token) => drop(known.insert(claims, token)),
            Err(error) => unsigned = Some(error),
        }
    }
    unsigned.map_or(Ok(()), Err)
}

/// Forgets the tokens that a revision does not ask for.
pub(super) fn keep(admitted: &Admitted, known: &mut Known) {
    let asked: BTreeSet<String> = unfilled(admitted).into_iter().filter_map(|one| one.claims).collect();
    known.retain(|claims, _| asked.contains(claims));
}

/// Fills what admission has left to be filled with the tokens that were signed for it and the machine's certificate, which is
/// empty while it cannot be had.
pub(super) fn fill(admitted: &mut Admitted, root_ca: &str, known: &Known) {
    let mut all = Fillings::new();
    for one in unfilled(admitted) {
        let token = one.claims.as_ref().and_then(|claims| known.get(claims));
        let values = [
            (TOKEN_KEY, token.map(|token| token.reveal().clone())),
            (ROOT_CA_KEY, Some(root_ca.to_owned()).filter(|text| !text.is_empty())),
            ("namespace", Some(one.names.0.clone())),
        ];
        let mut filling = Filling::default();
        for (key, value) in values.into_iter().filter(|(key, _)| !is_written(&admitted.data, &one.names, key)) {
            let key = key.to_owned();
            match value {
                Some(text) => {
                    filling.values.insert(key, SharedBytes::new(text));
                }
                None => {
                    filling.missing.insert(key);
                }
            }
        }
        show(admitted, &one, &filling);
        all.insert(one.names, filling);
    }
    if admitted.data.filled != all {
        Arc::make_mut(&mut admitted.data).filled = all;
    }
}

/// A Secret that is to be filled.
struct Unfilled {
    /// Its namespace and name.
    names: (String, String),
    /// Of its account.
    uid: String,
    /// What its token claims; `None` for one that has a token of its own.
    claims: Option<String>,
}

fn unfilled(admitted: &Admitted) -> Vec<Unfilled> {
    let unfilled = |names: &(String, String)| {
        let (account, uid) = account_of(&admitted.data, names)?;
        let claims = || plan::secret_claims((&account, &uid), (&names.0, &names.1));
        let claims = (!is_written(&admitted.data, names, TOKEN_KEY)).then(claims);
        Some(Unfilled { names: names.clone(), uid, claims })
    };
    admitted.data.secrets.keys().filter_map(unfilled).collect()
}

/// Whether the manifest of a Secret has a key itself.
fn is_written(data: &DataObjects, names: &(String, String), key: &str) -> bool {
    data.secrets.get(names).is_some_and(|secret| secret.bytes.contains_key(key))
}

/// Name and uid of the account that a Secret is for, if it is there.
fn account_of(data: &DataObjects, names: &(String, String)) -> Option<(String, String)> {
    let namespace = &names.0;
    let account = data.secrets.get(names)?.account.clone()?;
    let known = data.accounts.get(&(namespace.clone(), account.clone()));
    if known.is_none() && account != DEFAULT_ACCOUNT {
        return None;
    }
    let uid = known.and_then(|account| account.uid.clone());
    let uid = uid.unwrap_or_else(|| ObjectKey::account(namespace, &account).uid());
    Some((account, uid))
}

/// The same keys for who asks the API, once there is a token.
fn show(admitted: &mut Admitted, one: &Unfilled, filling: &Filling) {
    let (namespace, name) = one.names.clone();
    let key = ObjectKey { kind: Kind::Secret, namespace, name };
    let Some(object) = admitted.objects.get_mut(&key).filter(|_| !filling.missing.contains(TOKEN_KEY)) else { return };
    let object = Arc::make_mut(object);
    object["metadata"]["annotations"][ACCOUNT_UID] = json!(one.uid);
    if !object["data"].is_object() {
        object["data"] = json!({});
    }
    for (key, value) in &filling.values {
        object["data"][key] = Value::String(STANDARD.encode(value.reveal()));
    }
}
