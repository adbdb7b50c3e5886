//! The `podwright` program: arguments in, exit code out.

fn main() {}
