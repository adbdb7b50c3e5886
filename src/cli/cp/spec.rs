//! What `cp` was asked to copy, in kubectl's form `[[namespace/]pod:]path`, with kubectl's words for what is wrong.

use std::path::PathBuf;

use super::super::error::CliError;
use crate::model::PodKey;

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Here(PathBuf),
    InPod { pod: PodKey, path: PathBuf },
}

/// From where to where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    Into { source: PathBuf, pod: PodKey, path: PathBuf },
    OutOf { pod: PodKey, path: PathBuf, destination: PathBuf },
}

pub(super) fn parse(source: &str, destination: &str, namespace: &str) -> Result<Copy, CliError> {
    match (place(source, namespace)?, place(destination, namespace)?) {
        (Place::Here(source), Place::InPod { pod, path }) => Ok(Copy::Into { source, pod, path }),
        (Place::InPod { pod, path }, Place::Here(destination)) => Ok(Copy::OutOf { pod, path, destination }),
        (Place::Here(_), Place::Here(_)) => {
            Err(CliError::usage("one of src or dest must be a remote file specification"))
        }
        (Place::InPod { .. }, Place::InPod { .. }) => {
            Err(CliError::usage("one of src or dest must be a local file specification"))
        }
    }
}

fn place(word: &str, namespace: &str) -> Result<Place, CliError> {
    let malformed = || CliError::usage("filespec must match the canonical format: [[namespace/]pod:]file/path");
    // No namespace and no pod begins so: a colon further on is the file's own.
    let is_path = word.starts_with(['/', '.']);
    let found = match word.split_once(':').filter(|_| !is_path) {
        None => Place::Here(word.into()),
        Some((pod, path)) => {
            let pod = match pod.split('/').collect::<Vec<_>>()[..] {
                [name] if !name.is_empty() => PodKey::new(namespace, name),
                [namespace, name] if !namespace.is_empty() && !name.is_empty() => PodKey::new(namespace, name),
                _ => return Err(malformed()),
            };
            Place::InPod { pod, path: path.into() }
        }
    };
    let (Place::Here(path) | Place::InPod { path, .. }) = &found;
    if path.as_os_str().is_empty() {
        return Err(CliError::usage("filepath can not be empty"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_kubectl_writes_them() {
        let into = |source: &str, pod: (&str, &str), path: &str| {
            Ok(Copy::Into { source: source.into(), pod: PodKey::new(pod.0, pod.1), path: path.into() })
        };
        let out_of = |pod: (&str, &str), path: &str, destination: &str| {
            Ok(Copy::OutOf { pod: PodKey::new(pod.0, pod.1), path: path.into(), destination: destination.into() })
        };
        let wrong = |words: &str| Err(format!("error: {words}\n"));
        let malformed = || wrong("filespec must match the canonical format: [[namespace/]pod:]file/path");
        for (source, destination, expected) in [
            ("a", "web:/b", into("a", ("ns", "web"), "/b")),
            ("a", "other/web:b", into("a", ("other", "web"), "b")),
            ("web:/b", ".", out_of(("ns", "web"), "/b", ".")),
            ("web:/b:c", "a", out_of(("ns", "web"), "/b:c", "a")),
            ("./a:b", "web:/x", into("./a:b", ("ns", "web"), "/x")),
            ("/a:b", "web:/x", into("/a:b", ("ns", "web"), "/x")),
            ("a", "b", wrong("one of src or dest must be a remote file specification")),
            ("web:/a", "db:/a", wrong("one of src or dest must be a local file specification")),
            (":/a", "b", malformed()),
            ("x/y/z:/a", "b", malformed()),
            ("/web:a", "x", wrong("one of src or dest must be a remote file specification")),
            ("x/:/a", "b", malformed()),
            ("web:", "b", wrong("filepath can not be empty")),
            ("", "web:/b", wrong("filepath can not be empty")),
        ] {
            assert_eq!(parse(source, destination, "ns").map_err(|e| e.to_string()), expected, "{source} {destination}");
        }
    }
}
