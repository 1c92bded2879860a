"""The cross-fitted policy: what an interaction is trained with is decided without it."""
