"""What a student learns from a teacher: losses, which layers are compared, and their weighted sum."""
