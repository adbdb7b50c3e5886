"""Makes the repositories of tests/bench/diff.sh and measures both programs in pairs. Arguments: program, work directory,
number of pods, turns."""

import os
import resource
import statistics
import subprocess
import sys
import time

PROGRAM, WORK, PODS, TURNS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
DIRECTORIES = 200
NAMESPACES = 20
# Files changed, and how many times as long as git it may take.
BOUNDS = [(1, 40), (100, 15)]

POD = """apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: team-{team}
  labels:
    app: {name}
    tier: web
spec:
  containers:
    - name: main
      image: registry.example.com/app:{tag}
      command: ["/bin/app", "--listen", "0.0.0.0:8080"]
      envFrom:
        - configMapRef:
            name: settings
      env:
        - name: LOG_LEVEL
          value: info
        - name: NAME
          value: {name}
        - name: PASSWORD
          valueFrom:
            secretKeyRef:
              name: database
              key: password
      ports:
        - containerPort: 8080
      resources:
        requests:
          cpu: 10m
          memory: 16Mi
"""

# What the pods of each namespace share, a file each.
SHARED = {
    "settings": """apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  namespace: team-{team}
data:
  REGION: region-{team}
  motd: |
    apiVersion: v1
    kind: ConfigMap
""",
    "database": """apiVersion: v1
kind: Secret
metadata:
  name: database
  namespace: team-{team}
stringData:
  password: team-{team}
""",
    "preset": """apiVersion: settings.k8s.io/v1alpha1
kind: PodPreset
metadata:
  name: web
  namespace: team-{team}
spec:
  selector:
    matchLabels:
      tier: web
  env:
    - name: TEAM
      value: team-{team}
""",
}

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": WORK,
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.com",
}


def git(directory, *arguments):
    command = ["git", "-c", "gc.auto=0", "-C", directory, *arguments]
    return subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True).stdout


def path(index):
    return f"d{index % DIRECTORIES:03}/pod-{index:06}.yaml"


def write(root, index, tag):
    with open(os.path.join(root, path(index)), "w") as file:
        file.write(POD.format(name=f"pod-{index:06}", team=index % NAMESPACES, tag=tag))


def repository():
    """One commit with every pod and what they share, then one for each bound."""
    root = os.path.join(WORK, "loose")
    for directory in range(DIRECTORIES):
        os.makedirs(os.path.join(root, f"d{directory:03}"))
    for index in range(PODS):
        write(root, index, f"1.{index % 7}")
    for team in range(NAMESPACES):
        for name, text in SHARED.items():
            with open(os.path.join(root, f"d{team * 10:03}/{name}.yaml"), "w") as file:
                file.write(text.format(team=team))
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "all")
    for changed, _ in BOUNDS:
        for index in range(changed):
            write(root, index * (PODS // changed), f"2.{changed}")
        git(root, "commit", "--quiet", "--all", "-m", f"{changed} changed")
        git(root, "tag", f"changed-{changed}")
    packed = os.path.join(WORK, "packed")
    git(WORK, "clone", "--quiet", "--no-local", root, packed)
    return {"packed": packed, "loose": root}


def second_core(command, cores):
    """What two cores are worth: how many times the work of one they do for two processes that share nothing."""

    def seconds(cores):
        start = time.perf_counter()
        pinned = [["taskset", "-c", str(core), *command] for core in cores]
        children = [subprocess.Popen(each, env=ENVIRONMENT, stdout=subprocess.DEVNULL) for each in pinned]
        for child in children:
            child.wait()
        return time.perf_counter() - start

    pairs = [(seconds(cores[:1]), seconds(cores)) for _ in range(TURNS)]
    return 2 * statistics.median(one for one, _ in pairs) / statistics.median(two for _, two in pairs)


def run(command):
    """Seconds of the clock and of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        sys.exit(f"{command}: {done.returncode}: {done.stderr.decode()}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def milliseconds(values):
    return f"{1000 * statistics.median(values):7.1f}"


def main():
    missed = []
    print("objects  changed   git ms  (cpu)   podwright ms  (cpu)   ratio  (cpu)  bound")
    for kind, root in repository().items():
        for changed, bound in BOUNDS:
            revision = f"changed-{changed}"
            theirs = ["git", "-C", root, "diff", "--stat", f"{revision}~1", revision]
            ours = [PROGRAM, "diff", root, "--base", f"{revision}~1", "--head", revision]
            run(theirs), run(ours)
            pairs = [(run(theirs), run(ours)) for _ in range(TURNS)]
            columns = [[pair[side][what] for pair in pairs] for side in (0, 1) for what in (0, 1)]
            ratios = [statistics.median(o[w] / t[w] for t, o in pairs) for w in (0, 1)]
            git_wall, git_cpu, our_wall, our_cpu = map(milliseconds, columns)
            print(
                f"{kind:7} {changed:8}  {git_wall} {git_cpu}  {our_wall:>12} {our_cpu}"
                f"   {ratios[0]:5.1f}  {ratios[1]:5.1f}  {bound:5}"
            )
            if ratios[0] > bound:
                missed.append(f"{kind}, {changed} changed: {ratios[0]:.1f} times git, more than {bound}")
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) == 2:
        print(f"two cores were worth {second_core(ours, cores):.2f}: what two independent processes do beside one")
    if missed:
        sys.exit("\n".join(missed))


main()
