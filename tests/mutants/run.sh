#!/usr/bin/env bash
# Mutation tests of the stages that decide: cargo-mutants changes src/plan and src/admit one operator or body at a time, and
# some test must notice each change. Survivors that are listed in accepted.txt, with the reason, are accepted.
#
#   tests/mutants/run.sh                                  src/plan and src/admit
#   tests/mutants/run.sh src/plan/change.rs ...           these files only
#   tests/mutants/run.sh --keep DIR ...                   leaves cargo-mutants' own output in DIR
#
# The whole crate would cost minutes for each mutant. So the pure stages and their tests are put together as a crate of
# their own below target/, as one test binary: a mutant then costs about five seconds of CPU. cargo-mutants is installed below
# target/ when it is not there. Exit code: 0 when nothing new survives, 1 when something does or when a line of accepted.txt
# names none any more, 64 for a wrong argument.
set -euo pipefail
cd "$(dirname "$0")/../.."

keep= files=()
while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=$(realpath -m "${2:?--keep needs a directory}"); shift 2 ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
    src/plan/*.rs | src/admit/*.rs) [ -f "$1" ] || { echo "tests/mutants/run.sh: there is no $1" >&2; exit 64; }; files+=("$1"); shift ;;
    *) echo "tests/mutants/run.sh: $1 is no file of src/plan or src/admit" >&2; exit 64 ;;
    esac
done
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(find src/plan src/admit -name '*.rs' | sort)

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants
tool=$target/tool/bin/cargo-mutants
if command -v cargo-mutants >/dev/null; then
    tool=cargo-mutants
elif [ ! -x "$tool" ]; then
    CARGO_TARGET_DIR=$target/tool-build cargo install cargo-mutants --locked --root "$target/tool" >&2
    rm -rf "$target/tool-build"
fi

# Always the same place, and for `base` the files' own times: what did not change is not compiled again.
work=$target/work
mkdir -p "$target"
exec 9>"$target/lock"
flock 9
rm -rf "$work"

# Two crates, of the dependencies only what they need: `base` never changes, so a mutant costs the compilation of the stages
# that decide and of the tests alone.
readonly base=(model manifest report)
readonly stages=(admit plan)
readonly tests=(admit plan)
readonly crates='base64|foldhash|granit-parser|jiff|jsonschema|k8s-openapi|proptest|serde|serde_json|serde_yaml|sha2|similar|strsim'
crate=$work/crate
mkdir -p "$crate/src/it" "$crate/base/src"
manifest() { # NAME [DEPENDENCY]
    awk -v crates="^($crates) = " -v name="$1" -v more="${2:-}" '
        /^\[/ {section = $0}
        section == "[package]" && /^(version|edition)/ {package = package $0 "\n"}
        section ~ /^\[(dev-)?dependencies\]$/ && $0 ~ crates && !/schemars/ {dependencies = dependencies $0 "\n"}
        END {printf "[package]\nname = \"%s\"\n%s\n[dependencies]\n%s%s\n", name, package, dependencies, more}
    ' Cargo.toml
}
manifest base >"$crate/base/Cargo.toml"
{
    manifest podwright 'base = {path = "base"}'
    # What is compiled once is worth optimising: each mutant runs all of it.
    printf '[profile.dev]\ndebug = false\n[profile.dev.package."*"]\nopt-level = 2\n'
} >"$crate/Cargo.toml"
cp Cargo.lock "$crate"
ln -s "$PWD/fixtures" "$PWD/schemas" "$crate"
ln -s "$PWD/schemas" "$crate/base"
for stage in "${base[@]}"; do cp -rp "src/$stage" "$crate/base/src/"; done
for stage in "${stages[@]}"; do cp -r "src/$stage" "$crate/src/"; done
for test in "${tests[@]}"; do cp -r "tests/it/$test.rs" "tests/it/$test" "$crate/src/it/"; done
# The tests are a module here, not a crate. Where a hundred random cases notice nothing, a table has to.
find "$crate/src/it" -name '*.rs' -exec sed -i -E 's/\bcrate::/crate::it::/g; s/cases: [0-9]+/cases: 100/' {} +
printf 'pub mod %s;\n' "${base[@]}" >"$crate/base/src/lib.rs"
{
    echo 'extern crate self as podwright;'
    printf 'pub use base::%s;\n' "${base[@]}"
    printf 'pub mod %s;\n' "${stages[@]}"
    echo '#[cfg(test)] mod it {'
    printf 'mod %s;\n' "${tests[@]}"
    echo '}'
    # The first failure says all there is to say: the tests that are left would cost ten seconds of CPU for each mutant.
    cat <<'RUST'
#[cfg(test)]
mod first_failure {
    extern "C" fn arm() {
        std::panic::set_hook(Box::new(|panic| {
            eprintln!("{panic}");
            std::process::exit(101);
        }));
    }
    #[used]
    #[unsafe(link_section = ".init_array")]
    static ARM: extern "C" fn() = arm;
}
RUST
} >"$crate/src/lib.rs"

filters=()
for file in "${files[@]}"; do filters+=(--file "$file"); done
# Random tests draw the same cases in every run: whether a mutant is caught is no matter of luck.
export CARGO_TARGET_DIR=$target/build PROPTEST_RNG_SEED=1
# The tables first: what they notice needs no random cases, which cost ten times as much.
cat >"$work/runner" <<'RUNNER'
#!/usr/bin/env bash
set -euo pipefail
program=$1
shift
slow=(::property:: ::mutation:: ::bounds:: ::fleets:: ::every_amount_changed_alone)
"$program" "$@" "${slow[@]/#/--skip=}"
"$program" "$@" "${slow[@]}"
RUNNER
chmod +x "$work/runner"
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=$work/runner"
status=0
"$tool" mutants --dir "$crate" --in-place --output "$work" --colors never --minimum-test-timeout 60 \
    "${filters[@]}" --cargo-arg=--lib || status=$?
out=$work/mutants.out
[ -z "$keep" ] || { mkdir -p "$keep"; cp -r "$out/." "$keep"; }
# 2: some were missed, 3: some timed out. Anything else is no result.
case $status in 0 | 2 | 3) ;; *) echo "tests/mutants/run.sh: cargo-mutants ended with $status" >&2; exit 1 ;; esac

# Without line and column, so that an accepted mutant stays accepted when its file grows.
sed -E 's/^([^:]+):[0-9]+:[0-9]+: /\1: /' "$out/missed.txt" | LC_ALL=C sort >"$work/missed"
sed -E '/^(#|$)/d; s/ +# .*//' tests/mutants/accepted.txt |
    awk -v files="${files[*]}" 'BEGIN {n = split(files, list, " "); for (i = 1; i <= n; i++) wanted[list[i] ":"]} $1 in wanted' |
    LC_ALL=C sort >"$work/accepted"
new=$(LC_ALL=C comm -23 "$work/missed" "$work/accepted")
stale=$(LC_ALL=C comm -13 "$work/missed" "$work/accepted")
lines() { grep -c . || true; }
[ -z "$new" ] || printf '\nnoticed by no test:\n%s\n' "$new"
[ -z "$stale" ] || printf '\naccepted, but caught or gone:\n%s\n' "$stale"
printf '\nmutants: %s caught, %s missed and accepted, %s missed and new, %s unviable, %s timeouts\n' \
    "$(lines <"$out/caught.txt")" "$(LC_ALL=C comm -12 "$work/missed" "$work/accepted" | lines)" "$(lines <<<"$new")" \
    "$(lines <"$out/unviable.txt")" "$(lines <"$out/timeout.txt")"
[ -z "$new$stale" ]
