"""Identity Service, Real-Time Customer Profile and record delete, over the rows of the lake."""
