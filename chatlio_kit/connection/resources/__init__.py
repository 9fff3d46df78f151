"""The resources of a connection on the platform: their names and bodies, their state, their creation."""
