//! Which file a command names, and what to say when it names none.

use std::ffi::{CString, NulError};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::oci::Process;

/// Where commands are looked up without a `PATH` in the environment (runc's default).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a command cannot be executed: the exit code that shells give it, and the reason (in runc's words).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) code: i32,
    pub(super) message: String,
}

impl Unusable {
    /// The command cannot be executed.
    const CODE: i32 = 126;
    /// There is no such command.
    const NOT_FOUND_CODE: i32 = 127;

    pub(super) fn new(name: &str, errno: rustix::io::Errno) -> Self {
        let missing = [rustix::io::Errno::NOENT, rustix::io::Errno::NOTDIR].contains(&errno);
        let code = if missing { Self::NOT_FOUND_CODE } else { Self::CODE };
        let error = std::io::Error::from(errno).to_string();
        let reason = error.split(" (os error").next().unwrap_or_default();
        let mut letters = reason.chars();
        let reason: String = letters.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(letters).collect();
        Self { code, message: format!("exec: {name:?}: {reason}") }
    }

    /// What is said of a container's program, which may be called something else in errors.
    pub(super) fn told_of(self, process: &Process) -> String {
        match (process.args.first(), &process.shown) {
            (Some(name), Some(shown)) => self.message.replacen(&format!("{name:?}"), &format!("{shown:?}"), 1),
            _ => self.message,
        }
    }

    fn not_in_path(name: &str) -> Self {
        Self { code: Self::NOT_FOUND_CODE, message: format!("exec: {name:?}: executable file not found in $PATH") }
    }
}

/// Whether this process may execute the file.
fn check(path: &Path) -> Result<(), rustix::io::Errno> {
    let stat = rustix::fs::stat(path)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(rustix::io::Errno::ISDIR);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// Finds the file that a command names, as this process sees the file system. A name with a slash is a path.
pub(super) fn find(name: &str, environment: &[String]) -> Result<PathBuf, Unusable> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return check(&path).map(|()| path).map_err(|errno| Unusable::new(name, errno));
    }
    let path = environment.iter().rev().find_map(|v| v.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut refused = None;
    for dir in path.split(':').filter(|d| !d.is_empty() && !name.is_empty()) {
        let candidate = Path::new(dir).join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(rustix::io::Errno::ACCESS) => refused = Some(rustix::io::Errno::ACCESS),
            Err(_) => {}
        }
    }
    Err(refused.map_or_else(|| Unusable::not_in_path(name), |errno| Unusable::new(name, errno)))
}

/// The environment with the last of several values of a variable, in the order of first mention.
pub(super) fn unique(environment: &[String]) -> Vec<String> {
    let name = |v: &String| v.split('=').next().unwrap_or_default().to_owned();
    let mut result: Vec<String> = Vec::with_capacity(environment.len());
    let mut places = std::collections::HashMap::new();
    for variable in environment {
        match places.entry(name(variable)) {
            std::collections::hash_map::Entry::Occupied(place) => {
                let place: &usize = place.get();
                variable.clone_into(&mut result[*place]);
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(result.len());
                result.push(variable.clone());
            }
        }
    }
    result
}

/// Replaces this process. Returns only when that failed.
pub(super) fn execute(arguments: &[String], environment: &[String]) -> Unusable {
    let Some(name) = arguments.first() else { return Unusable::not_in_path("") };
    let path = match find(name, environment) {
        Ok(path) => path,
        Err(unusable) => return unusable,
    };
    let strings =
        |list: &[String]| list.iter().map(|s| CString::new(s.as_bytes())).collect::<Result<Vec<_>, NulError>>();
    let program = CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    let (Ok(program), Ok(arguments), Ok(environment)) = (program, strings(arguments), strings(environment)) else {
        return Unusable::new(name, rustix::io::Errno::INVAL);
    };
    match nix::unistd::execve(&program, &arguments, &environment) {
        Ok(never) => match never {},
        Err(errno) => Unusable::new(name, rustix::io::Errno::from_raw_os_error(errno as i32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_as_a_shell_does() {
        let env = |path: &str| vec!["PATH=/nowhere".to_owned(), format!("PATH={path}")];
        assert_eq!(find("sh", &env("/nonexistent:/bin")).unwrap(), Path::new("/bin/sh"));
        assert!(find("sh", &[]).is_ok());
        for (name, path, code, reason) in [
            ("xyz", "/bin", 127, "executable file not found in $PATH"),
            ("", "/bin", 127, "executable file not found in $PATH"),
            ("/bin/xyz", "/bin", 127, "no such file or directory"),
            ("/bin/sh/x", "/bin", 127, "not a directory"),
            ("/etc/passwd", "/bin", 126, "permission denied"),
            ("passwd", "/etc", 126, "permission denied"),
            ("/etc", "/bin", 126, "is a directory"),
        ] {
            let unusable = find(name, &env(path)).unwrap_err();
            assert_eq!((unusable.code, unusable.message), (code, format!("exec: {name:?}: {reason}")));
        }
    }

    #[test]
    fn a_program_is_called_what_it_is_shown_as() {
        let process = |shown: serde_json::Value| -> Process {
            let user = serde_json::json!({"uid": 0, "gid": 0});
            let process = serde_json::json!({"args": ["hunter2"], "cwd": "/", "user": user, "shown": shown});
            serde_json::from_value(process).unwrap()
        };
        for (shown, name) in [(serde_json::json!("$(P)"), "$(P)"), (serde_json::Value::Null, "hunter2")] {
            let told = find("hunter2", &[]).unwrap_err().told_of(&process(shown));
            assert_eq!(told, format!("exec: {name:?}: executable file not found in $PATH"));
        }
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let list = ["A=1", "B=2", "A=3=4", "C"].map(str::to_owned);
        assert_eq!(unique(&list), ["A=3=4", "B=2", "C"]);
    }
}
