"""The planner: from a teacher and a budget to students that keep it, before any training."""
