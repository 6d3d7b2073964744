"""The asynchronous shell around runs: executors, a tracker, timers. The only room that awaits."""
