"""The objects of a connection on the platform: how they look, whether they are there, how they are made."""
