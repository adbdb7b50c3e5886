//! Tests of `serve`: the API over a real socket.

mod api;
