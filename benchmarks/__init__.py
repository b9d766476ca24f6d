"""The measurements behind the figures of the README, one command each."""
