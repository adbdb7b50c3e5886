//! Which revision counts: reading, judging, remembering. An invalid revision changes nothing that runs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::tokens::{self, Known};
use crate::admit;
use crate::model::{
    Admitted, BlobId, Desired, Diagnostic, Diagnostics, Durable, NodeInfo, Revision, Severity, Snapshot,
};
use crate::port::{LedgerStore, ReadError, Source, Tokens};

/// Turns the bytes of a revision into objects: `manifest::Reader` with its cache.
pub type Parse = Box<dyn FnMut(&Snapshot) -> Desired + Send>;

/// Does work that keeps its thread for long, at once or later, and does not wait for it.
pub type Blocking = fn(Box<dyn FnOnce() + Send>);

/// Does it on a thread where work may block.
pub fn on_a_thread(work: Box<dyn FnOnce() + Send>) {
    drop(tokio::task::spawn_blocking(work));
}

/// How many errors of a refused revision are logged; the status lists more.
const LOGGED: usize = 20;

/// The revision that counts and the one that was looked at last.
pub(super) struct Revisions {
    source: Arc<dyn Source>,
    parse: Arc<Mutex<Parse>>,
    blocking: Blocking,
    ledger: Arc<dyn LedgerStore>,
    /// With its certificate, once that can be had.
    pub(super) node: Arc<NodeInfo>,
    tokens: Arc<dyn Tokens>,
    /// What was signed for the revision that counts.
    signed: Known,
    /// Not all of that could be signed.
    unsigned: bool,
    /// It was filled without the certificate, which can be had now.
    uncertified: bool,
    pub(super) durable: Durable,
    /// The last valid revision: the one that is kept.
    pub(super) admitted: Option<Arc<Admitted>>,
    /// What the machine had been given when it was admitted.
    local: Given,
    /// What was judged last.
    judged: Option<Judged>,
    /// Why it was refused; without errors it was not.
    pub(super) refused: Diagnostics,
    /// Why it could not be read or remembered, if so.
    pub(super) failure: Option<String>,
    pub(super) uncommitted: Vec<String>,
    /// What was logged about falling back, lest every round says it again.
    told: String,
    /// The last one that was valid could be read, and is refused by what the machine has been told since.
    pub(super) is_last_refused: bool,
}

/// The name of what was judged: the revision, and what the machine was given beside it.
struct Judged {
    revision: String,
    local: Given,
}

/// The contents of what the machine was given, and what of it was left out.
type Given = (Vec<BlobId>, Vec<(String, String)>);

fn given(snapshot: &Snapshot) -> Given {
    let blobs = snapshot.local.files.iter().map(|file| file.blob.clone());
    (blobs.collect(), snapshot.local.left_out.clone())
}

/// How a revision is admitted.
type Admit = fn(&Desired, Option<&NodeInfo>) -> Result<Admitted, Diagnostics>;

impl Judged {
    fn of(snapshot: &Snapshot) -> Self {
        Self { revision: snapshot.revision.id.clone(), local: given(snapshot) }
    }

    fn is(&self, snapshot: &Snapshot) -> bool {
        self.revision == snapshot.revision.id && self.local == given(snapshot)
    }
}

impl Revisions {
    pub(super) fn new(
        source: Arc<dyn Source>,
        (parse, blocking): (Parse, Blocking),
        ledger: Arc<dyn LedgerStore>,
        (node, tokens): (&NodeInfo, Arc<dyn Tokens>),
    ) -> Self {
        Self {
            source,
            parse: Arc::new(Mutex::new(parse)),
            blocking,
            ledger,
            node: Arc::new(node.clone()),
            tokens,
            signed: Known::new(),
            unsigned: false,
            uncertified: false,
            durable: Durable::default(),
            admitted: None,
            local: Given::default(),
            judged: None,
            refused: Diagnostics::default(),
            failure: None,
            uncommitted: Vec::new(),
            told: String::new(),
            is_last_refused: false,
        }
    }

    /// What the agent before this one remembered. A ledger that cannot be read costs the last applied revision, which
    /// is needed only while the newest one is invalid: the pods are kept by their records then.
    pub(super) async fn load(&mut self) {
        match self.ledger.load().await {
            Ok(durable) => {
                if let Some(place) = &durable.set_aside {
                    tracing::warn!(
                        place,
                        "a later podwright wrote a ledger that this one cannot read; it is kept there"
                    );
                }
                self.durable = durable;
            }
            Err(error) => tracing::warn!("{error}; going on without it"),
        }
    }

    /// Reads the newest revision and decides which one counts. Afterwards `failure` says whether to try again later.
    pub(super) async fn look(&mut self) {
        self.look_for_certificate();
        match self.source.read().await {
            Ok(snapshot) => {
                if self.uncommitted != snapshot.uncommitted && !snapshot.uncommitted.is_empty() {
                    let paths = snapshot.uncommitted.join(", ");
                    tracing::info!(count = snapshot.uncommitted.len(), paths, "uncommitted and not read");
                }
                self.uncommitted.clone_from(&snapshot.uncommitted);
                if self.judged.as_ref().is_some_and(|judged| judged.is(&snapshot)) {
                    self.failure = None;
                } else {
                    self.failure = self.judge(snapshot).await.err();
                }
            }
            Err(ReadError::Rejected(diagnostics)) => {
                self.failure = None;
                self.judged = None;
                if self.refused != diagnostics {
                    log_refusal(None, self.kept(), &diagnostics);
                    self.refused = diagnostics;
                }
            }
            Err(ReadError::Failed(error)) => self.failure = Some(error.to_string()),
        }
        if self.admitted.is_none() || self.is_behind() {
            self.fall_back().await;
        }
        self.fill_what_was_left();
    }

    /// The newest revision does not count, and the machine was given something else since the last one that does was admitted.
    fn is_behind(&self) -> bool {
        self.judged.as_ref().is_some_and(|judged| judged.local != self.local) && self.refused.has_errors()
    }

    fn kept(&self) -> Option<&Revision> {
        self.admitted.as_ref().map(|admitted| &admitted.revision).or(self.durable.last_applied.as_ref())
    }

    /// Admits a revision or refuses it whole. `Err` when it could not be remembered: then it does not count yet.
    async fn judge(&mut self, snapshot: Snapshot) -> Result<(), String> {
        let (revision, judged) = (snapshot.revision.clone(), Judged::of(&snapshot));
        match self.admit(snapshot, admit::admit_on).await {
            Ok(mut admitted) => {
                self.fill(&mut admitted);
                let both = Some(revision.clone());
                let durable = Durable { last_applied: both.clone(), last_attempted: both, ..self.durable.clone() };
                self.remember(durable).await?;
                let warnings = admitted.diagnostics.counts().1;
                tracing::info!(revision = %revision.short(), pods = admitted.pods.len(), warnings, "revision is valid");
                log_audits(&admitted.audits);
                tokens::keep(&admitted, &mut self.signed);
                self.admitted = Some(Arc::new(admitted));
                self.local.clone_from(&judged.local);
                self.refused = Diagnostics::default();
            }
            Err(diagnostics) => {
                // What the machine is given is no reason to say it again.
                if self.refused != diagnostics {
                    log_refusal(Some(&revision), self.kept(), &diagnostics);
                }
                let durable = Durable { last_attempted: Some(revision.clone()), ..self.durable.clone() };
                self.refused = diagnostics;
                if let Err(error) = self.remember(durable.clone()).await {
                    // Nothing is done because of it, so nothing depends on its being remembered.
                    tracing::warn!("{error}");
                    self.durable = durable;
                }
            }
        }
        self.judged = Some(judged);
        Ok(())
    }

    /// Parsing is nearly all of a round's work, so it is done where work may block.
    async fn admit(&self, snapshot: Snapshot, admit: Admit) -> Result<Admitted, Diagnostics> {
        let parse = Arc::clone(&self.parse);
        let node = Arc::clone(&self.node);
        let (done, waiting) = oneshot::channel();
        (self.blocking)(Box::new(move || {
            let mut parse = parse.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody waits for it any more when the agent has ended.
            let _ = done.send(admit(&(*parse)(&snapshot), Some(&node)));
        }));
        waiting.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Signs the tokens that Secrets of the revision are to have. It counts without those that cannot be signed.
    fn fill(&mut self, admitted: &mut Admitted) {
        self.unsigned = match tokens::sign(admitted, &*self.tokens, &mut self.signed) {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!("{error}; Secrets with tokens are without them until they can be signed");
                true
            }
        };
        tokens::fill(admitted, &self.node.root_ca, &self.signed);
    }

    /// The machine's certificate, if it could not be had so far; what keeps it was told when the agent began.
    fn look_for_certificate(&mut self) {
        if !self.node.root_ca.is_empty() {
            return;
        }
        if let Ok(text) = self.tokens.root_ca() {
            tracing::info!("the machine's certificate can be had now");
            self.node = Arc::new(NodeInfo { root_ca: text.into(), ..NodeInfo::clone(&self.node) });
            self.uncertified = self.admitted.is_some();
        }
    }

    /// Whether something is to be tried again that only keys keep from being done.
    pub(super) fn is_unsigned(&self) -> bool {
        self.unsigned || self.node.root_ca.is_empty()
    }

    /// Secrets that could not be filled are once their tokens can be signed and the certificate can be had.
    fn fill_what_was_left(&mut self) {
        let Some(admitted) = self.admitted.as_ref().filter(|_| self.unsigned || self.uncertified) else { return };
        let is_signed = tokens::sign(admitted, &*self.tokens, &mut self.signed).is_ok();
        if is_signed || self.uncertified {
            let mut filled = Admitted::clone(admitted);
            tokens::fill(&mut filled, &self.node.root_ca, &self.signed);
            self.admitted = Some(Arc::new(filled));
            self.uncertified = false;
        }
        if is_signed && std::mem::take(&mut self.unsigned) {
            tracing::info!("Secrets with tokens have them now");
        }
    }

    async fn remember(&mut self, durable: Durable) -> Result<(), String> {
        if durable != self.durable {
            self.ledger.save(&durable).await.map_err(|error| error.to_string())?;
            self.durable = durable;
        }
        Ok(())
    }

    /// With a newest revision that is no good, after a start or when the machine was given something else: the last one that was.
    async fn fall_back(&mut self) {
        let Some(last) = self.durable.last_applied.clone() else { return };
        let short = last.short();
        self.is_last_refused = false;
        let told = match self.source.read_at(&last.id).await {
            Ok(Some(snapshot)) => {
                let local = given(&snapshot);
                match self.admit(snapshot, admit::admit_again_on).await {
                    Ok(mut admitted) => {
                        tracing::info!(revision = %short, "going on with the last valid revision");
                        log_audits(&admitted.audits);
                        self.fill(&mut admitted);
                        self.admitted = Some(Arc::new(admitted));
                        self.local = local;
                        return;
                    }
                    Err(_) => {
                        self.is_last_refused = true;
                        format!("the last applied revision {short} is not valid any more")
                    }
                }
            }
            Ok(None) => format!("the last applied revision {short} cannot be read any more"),
            Err(ReadError::Failed(error)) => error.to_string(),
            Err(ReadError::Rejected(_)) => format!("the last applied revision {short} is not readable any more"),
        };
        if self.told != told {
            tracing::warn!("{told}; the pods are kept as they were last applied");
            self.told = told;
        }
    }
}

fn log_refusal(revision: Option<&Revision>, kept: Option<&Revision>, diagnostics: &Diagnostics) {
    let (errors, _) = diagnostics.counts();
    let revision = revision.map_or_else(|| "the newest revision".to_owned(), |r| format!("revision {}", r.short()));
    let kept = kept.map_or_else(|| "nothing is changed".to_owned(), |r| format!("revision {} is kept", r.short()));
    tracing::error!("{revision} is refused, {kept}; errors: {errors}");
    for diagnostic in diagnostics.0.iter().filter(|d| d.severity == Severity::Error).take(LOGGED) {
        tracing::error!("{diagnostic}");
    }
}

/// What namespaces ask to be told of in the log alone: how much of it is there as well.
fn log_audits(audits: &Diagnostics) {
    for audit in audits.0.iter().take(LOGGED) {
        tracing::warn!("audit: {audit}");
    }
    if let more @ 1.. = audits.0.len().saturating_sub(LOGGED) {
        tracing::warn!("audit: {more} more; `validate` tells all of them with the label warn in place of audit");
    }
}

fn panicked() -> Diagnostics {
    Diagnostics(vec![Diagnostic {
        severity: Severity::Error,
        rule: "internal",
        message: "reading this revision ended in a panic".to_owned(),
        help: Some("this is a bug in podwright; undo the last change of the manifests until it is fixed".to_owned()),
        place: None,
        object: None,
        field: None,
    }])
}
