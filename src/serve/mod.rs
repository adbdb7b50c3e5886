//! Floor 6: Kubernetes REST over a socket.
