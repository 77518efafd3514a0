-- The tables of our checkpointer (storage/checkpointer/). Always written with their schema, so that they are found through a
-- connection pooler that keeps no settings, and stand beside the stock saver's tables of the same database.
-- Keys compare as bytes (COLLATE "C"): checkpoint ids sort by time that way, whatever the database's language.

-- One checkpoint: its bookkeeping and small values (msgpack), everything large by reference.
CREATE TABLE freehold.thread_checkpoints (
  thread_id      text COLLATE "C" NOT NULL,
  checkpoint_ns  text COLLATE "C" NOT NULL,
  checkpoint_id  text COLLATE "C" NOT NULL,
  parent_id      text COLLATE "C",
  state          bytea NOT NULL,
  metadata       jsonb NOT NULL,
  messages       int4multirange,               -- positions in thread_messages its values refer to
  blobs          bytea[],                      -- digests in thread_blobs its values refer to
  PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
);
CREATE INDEX thread_checkpoints_by_run ON freehold.thread_checkpoints ((metadata->>'run_id')) WHERE metadata ? 'run_id';

-- What one task wrote in the superstep after a checkpoint: its regular writes in one row (idx 0), special ones in a row each.
CREATE TABLE freehold.thread_writes (
  thread_id      text COLLATE "C" NOT NULL,
  checkpoint_ns  text COLLATE "C" NOT NULL,
  checkpoint_id  text COLLATE "C" NOT NULL,
  task_id        text COLLATE "C" NOT NULL,
  idx            integer NOT NULL,
  task_path      text COLLATE "C" NOT NULL,
  run_id         text COLLATE "C",             -- the run that wrote it, where one is known
  writes         bytea NOT NULL,
  messages       int4multirange,
  blobs          bytea[],
  PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);
CREATE INDEX thread_writes_by_run ON freehold.thread_writes (run_id) WHERE run_id IS NOT NULL;

-- Each message of a thread once, numbered as they come: the messages of a checkpoint are ranges of positions.
CREATE TABLE freehold.thread_messages (
  thread_id      text COLLATE "C" NOT NULL,
  position       integer NOT NULL,
  type           text,                         -- how it is serialised; null is plain msgpack
  message        bytea NOT NULL,
  PRIMARY KEY (thread_id, position)
);

-- Other large values, by a digest of what is stored.
CREATE TABLE freehold.thread_blobs (
  thread_id      text COLLATE "C" NOT NULL,
  digest         bytea NOT NULL,
  type           text NOT NULL,
  value          bytea NOT NULL,
  PRIMARY KEY (thread_id, digest)
);

-- Within a statement that stores messages: two processes that number messages of one thread at once must not mix them up.
CREATE FUNCTION freehold.expect_stored(expected bigint, stored bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF stored <> expected THEN
    RAISE EXCEPTION 'another process stored messages of this thread' USING ERRCODE = 'FH002';
  END IF;
END $$;
