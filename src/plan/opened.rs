//! A pod as observed with the spec that runs at hand: it is opened once for a plan, not once for each question.

use std::ops::Deref;

use k8s_openapi::api::core::v1::Pod;

use crate::model::ObservedPod;

/// An observed pod, open.
pub(super) struct Opened<'a> {
    observed: &'a ObservedPod,
    /// The effective pod as last realised.
    pub(super) effective: Pod,
}

impl<'a> Opened<'a> {
    pub(super) fn new(observed: &'a ObservedPod) -> Self {
        Self { observed, effective: observed.record.realised.effective.open() }
    }
}

impl Deref for Opened<'_> {
    type Target = ObservedPod;

    fn deref(&self) -> &ObservedPod {
        self.observed
    }
}
