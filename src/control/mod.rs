//! Floor 5: the control loop over ports.
