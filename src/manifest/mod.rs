//! Floor 2: reading manifests. Bytes become `Desired`: objects with places, and every problem at once.
