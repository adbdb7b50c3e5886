//! Build script: compiles the tiny programs that podwright embeds.

fn main() {
    println!("cargo::rerun-if-changed=src/sys/embedded");
}
