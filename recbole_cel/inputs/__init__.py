"""What users give us, checked before it reaches RecBole."""
