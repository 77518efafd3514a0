"""Claims runs, executes them, renews their leases and returns the runs of workers that died; fires crons and sends webhooks."""
