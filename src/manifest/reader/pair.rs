//! Two snapshots for a comparison: what changed is read and what that can reach, the rest is counted.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Reader;
use crate::manifest::file::File;
use crate::manifest::object::{Body, Object, Typed};
use crate::manifest::outline::{Named, Outline, outline};
use crate::manifest::reach::{Content, Reach, Read, Unread, Weight};
use crate::model::{BlobId, Desired, Kind, Severity, Snapshot, SourceFile, spread};

impl Reader {
    /// Reads two snapshots as far as their difference depends on them. Files that are on one side only are parsed, then
    /// those that can matter to what is in them (`reach`). Objects of the others are counted in [`Desired::unread`]; their
    /// errors are found by [`Reader::read`] alone. While those files are valid, the plan from one side to the other and
    /// every admitted pod in it are those of two full readings.
    ///
    /// An object that two unchanged files define is refused here too, for their outlines tell. What else unchanged files
    /// may have against each other is seen by `validate` alone: a host port that two pods want, a mount whose volume no
    /// preset gives because its selector is wrong.
    ///
    /// A file that was moved or renamed is no difference.
    pub fn read_pair(&mut self, base: &Snapshot, head: &Snapshot) -> (Desired, Desired) {
        let split = split(base, head);
        let sources: Vec<&SourceFile> = split.shared.iter().map(|(_, index)| &head.files[*index]).collect();
        let outlined = spread::map(self.threads, &sources, |source| {
            let Outline { objects, escapes } = outline(&source.bytes)?;
            Some(Unread { bytes: &source.bytes, objects, obscure: escapes })
        });
        // Those without an outline are parsed to know what they hold.
        let odd: Vec<usize> = (0..outlined.len()).filter(|index| outlined[*index].is_none()).collect();
        let parsed = self.learn(&odd.iter().map(|index| sources[*index]).collect::<Vec<_>>());
        let mut of_odd = odd.iter().zip(&parsed).map(|(index, file)| Unread {
            bytes: &sources[*index].bytes,
            objects: file.objects.iter().map(named).collect(),
            obscure: true,
        });
        let unread: Vec<Unread<'_>> =
            outlined.into_iter().filter_map(|known| known.or_else(|| of_odd.next())).collect();
        let changed = split.base.iter().map(|i| &base.files[*i]).chain(split.head.iter().map(|i| &head.files[*i]));
        let changed: Vec<&SourceFile> = changed.collect();
        let (mut reach, read) = spread::both(|| Reach::new(&unread), || self.learn(&changed));
        let mut todo: Vec<(Arc<File>, Weight)> = read.into_iter().map(|file| (file, Weight::Changed)).collect();
        // A revision with an error is refused, whoever made it: it is read to be told.
        for (index, file) in odd.iter().zip(&parsed).filter(|(_, file)| has_errors(file)) {
            reach.raise(*index, Weight::Needed);
            todo.push((Arc::clone(file), Weight::Needed));
        }
        let twice: Vec<usize> =
            reach.duplicates().into_iter().filter(|index| reach.raise(*index, Weight::Needed)).collect();
        let files: Vec<&SourceFile> = twice.iter().map(|index| sources[*index]).collect();
        todo.extend(self.learn(&files).into_iter().map(|file| (file, Weight::Needed)));
        self.follow(&mut reach, todo, &sources);
        let chosen: BTreeSet<usize> = (0..unread.len()).filter(|index| reach.weights()[*index].is_some()).collect();
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        let rest = unread.iter().enumerate().filter(|(index, _)| !chosen.contains(index));
        rest.flat_map(|(_, file)| file.objects.iter()).for_each(|object| *counts.entry(object.kind).or_default() += 1);
        let base_files = split.base.iter().copied().chain(chosen.iter().map(|index| split.shared[*index].0));
        let head_files = split.head.iter().copied().chain(chosen.iter().map(|index| split.shared[*index].1));
        let (base_files, head_files) = (base_files.collect(), head_files.collect());
        let (mut old, new) =
            spread::both(|| self.part(base, base_files, &counts), || self.part(head, head_files, &counts));
        // Nothing is a base as good as any: everything is new.
        old.diagnostics.0.retain(|diagnostic| diagnostic.rule != "no-manifests");
        (old, new)
    }

    /// What files hold, parsed now unless they are known.
    fn learn(&mut self, sources: &[&SourceFile]) -> Vec<Arc<File>> {
        let mut seen = HashSet::new();
        let mut new = sources.to_vec();
        new.retain(|source| !self.cache.contains_key(&source.blob) && seen.insert(&source.blob));
        let read = spread::map(self.threads, &new, |source| Arc::new(File::kept(&source.bytes)));
        self.parsed += new.len();
        self.cache.extend(new.into_iter().map(|source| source.blob.clone()).zip(read));
        sources.iter().map(|source| Arc::clone(&self.cache[&source.blob])).collect()
    }

    /// Follows files that were read wherever they lead. `sources` are those that `reach` knows.
    fn follow(&mut self, reach: &mut Reach<'_>, mut todo: Vec<(Arc<File>, Weight)>, sources: &[&SourceFile]) {
        while !todo.is_empty() {
            let objects = todo.iter().flat_map(|(file, weight)| file.objects.iter().map(|object| (object, *weight)));
            let read: Vec<Read<'_>> = objects
                .map(|(object, weight)| Read {
                    key: &object.key,
                    content: object.body.as_ref().map_or(Content::None, content),
                    has_host_ports: !object.facts.host_ports.is_empty(),
                    weight,
                })
                .collect();
            let reached: Vec<usize> = reach.step(&read).into_iter().collect();
            let files: Vec<&SourceFile> = reached.iter().map(|index| sources[*index]).collect();
            let weight = |index: usize| reach.weights()[index].unwrap_or(Weight::Needed);
            todo = self.learn(&files).into_iter().zip(reached).map(|(file, index)| (file, weight(index))).collect();
        }
    }

    /// The part of a snapshot that was read.
    fn part(&self, snapshot: &Snapshot, mut files: Vec<usize>, unread: &BTreeMap<Kind, usize>) -> Desired {
        files.sort_unstable();
        let sources: Vec<SourceFile> = files.iter().map(|index| snapshot.files[*index].clone()).collect();
        let part = Snapshot {
            revision: snapshot.revision.clone(),
            files: sources,
            // What is provisioned on a machine is the same on both sides, and no pod is placed by it.
            local: Default::default(),
            uncommitted: snapshot.uncommitted.clone(),
            ignored: snapshot.ignored.clone(),
        };
        // Reading forgets what a snapshot does not have; the other side may.
        let mut desired = Self { cache: self.cache.clone(), ..*self }.read(&part);
        if !unread.is_empty() {
            // There are objects, if none among what was read.
            desired.diagnostics.0.retain(|diagnostic| diagnostic.rule != "no-manifests");
        }
        desired.unread.clone_from(unread);
        desired
    }
}

fn content(body: &Body) -> Content<'_> {
    match (&body.typed, &body.value) {
        (Typed::Packed(pod), _) => Content::Json(pod.text()),
        (_, Some(value)) => Content::Value(value),
        (_, None) => Content::None,
    }
}

fn named(object: &Object) -> Named<'_> {
    let key = &object.key;
    Named { kind: key.kind, namespace: &key.namespace, name: &key.name }
}

fn has_errors(file: &File) -> bool {
    file.unlisted > 0 || file.problems.iter().any(|located| located.problem.severity == Severity::Error)
}

/// Files by where they are, as indices.
#[derive(Default)]
struct Split {
    /// On both sides, with the same bytes.
    shared: Vec<(usize, usize)>,
    base: Vec<usize>,
    head: Vec<usize>,
}

fn split(base: &Snapshot, head: &Snapshot) -> Split {
    let mut split = Split::default();
    let mut is_shared = vec![false; base.files.len()];
    let mut rest = Vec::new();
    // Both are sorted by path.
    let mut olds = base.files.iter().enumerate().peekable();
    // What was walked once has one path.
    let order = |a: &Arc<str>, b: &Arc<str>| if Arc::ptr_eq(a, b) { Ordering::Equal } else { a.cmp(b) };
    for (new, file) in head.files.iter().enumerate() {
        while olds.next_if(|(_, old)| order(&old.path, &file.path).is_lt()).is_some() {}
        match olds.next_if(|(_, old)| order(&old.path, &file.path).is_eq()) {
            Some((old, before)) if before.blob == file.blob => {
                is_shared[old] = true;
                split.shared.push((old, new));
            }
            _ => rest.push(new),
        }
    }
    // The same bytes under another path were moved.
    let mut moved: HashMap<&BlobId, Vec<usize>> = HashMap::new();
    for old in (0..base.files.len()).rev().filter(|old| !is_shared[*old]) {
        moved.entry(&base.files[old].blob).or_default().push(old);
    }
    for new in rest {
        match moved.get_mut(&head.files[new].blob).and_then(Vec::pop) {
            Some(old) => split.shared.push((old, new)),
            None => split.head.push(new),
        }
    }
    split.base = moved.into_values().flatten().collect();
    split.base.sort_unstable();
    split
}
