-- Starting and ending a run touches its thread's row twice. No index holds updated_at any more and pages keep some room, so that
-- this changes the row in place (a heap-only update) instead of adding an entry to every index, the GIN one included.
ALTER TABLE threads SET (fillfactor = 80);
DROP INDEX threads_by_owner;
CREATE INDEX threads_by_owner ON threads (organisation, owner, created_at DESC);  -- how a search sorts unless told otherwise
DROP INDEX threads_temporary;
CREATE INDEX threads_temporary ON threads (created_at) WHERE temporary;

-- What a claim and a thread's status ask for: a thread of many ended runs is looked at as quickly as a new one.
CREATE INDEX runs_active ON runs (thread_id, queue_position) WHERE status IN ('pending', 'running');
