//! The suite that every backend of containers has to pass.

use jiff::Timestamp;

use super::fixture::{HOST, on_root};
use crate::contract::Contract;
use crate::support;

#[test]
fn e2e_the_native_backend_keeps_the_contract() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let contract = Contract {
            backend: native.clone(),
            image: HOST.into(),
            absent: "registry.invalid/absent:1".into(),
            now: Timestamp::now(),
        };
        contract.check().await;
        native.teardown_root().await.unwrap();
    });
}
