"""An agent made anew for each run, from the run's configuration."""
