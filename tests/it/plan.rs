//! Tests of `plan`.

mod change;
mod data;
mod downward;
mod env;
mod fleet;
mod fleets;
mod images;
mod mutation;
mod payload;
mod placement;
mod pod;
mod probe;
mod property;
mod rename;
mod resize;
mod restart_on_data;
mod room;
mod scenario;
mod schema;
mod table;
mod tokens;
mod volumes;
mod world;
