"""A connection's resources on the platform: their names and bodies, their state, their creation."""
