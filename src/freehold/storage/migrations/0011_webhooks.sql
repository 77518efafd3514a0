-- Reports on the end of runs that asked for one. A row is made in the transaction that ends the run, so that none is lost, and stays for
-- a while after it was delivered or given up, so that people can see what became of it.
CREATE TABLE freehold.webhook_deliveries (
  delivery_id   uuid PRIMARY KEY,                -- also what the receiver tells repeated deliveries by
  organisation  text NOT NULL,
  owner         text NOT NULL,
  thread_id     uuid NOT NULL,                   -- both may be gone before it is delivered
  run_id        uuid NOT NULL UNIQUE,
  url           text NOT NULL,
  body          jsonb,                           -- null once it is over
  status        text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
  attempts      integer NOT NULL DEFAULT 0,
  last_status   integer,                         -- of HTTP
  last_error    text,
  next_try_at   timestamptz DEFAULT now(),
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  delivered_at  timestamptz
);
CREATE INDEX webhook_deliveries_due ON freehold.webhook_deliveries (attempts, next_try_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_over ON freehold.webhook_deliveries (updated_at) WHERE status <> 'pending';

-- What the secrets that deliveries are signed with are derived from, where the configuration names none. Nobody's rows: requests cannot
-- read it.
CREATE TABLE freehold.webhook_master (
  only_one  boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  secret    text NOT NULL
);
