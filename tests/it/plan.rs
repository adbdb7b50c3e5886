//! Tests of `plan`.

mod change;
mod env;
mod fleet;
mod pod;
mod property;
mod volumes;
mod world;
