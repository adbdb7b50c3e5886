//! Tests of `plan`.

mod change;
mod data;
mod env;
mod fleet;
mod pod;
mod property;
mod rename;
mod scenario;
mod volumes;
mod world;
