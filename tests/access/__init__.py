"""Who may do what, shown the way an intruder goes."""
