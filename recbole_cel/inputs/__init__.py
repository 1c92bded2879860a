"""What users give us, checked before anything is done with it."""
