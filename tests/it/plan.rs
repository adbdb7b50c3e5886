//! Tests of `plan`.

mod change;
mod data;
mod env;
mod fleet;
mod fleets;
mod mutation;
mod pod;
mod property;
mod rename;
mod resize;
mod scenario;
mod schema;
mod table;
mod volumes;
mod world;
