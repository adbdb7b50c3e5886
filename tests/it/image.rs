//! The image store on real directories. Whiteouts and owners need root.

mod crash;
mod hostile;
mod layers;
mod liars;
mod login;
mod pull;
mod puller;
mod real;
mod room;
mod store;
