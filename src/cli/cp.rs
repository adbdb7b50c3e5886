//! `cp`: files and directories into containers and out of them. The copy is made through the container's own view of its
//! files: the image needs no `tar`, and there is no archive that could lie.

mod spec;
mod tree;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::Stat;

use super::args::CpArgs;
use super::container;
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::running::{self, Wanted};
use crate::model::PodKey;
use crate::shim::{self, Inside};
use crate::sys::beneath::Dir;
use spec::Copy;
use tree::{Attributes, Copier, Links};

/// What a new file may at most be permitted where its permissions are not preserved (the usual umask).
const USUAL: u32 = 0o755;

/// Runs `cp`.
pub fn run(args: &CpArgs, layout: &Layout) -> Result<Ending, CliError> {
    let copy = spec::parse(&args.source, &args.destination, &args.namespace.namespace)?;
    match &copy {
        Copy::Into { source, pod, path } => {
            if fs::symlink_metadata(source).is_err() {
                return Err(CliError::new(format!("{} doesn't exist in local filesystem", source.display())));
            }
            into(source, &open(args, layout, pod)?, path, args.no_preserve)?;
        }
        Copy::OutOf { pod, path, destination } => out_of(&open(args, layout, pod)?, path, destination)?,
    }
    Ok(Ending::Success)
}

fn open(args: &CpArgs, layout: &Layout, pod: &PodKey) -> Result<Inside, CliError> {
    let wanted = Wanted {
        pod: pod.clone(),
        container: args.container.as_deref(),
        quiet: false,
        refusal: "cannot exec into a container in",
        unknown: container::unknown_to_server,
    };
    let found = running::find(layout, &wanted)?;
    shim::inside(&found.instance.dir).map_err(|error| found.failed(error))
}

/// A failure at a path that the user gave.
fn failed(path: &Path) -> impl Fn(io::Error) -> CliError + '_ {
    move |error| CliError::new(format!("cannot copy {}: {error}", path.display()))
}

/// The directory a path stands in, and its name there; `None` for a path that ends with no name, such as `.`.
fn parent(path: &Path) -> (&Path, Option<&OsStr>) {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (parent, path.file_name())
}

/// What a file in a container gets, as `tar` would give it there that the container's user runs.
fn attributes_inside(inside: &Inside, no_preserve: bool, stat: &Stat) -> Attributes {
    let user = inside.user();
    let is_root = user.0 == 0;
    let wanted = if is_root && !no_preserve { (stat.st_uid, stat.st_gid) } else { user };
    let owner = inside.outside(wanted).or_else(|| inside.outside(user));
    let mode = stat.st_mode & if is_root && !no_preserve { 0o7777 } else { USUAL };
    Attributes { mode, owner }
}

fn into(source: &Path, inside: &Inside, path: &Path, no_preserve: bool) -> Result<(), CliError> {
    let rule = |stat: &Stat| attributes_inside(inside, no_preserve, stat);
    let mut copier = Copier::new(Links::Keep, &rule);
    let (source_parent, source_name) = parent(source);
    let exists = inside.is_directory(path).map_err(failed(path))?;
    // Into a directory that is there; else under the name that was given.
    let (target, name) = match exists {
        Some(true) => (path, source_name),
        _ => parent(path),
    };
    let to = inside.directory(target).map_err(failed(target))?;
    inside.make_files_as_root().map_err(failed(target))?;
    match (source_name, name) {
        (Some(source_name), Some(name)) => {
            let from = Dir::open(source_parent).map_err(failed(source_parent))?;
            copier.entry((&from, source_name), (&to, name), source)
        }
        (None, Some(name)) => {
            let from = Dir::open(source).map_err(failed(source))?;
            copier.directory(&from, (&to, name), source)
        }
        _ => {
            let from = Dir::open(source).map_err(failed(source))?;
            copier.contents(&from, &to, source)
        }
    }
}

/// What a file out of a container gets: it is this user's, and gives nobody more rights.
fn attributes_here(stat: &Stat) -> Attributes {
    Attributes { mode: stat.st_mode & 0o777, owner: None }
}

fn out_of(inside: &Inside, path: &Path, destination: &Path) -> Result<(), CliError> {
    match inside.is_directory(path).map_err(failed(path))? {
        None => Err(failed(path)(io::ErrorKind::NotFound.into())),
        Some(true) => {
            let from = inside.directory(path).map_err(failed(path))?;
            let to = Dir::make(destination, USUAL).map_err(failed(destination))?;
            Copier::new(Links::Skip, &attributes_here).contents(&from, &to, path)
        }
        Some(false) => {
            let file = inside.file(path).map_err(failed(path))?;
            let joined = path.file_name().filter(|_| destination.is_dir()).map(|name| destination.join(name));
            let target = joined.as_deref().unwrap_or(destination);
            let stat = rustix::fs::fstat(&file).map_err(|e| failed(path)(e.into()))?;
            // The user's own path: it may be a link or a device, /dev/stdout for one.
            let to = create(target, attributes_here(&stat).mode).map_err(failed(target))?;
            let length = u64::try_from(stat.st_size).unwrap_or(0);
            if !tree::bytes(&file, &to, length).map_err(failed(target))? {
                tree::note_shorter(path);
            }
            Ok(())
        }
    }
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create(true).truncate(true).mode(mode).open(path)
}
