"""What the method does on small and planted data, without RecBole's models and trainer."""
