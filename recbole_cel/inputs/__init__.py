"""What a user gives, checked before it reaches RecBole."""
