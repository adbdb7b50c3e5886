//! What of libgit2 has no safe way: a switch, and a look at an object's header that no damage makes panic.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Once;

use libgit2_sys as raw;

/// Turns off libgit2's own check of who owns a repository, in favour of ours (`source::owner`), which knows what git
/// itself knows, such as `safe.directory = /srv/*`, and says what to do. libgit2 starts no program while it opens a
/// repository, so there is time to check. Call it before a repository is opened; only the first call does anything.
pub fn leave_owner_check_to_us() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: this writes a global variable of libgit2 that `git_repository_open` reads without a lock. Every
        // opening in this program comes after a call of this function, and `Once` orders the write before them.
        let set = unsafe { git2::opts::set_verify_owner_validation(false) };
        set.expect("invariant: libgit2 knows the option since 1.2");
    });
}

/// The objects of a repository by their headers alone. `git2::Odb::read_header` panics when a damaged pack says that an object
/// is of a kind that there is not; this one says so.
pub struct Headers(NonNull<raw::git_odb>);

impl Headers {
    /// Opens an object directory, and those it borrows from.
    ///
    /// # Errors
    /// When libgit2 cannot read it.
    pub fn open(objects: &Path) -> Result<Self, git2::Error> {
        // libgit2 is set up by whoever opens a repository, and by this for who opens none.
        drop(git2::Odb::new()?);
        let path =
            CString::new(objects.as_os_str().as_bytes()).map_err(|_| git2::Error::from_str("a path with NUL"))?;
        let mut odb = std::ptr::null_mut();
        // SAFETY: both are valid for the call, and `odb` is written when it succeeds.
        let code = unsafe { raw::git_odb_open(&raw mut odb, path.as_ptr()) };
        match NonNull::new(odb) {
            Some(odb) if code >= 0 => Ok(Self(odb)),
            _ => Err(git2::Error::last_error(code)),
        }
    }

    /// How many bytes an object has, as its header says.
    ///
    /// # Errors
    /// When there is none, or its header cannot be read.
    pub fn size(&self, id: git2::Oid) -> Result<usize, git2::Error> {
        let mut oid = raw::git_oid { id: [0; 20] };
        oid.id.copy_from_slice(id.as_bytes());
        let (mut size, mut kind) = (0, 0);
        // SAFETY: the object directory is open until this value is dropped, and everything else is valid for the call.
        let code = unsafe { raw::git_odb_read_header(&raw mut size, &raw mut kind, self.0.as_ptr(), &raw const oid) };
        match code {
            0.. if git2::ObjectType::from_raw(kind).is_some() => Ok(size),
            0.. => Err(git2::Error::new(
                git2::ErrorCode::GenericError,
                git2::ErrorClass::Odb,
                format!("object {id} is of no kind that there is"),
            )),
            code => Err(git2::Error::last_error(code)),
        }
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: it was opened once and is given back once; nothing that it gave out is left.
        unsafe { raw::git_odb_free(self.0.as_ptr()) }
    }
}
