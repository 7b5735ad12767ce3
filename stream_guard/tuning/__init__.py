"""From a bank's own history to the parameters of its rules."""
