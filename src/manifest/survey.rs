//! Checking a snapshot without keeping it. Every stage is the reader's; only contents are dropped object by object, and what
//! [`super::cross`] needs is all that stays of a file.

use k8s_openapi::api::core::v1::Pod;

use super::check;
use super::file::File;
use super::object::{Object, Typed};
use super::reader::{add, add_desired, desired, empty, excluded};
use crate::model::{Desired, DesiredObject, Kind, Snapshot, SourceFile, spread};

/// Says of a valid object, and of the pod it is if it is one, whether it must be kept.
pub type Keeps<'d> = Box<dyn Fn(&DesiredObject, Option<&Pod>) -> bool + Sync + 'd>;

/// Everything that is wrong with a snapshot. `begin` gets every PodPreset, Namespace and ServiceAccount of it before any other
/// object; what it returns decides which of the others stay in the result. Those that do not are counted in
/// [`Desired::unread`]; the diagnostics are the same whatever is kept, as those of [`super::Reader::read`].
pub fn survey(snapshot: &Snapshot, threads: usize, begin: impl for<'d> FnOnce(&'d Desired) -> Keeps<'d>) -> Desired {
    let may_hold = spread::map(threads, &snapshot.files, |file| may_hold_early(&file.bytes));
    let (early, late): (Vec<usize>, Vec<usize>) = (0..snapshot.files.len()).partition(|index| may_hold[*index]);
    let source = |index: usize| &snapshot.files[index];
    let mut files: Vec<(usize, File, Sifted)> =
        spread::map(threads, &early, |index| (*index, File::read(&source(*index).bytes), Sifted::default()));
    let mut result = empty(snapshot);
    for (index, file, _) in &files {
        let is_early = |object: &&Object| EARLY.contains(&object.key.kind);
        file.objects.iter().filter(is_early).for_each(|object| add(object, source(*index), &mut result));
    }
    let keeps = begin(&result);
    for (index, file, sifted) in &mut files {
        *sifted = sift(source(*index), file, &keeps);
    }
    files.extend(spread::map(threads, &late, |index| {
        let mut file = File::read(&source(*index).bytes);
        let sifted = sift(source(*index), &mut file, &keeps);
        (*index, file, sifted)
    }));
    drop(keeps);
    files.sort_unstable_by_key(|(index, ..)| *index);
    let mut bare = Vec::with_capacity(files.len());
    for (index, file, Sifted { kept, dropped }) in files {
        result.excluded.extend(excluded(source(index), &file));
        kept.into_iter().for_each(|object| add_desired(object, &mut result));
        for kind in dropped {
            *result.unread.entry(kind).or_default() += 1;
        }
        bare.push(file);
    }
    let files: Vec<_> = snapshot.files.iter().zip(&bare).collect();
    result.diagnostics = check::diagnostics(snapshot, &files, threads);
    result
}

/// What became of the objects of a file.
#[derive(Default)]
struct Sifted {
    kept: Vec<(DesiredObject, Typed)>,
    dropped: Vec<Kind>,
}

/// Takes the contents out of a file.
fn sift(source: &SourceFile, file: &mut File, keeps: &Keeps<'_>) -> Sifted {
    let mut sifted = Sifted::default();
    for object in &mut file.objects {
        let Some((made, typed)) = desired(object, source) else { continue };
        object.body = None;
        let pod = if let Typed::Pod(pod) = &typed { Some(&**pod) } else { None };
        match &typed {
            // It is in the result already.
            Typed::Preset(_) => {}
            _ if EARLY.contains(&made.key.kind) => {
                keeps(&made, pod);
            }
            _ if keeps(&made, pod) => sifted.kept.push((made, typed)),
            _ => sifted.dropped.push(made.key.kind),
        }
    }
    sifted
}

/// What decides over other objects: it is read before them, and kept.
const EARLY: [Kind; 3] = [Kind::PodPreset, Kind::Namespace, Kind::ServiceAccount];

/// Whether bytes may say one of these: as it is written, or by an escape of double quotes, which may also break a word at
/// the end of a line. Within a longer word, as in `automountServiceAccountToken`, none is a kind.
fn may_hold_early(bytes: &[u8]) -> bool {
    let letters = |byte: u8| EARLY.iter().any(|kind| kind.as_str().as_bytes().contains(&byte));
    let escapes = |at: usize| match bytes.get(at + 1) {
        Some(b'x' | b'u' | b'U') => true,
        Some(b'\n' | b'\r') => at > 0 && letters(bytes[at - 1]),
        _ => false,
    };
    let begins_a_word = |at: usize| at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
    bytes.iter().enumerate().any(|(at, byte)| match byte {
        b'P' => bytes[at..].starts_with(b"PodPreset"),
        b'N' => bytes[at..].starts_with(b"Namespace"),
        b'S' => bytes[at..].starts_with(b"ServiceAccount") && begins_a_word(at),
        b'\\' => escapes(at),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_to_write_what_is_read_early_is_overlooked() {
        for text in [
            "kind: PodPreset",
            "kind: 'PodPreset'",
            "{\"kind\": \"\\u0050odPreset\"}",
            "kind: \"Pod\\x50reset\"",
            "kind: \"\\U00000050odPreset\"",
            "kind: \"Pod\\\n  Preset\"",
            "kind: \"Pod\\\r\n  Preset\"",
            "kind: \"P\\\n  o\\\n  d\\\n  Preset\"",
            "kind: Namespace",
            "{\"kind\": \"\\u004eamespace\"}",
            "kind: \"Na\\\n  mespace\"",
            "kind: ServiceAccount",
            "{\"kind\":\"ServiceAccountList\"}",
            "kind: \"Service\\\n  Account\"",
            "kind: \"\\x53erviceAccount\"",
        ] {
            assert!(may_hold_early(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "kind: Pod",
            "args: |\n  run \\\n    --now",
            "a: \"\\n\\t\"",
            "PodPrese",
            "namespace: a",
            "automountServiceAccountToken: true",
        ] {
            assert!(!may_hold_early(text.as_bytes()), "{text}");
        }
    }
}
