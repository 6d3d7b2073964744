"""The shell around runs: executors, a tracker, timers. The only place that awaits."""
