//! What images and running pods can try to reach the machine, each beside somebody less careful whom it succeeds against.

mod layers;
mod secrets;
mod volumes;
