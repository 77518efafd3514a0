-- The store: every caller has their own, and graphs that run for a caller use the same. It takes the place of the tables of
-- LangGraph's own store, which knew no owners.

CREATE TABLE freehold.store_items (
  item_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  organisation  text NOT NULL,
  owner         text NOT NULL,
  prefix        text COLLATE "C" NOT NULL,                  -- the namespace's labels, joined by the dot no label holds: users.42.notes
  key           text COLLATE "C" NOT NULL,
  value         jsonb NOT NULL,
  ttl_minutes   double precision,                           -- null: stays until it is deleted
  expires_at    timestamptz,                                -- not shown after it; removed by a worker
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX store_items_by_name ON freehold.store_items (organisation, owner, prefix, key);
CREATE INDEX store_items_expiring ON freehold.store_items (expires_at) WHERE expires_at IS NOT NULL;

-- What is searched by meaning: a row per text of an item. Embedders differ in the length of their vectors, so the column has none.
CREATE TABLE freehold.store_vectors (
  item_id       bigint NOT NULL REFERENCES freehold.store_items ON DELETE CASCADE,
  field         text NOT NULL,                              -- where the text is in the value: "text", "messages[*].content.2"
  organisation  text NOT NULL,
  owner         text NOT NULL,
  model         text NOT NULL,                              -- vectors of different models do not compare
  dims          integer NOT NULL,
  embedding     public.vector NOT NULL,
  PRIMARY KEY (item_id, field)
);

-- For stores so large that comparing with every vector takes too long; a length that is not here is compared with every one.
CREATE INDEX store_vectors_384 ON freehold.store_vectors
  USING hnsw ((embedding::public.vector(384)) public.vector_cosine_ops) WHERE dims = 384;
CREATE INDEX store_vectors_768 ON freehold.store_vectors
  USING hnsw ((embedding::public.vector(768)) public.vector_cosine_ops) WHERE dims = 768;
CREATE INDEX store_vectors_1024 ON freehold.store_vectors
  USING hnsw ((embedding::public.vector(1024)) public.vector_cosine_ops) WHERE dims = 1024;
CREATE INDEX store_vectors_1536 ON freehold.store_vectors
  USING hnsw ((embedding::public.vector(1536)) public.vector_cosine_ops) WHERE dims = 1536;

-- What graphs of earlier versions wrote: whose it is was not recorded, so it is the local user's.
DO $$
BEGIN
  IF to_regclass('freehold.store') IS NOT NULL THEN
    INSERT INTO freehold.store_items (organisation, owner, prefix, key, value, ttl_minutes, expires_at, created_at, updated_at)
    SELECT 'local', 'local', prefix, key, value, ttl_minutes, expires_at, coalesce(created_at, now()), coalesce(updated_at, now())
      FROM freehold.store;
    DROP TABLE freehold.store;
  END IF;
  DROP TABLE IF EXISTS freehold.store_migrations;
END $$;
