-- What waits for a person: threads that stand at an interrupt, by how long they have stood there. Most threads are in neither index.
CREATE INDEX threads_waiting ON freehold.threads (organisation, owner, state_updated_at, thread_id) WHERE status = 'interrupted';

-- Those that do not wait for ever.
CREATE INDEX threads_expecting ON freehold.threads (state_updated_at)
  WHERE status = 'interrupted' AND jsonb_path_exists(interrupts, '$.*[*].value.expires_in');
