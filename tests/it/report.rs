//! Tests of `report`: golden tables over pod objects made from observations.

pub mod fixture;

mod describe;
pub mod diff;
mod doctor;
mod jsonpath;
mod notes;
mod phase;
mod presets;
mod probes;
mod project;
mod resize;
mod row;
mod sarif;
mod status;
mod validation;
mod yaml;
