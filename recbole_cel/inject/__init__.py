"""How a model gets other tables for its entity fields."""
