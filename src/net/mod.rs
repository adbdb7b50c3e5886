//! Floor 4: the pod network: bridge, addresses, host ports.
