//! Floor 6: Kubernetes REST over a socket.
//!
//! - [`Server`]: GET, list, watch and log over a UNIX socket; input is the published `Projection` and a [`LogReader`],
//!   output are responses. It decides nothing and writes nothing.
//! - [`Client`]: the same API from the other side, for our own commands.
//! - [`snapshot`]: the last projection in a file, for a client that finds no agent.
//! - [`events`]: its events in another, for the next agent.
//!
//! What is served: `/version`, `/healthz`, discovery, and for pods, configmaps, secrets, serviceaccounts, namespaces,
//! podpresets, events and nodes get, list and watch (Tables on request, label and field selectors), a pod's log, and what a
//! verifier of tokens needs (`/.well-known/openid-configuration`, `/openid/v1/jwks`).

mod body;
mod client;
mod discovery;
mod logs;
mod openid;
mod resource;
mod rotated;
mod selector;
mod server;
mod status;
mod table;
mod watch;

#[cfg(target_os = "linux")]
pub mod events;
pub mod snapshot;

pub use client::{Client, ClientError, ListOptions, LogStream, ObjectList, WatchEvent, WatchStream};
pub use logs::{BackendLogs, LogReader, LogRequest, Progress, stream_file};
pub use openid::OpenId;
pub use resource::{from_name, is_namespaced, path as resource_path, plural, qualified_name};
pub use selector::{FieldSelector, LabelSelector};
pub use server::Server;
