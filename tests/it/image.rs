//! The image store on real directories. Whiteouts and owners need root.

mod hostile;
mod real;
mod store;
