//! Floor 2: planning. What differs becomes ordered actions with reasons.
