-- What a thread's status is once no run of it is active. Kept beside the status shown, so that a run that is taken back leaves
-- the thread as it was: also one that had failed, or that was paused at a breakpoint, which has no interrupt to tell it by.
ALTER TABLE threads ADD COLUMN status_at_rest text NOT NULL DEFAULT 'idle'
  CHECK (status_at_rest IN ('idle', 'interrupted', 'error'));
UPDATE threads
   SET status_at_rest = CASE WHEN status <> 'busy' THEN status
                             WHEN error IS NOT NULL THEN 'error'
                             WHEN interrupts <> '{}' THEN 'interrupted'
                             ELSE 'idle' END;
