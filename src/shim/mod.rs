//! Floor 4: the small process that starts one container and outlives the agent.
