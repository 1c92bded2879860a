"""What a run leaves behind: checkpoints, sizes, and the table at its end."""
