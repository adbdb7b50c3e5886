//! Secrets of type `kubernetes.io/service-account-token`, filled as Kubernetes' controller fills them
//! (`pkg/controller/serviceaccount/tokens_controller.go` of 1.36): with a token that never expires, certificate and namespace.
//! They are filled in memory, anew by each agent, and what is written there by hand stays.
//!
//! Of one whose account is not there nothing is made; admission has warned of that.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::model::{
    ACCOUNT_NAME, ACCOUNT_TOKEN, ACCOUNT_UID, Admitted, DEFAULT_ACCOUNT, DataObjects, Kind, Masked, NodeInfo,
    ObjectKey, ROOT_CA_KEY,
};
use crate::plan;
use crate::port::{PortError, Tokens};

/// The tokens that were made, by their claims: a Secret has the same one as long as it says the same.
pub(super) type Known = BTreeMap<String, Masked<String>>;

/// Signs the tokens for what admission has left to be filled, all that can be signed.
///
/// # Errors
/// When one cannot be.
pub(super) fn sign(admitted: &Admitted, signer: &dyn Tokens, known: &mut Known) -> Result<(), PortError> {
    let (mut still, mut unsigned) = (Known::new(), None);
    for filling in fillings(admitted) {
        let token = match known.get(&filling.claims) {
            Some(token) => Ok(token.clone()),
            None => signer.mint(&filling.claims),
        };
        match token {
            Ok(token) => drop(still.insert(filling.claims, token)),
            Err(error) => unsigned = Some(error),
        }
    }
    *known = still;
    unsigned.map_or(Ok(()), Err)
}

/// Fills what admission has left to be filled with the tokens that were signed for it. What has none stays as it is.
pub(super) fn fill(admitted: &mut Admitted, node: &NodeInfo, known: &Known) {
    for Filling { namespace, name, uid, claims } in fillings(admitted) {
        let Some(token) = known.get(&claims) else { continue };
        let values = [
            ("token", token.reveal().clone()),
            (ROOT_CA_KEY, node.root_ca.to_string()),
            ("namespace", namespace.clone()),
        ];
        fill_one(admitted, (&namespace, &name), (&uid, &values));
    }
}

/// A Secret that is to be filled, and what its token claims.
struct Filling {
    namespace: String,
    name: String,
    /// Of its account.
    uid: String,
    claims: String,
}

fn fillings(admitted: &Admitted) -> Vec<Filling> {
    let all = admitted.data.secrets.iter().filter(|(_, secret)| is_token(secret));
    let filling = |(namespace, name): &(String, String)| {
        let (account, uid) = account_of(&admitted.data, (namespace, name))?;
        let claims = plan::secret_claims((&account, &uid), (namespace, name));
        Some(Filling { namespace: namespace.clone(), name: name.clone(), uid, claims })
    };
    all.filter_map(|(names, _)| filling(names)).collect()
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(ACCOUNT_TOKEN)
}

/// Name and uid of the account of a Secret, if it is there.
fn account_of(data: &DataObjects, (namespace, name): (&str, &str)) -> Option<(String, String)> {
    let secret = data.secrets.get(&(namespace.to_owned(), name.to_owned()))?;
    let account = secret.metadata.annotations.as_ref()?.get(ACCOUNT_NAME)?.clone();
    let known = data.accounts.get(&(namespace.to_owned(), account.clone()));
    if known.is_none() && account != DEFAULT_ACCOUNT {
        return None;
    }
    let uid = known.and_then(|account| account.uid.clone());
    let uid = uid.unwrap_or_else(|| ObjectKey::account(namespace, &account).uid());
    Some((account, uid))
}

/// The same keys for pods and for who asks the API.
fn fill_one(admitted: &mut Admitted, (namespace, name): (&str, &str), (uid, values): (&str, &[(&str, String)])) {
    let data = Arc::make_mut(&mut admitted.data);
    if let Some(secret) = data.secrets.get_mut(&(namespace.to_owned(), name.to_owned())) {
        let all = Arc::make_mut(secret).data.get_or_insert_default();
        for (key, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
            all.entry((*key).to_owned()).or_insert_with(|| ByteString(value.clone().into_bytes()));
        }
    }
    let key = ObjectKey { kind: Kind::Secret, namespace: namespace.to_owned(), name: name.to_owned() };
    if let Some(object) = admitted.objects.get_mut(&key) {
        let object = Arc::make_mut(object);
        object["metadata"]["annotations"][ACCOUNT_UID] = json!(uid);
        if !object["data"].is_object() {
            object["data"] = json!({});
        }
        for (key, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
            let is_written = ["data", "stringData"].iter().any(|map| !object[*map][*key].is_null());
            if !is_written {
                object["data"][*key] = Value::String(STANDARD.encode(value));
            }
        }
    }
}
