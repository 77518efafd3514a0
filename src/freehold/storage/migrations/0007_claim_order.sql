-- What may start, in the order it is claimed in: runs that have begun, then the one that has waited longest. Runs that are delayed
-- stand behind all others and are not walked past.
DROP INDEX freehold.runs_pending;
CREATE INDEX runs_claimable ON freehold.runs ((epoch = 0), available_at, queue_position) WHERE status = 'pending';

-- The graph_id and assistant_id a thread had in its metadata before its first run; null: it had no run since.
ALTER TABLE freehold.threads ADD COLUMN graph_before_runs jsonb;
