//! Tests of `plan`.

mod change;
mod data;
mod env;
mod fleet;
mod fleets;
mod mutation;
mod placement;
mod pod;
mod probe;
mod property;
mod rename;
mod resize;
mod restart_on_data;
mod scenario;
mod schema;
mod table;
mod volumes;
mod world;
