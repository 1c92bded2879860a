"""What the method does on small rating data, with nothing of RecBole between: the parts of the experiments."""
