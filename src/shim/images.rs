//! Images that a container has as volumes: their layers, mounted read-only in the bundle, where the binds of the spec find them.

use std::ffi::CString;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::MountFlags;

use super::failure::{Failure, Step};
use super::users::Users;
use super::{ShimRequest, ShownImage, image_place, rootfs};
use crate::sys::effect;

/// Mounts them all, each at its place.
pub(super) fn mount_all(request: &ShimRequest, users: Option<&Users>) -> Result<(), Failure> {
    for (number, image) in request.images.iter().enumerate() {
        let place = image_place(&request.instance_dir, number);
        mount(image, &place, users).step_of_the_machine("mounting the layers of an image")?;
        if !image.part.as_os_str().is_empty() {
            // Without its name, in which there may be the value of a variable.
            show(&image.part, &place).step("mounting a directory of an image")?;
        }
    }
    Ok(())
}

fn mount(image: &ShownImage, place: &Path, users: Option<&Users>) -> io::Result<()> {
    effect::make_dirs(place, 0o755)?;
    let links = place.with_extension("layers");
    let lowers = rootfs::name_layers(&links, &image.layers, users)?;
    let options = CString::new(format!("lowerdir={lowers}"))?;
    rootfs::mount_layers((&links, place), MountFlags::RDONLY, &options)
}

/// Mounts a directory of what is mounted there over it. It is a directory of the image or none: where there is a link by now
/// nothing is shown.
fn show(part: &Path, place: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let whole = rustix::fs::openat(CWD, place, flags, Mode::empty())?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let found = rustix::fs::openat2(&whole, part, flags, Mode::empty(), inside)?;
    effect::place_mount(effect::copy_mount(&found, false)?, &whole)
}
