//! Tests of `plan`.

mod change;
mod env;
mod fleet;
mod pod;
mod property;
mod scenario;
mod volumes;
mod world;
