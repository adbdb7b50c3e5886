//! Tests of `net`: tables for what is arithmetic, machines in network namespaces for what acts (`e2e_*`).

mod attach;
mod files;
mod host_ports;
mod ipv6;
mod lease;
mod life;
mod machine;
mod ruleset;
mod subnet;
