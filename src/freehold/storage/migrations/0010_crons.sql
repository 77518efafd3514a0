-- Crons: what starts runs by the clock. A worker fires one by advancing its row and accepting its run in one transaction, so that a
-- firing happens exactly once, whatever dies.
CREATE TABLE freehold.crons (
  cron_id             uuid PRIMARY KEY,
  organisation        text NOT NULL,
  owner               text NOT NULL,               -- whom its runs act for
  shared              boolean NOT NULL DEFAULT false,  -- what else the caller who made it could see (core/caller.py)
  must                jsonb NOT NULL DEFAULT '{}',
  assistants          jsonb,
  assistant_id        uuid NOT NULL,
  thread_id           uuid,                        -- null: every firing gets a thread of its own
  schedule            text NOT NULL,
  timezone            text,                        -- null: UTC
  end_time            timestamptz,
  enabled             boolean NOT NULL DEFAULT true,
  on_run_completed    text CHECK (on_run_completed IN ('delete', 'keep')),
  multitask_strategy  text NOT NULL CHECK (multitask_strategy IN ('enqueue', 'reject', 'interrupt', 'rollback')),
  payload             jsonb NOT NULL,              -- as the client gave it
  request             jsonb NOT NULL,              -- as a run's
  metadata            jsonb NOT NULL DEFAULT '{}',
  next_run_date       timestamptz,                 -- null: never again
  last_run_date       timestamptz,
  last_run_id         uuid,
  last_error          text,                        -- why the last firing started no run
  created_at          timestamptz NOT NULL DEFAULT now(),
  updated_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX crons_due ON freehold.crons (next_run_date) WHERE enabled;
CREATE INDEX crons_by_owner ON freehold.crons (organisation, owner, created_at DESC);
