//! A forge's runner, as far as the examples need one: it takes the scripts out of the job's own file and runs them in a
//! fresh directory with the environment that the forge documents. The repository, git and podwright are real.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::standin::Standin;
use crate::support;

/// Where the examples are.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pull-request").join(name)
}

/// A file of a forge, read as YAML.
pub fn job_file(name: &str) -> Value {
    serde_yaml::from_str(&std::fs::read_to_string(example(name)).unwrap()).unwrap()
}

/// Whether the programs are there that a runner has.
pub fn has_tools() -> bool {
    let missing = ["git", "curl", "jq"].into_iter().find(|tool| {
        let said = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        !said.is_ok_and(|status| status.success())
    });
    if let Some(tool) = missing {
        support::skip(&format!("needs {tool}"));
    }
    missing.is_none()
}

/// How a job ended and everything it printed.
#[must_use]
#[derive(Debug)]
pub struct Ran {
    /// The step that failed.
    pub failed: Option<String>,
    pub log: String,
}

/// A repository with the examples and one manifest, and a directory for everything else.
pub struct World {
    pub dir: tempfile::TempDir,
    pub forge: Standin,
}

/// A pod that is valid and needs nothing else.
pub fn pod(image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
         - name: c\n    image: {image}\n"
    )
}

impl World {
    pub fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), forge: Standin::start() };
        std::fs::create_dir_all(world.path("home")).unwrap();
        std::fs::create_dir_all(world.repository()).unwrap();
        world.git(&["init", "-q", "-b", "main"]);
        for name in ["ci/comment.sh", "ci/install.sh", "ci/pre-commit"] {
            world.write(name, &std::fs::read_to_string(example(name)).unwrap());
            std::fs::set_permissions(world.repository().join(name), PermissionsExt::from_mode(0o755)).unwrap();
        }
        world.write("manifests/pod.yaml", &pod("nginx:1.27"));
        world.commit("main");
        world.git(&["branch", "-q", "feature"]);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn repository(&self) -> PathBuf {
        self.path("server/acme/fleet")
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.repository().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A command with nothing of this machine's environment, and the built program first on its path.
    pub fn command(&self, program: &str) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_podwright")).parent().unwrap();
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.path("home")).env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C.UTF-8");
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", built.display()));
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "tester").env(format!("GIT_{who}_EMAIL"), "tester@example.com");
        }
        command.current_dir(self.repository()).stdin(Stdio::null());
        command
    }

    pub fn git(&self, args: &[&str]) -> String {
        let output = self.command("git").args(args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A commit on the branch of the pull request, with these files; what the forge makes by merging it.
    pub fn push(&self, files: &[(&str, &str)]) -> String {
        self.git(&["checkout", "-q", "feature"]);
        for (name, text) in files {
            self.write(name, text);
        }
        self.commit("a push");
        self.git(&["checkout", "-q", "--detach", "main"]);
        self.git(&["merge", "-q", "--no-ff", "-m", "merge", "feature"]);
        let merge = self.git(&["rev-parse", "HEAD"]);
        self.git(&["update-ref", "refs/pull/7/merge", &merge]);
        self.git(&["checkout", "-q", "feature"]);
        merge
    }

    /// Runs the job of the GitHub workflow for a merge commit.
    pub fn github(&self, merge: &str, token: &str) -> Ran {
        self.github_with(merge, token, &[])
    }

    /// The same with more in the environment.
    pub fn github_with(&self, merge: &str, token: &str, more: &[(&str, &str)]) -> Ran {
        let workflow = job_file(".github/workflows/plan.yaml");
        let job = &workflow["jobs"]["plan"];
        let contexts = BTreeMap::from([
            ("github.token", token),
            ("github.event.pull_request.number", "7"),
            ("vars.PODWRIGHT_URL", ""),
            ("vars.PODWRIGHT_SHA256", ""),
        ]);
        let workspace = self.workspace();
        let mut ran = Ran { failed: None, log: String::new() };
        for step in job["steps"].as_array().unwrap() {
            let mut command = self.command("sh");
            command.env("GITHUB_ACTIONS", "true").env("GITHUB_API_URL", self.forge.url());
            command.env("GITHUB_SERVER_URL", format!("file://{}", self.path("server").display()));
            command.env("GITHUB_REPOSITORY", "acme/fleet").env("GITHUB_SHA", merge);
            command.env("GITHUB_STEP_SUMMARY", self.path("summary")).env("RUNNER_TEMP", self.path("temp"));
            command.env("GITHUB_PATH", self.path("github-path")).envs(more.iter().copied());
            for environment in [&job["env"], &step["env"]] {
                for (name, value) in environment.as_object().into_iter().flatten() {
                    command.env(name, expanded(value.as_str().unwrap(), &contexts));
                }
            }
            let script = step["run"].as_str().unwrap();
            if !self.step(command.arg("-e"), &workspace, script, &mut ran.log) {
                ran.failed = Some(step["name"].as_str().unwrap().to_owned());
                return ran;
            }
        }
        ran
    }

    /// Runs the script of the GitLab job for the tip of the merge request's branch.
    pub fn gitlab(&self, token: Option<&str>, more: &[(&str, &str)]) -> Ran {
        let job = &job_file(".gitlab-ci.yml")["podwright-plan"];
        // What installs Debian packages is left out; the rest runs in one shell, as the runner has it.
        let parts = ["before_script", "script"].into_iter().flat_map(|part| job[part].as_array().unwrap());
        let lines = parts.map(|line| line.as_str().unwrap()).filter(|line| !line.starts_with("apt-get "));
        let mut variables: Vec<(&str, &str)> = Vec::new();
        for (name, value) in job["variables"].as_object().unwrap() {
            variables.push((name, value.as_str().unwrap()));
        }
        variables.extend(more);
        self.gitlab_script(&lines.collect::<Vec<_>>().join("\n"), token, &variables)
    }

    /// Runs a script in a shallow clone of the merge request's branch, as GitLab's runner does.
    pub fn gitlab_script(&self, script: &str, token: Option<&str>, variables: &[(&str, &str)]) -> Ran {
        let workspace = self.workspace();
        let server = format!("file://{}", self.repository().display());
        self.git(&["clone", "-q", "--depth=1", "--branch=feature", &server, workspace.to_str().unwrap()]);
        let mut command = self.command("sh");
        command.env("GITLAB_CI", "true").env("CI_API_V4_URL", format!("{}/api/v4", self.forge.url()));
        command.env("CI_MERGE_REQUEST_PROJECT_ID", "42").env("CI_MERGE_REQUEST_IID", "7");
        command.env("CI_MERGE_REQUEST_DIFF_BASE_SHA", self.git(&["merge-base", "main", "feature"]));
        command.env("CI_MERGE_REQUEST_PROJECT_URL", server).env("CI_COMMIT_SHA", self.git(&["rev-parse", "feature"]));
        command.envs(token.map(|token| ("GITLAB_TOKEN", token))).envs(variables.iter().copied());
        let mut ran = Ran { failed: None, log: String::new() };
        if !self.step(command.arg("-e"), &workspace, script, &mut ran.log) {
            ran.failed = Some("script".to_owned());
        }
        ran
    }

    /// A directory for a job that nobody used before.
    fn workspace(&self) -> PathBuf {
        let _ = std::fs::remove_dir_all(self.path("workspace"));
        let _ = std::fs::remove_dir_all(self.path("temp"));
        std::fs::create_dir_all(self.path("temp")).unwrap();
        std::fs::create_dir_all(self.path("workspace")).unwrap();
        self.path("workspace")
    }

    /// Runs one script; whether it went well.
    fn step(&self, command: &mut Command, workspace: &Path, script: &str, log: &mut String) -> bool {
        let file = self.path("temp/step.sh");
        std::fs::write(&file, script).unwrap();
        let output = command.arg(&file).current_dir(workspace).output().unwrap();
        log.push_str(&String::from_utf8_lossy(&output.stdout));
        log.push_str(&String::from_utf8_lossy(&output.stderr));
        output.status.success()
    }
}

/// The value of a variable with its expressions replaced; one that the test does not know is a mistake in the workflow.
fn expanded(text: &str, contexts: &BTreeMap<&str, &str>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        let (name, after) = after.split_once("}}").unwrap();
        out.push_str(before);
        out.push_str(contexts.get(name.trim()).unwrap_or_else(|| panic!("unknown expression {name}")));
        rest = after;
    }
    out + rest
}
