-- The second wall (docs/adr/0003): a request's statements run in a role that sees the rows of its caller only. Every table with
-- organisation and owner gets its policies from `migrate` (storage/row_security.py), so that a new one cannot be forgotten.

-- For the rest of the transaction: whose rows there are, and the role that sees no others. Where that role could not be made
-- (no right to create roles), the conditions in the queries are the only wall; `migrate` says so.
CREATE FUNCTION freehold.act_for(organisation text, owner text, shared boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('freehold.organisation', organisation, true), set_config('freehold.owner', owner, true),
          set_config('freehold.shared', CASE WHEN shared THEN 'on' ELSE 'off' END, true);
  IF to_regrole('freehold_request') IS NOT NULL AND pg_has_role(session_user, 'freehold_request', 'MEMBER') THEN
    PERFORM set_config('role', 'freehold_request', true);
  END IF;
END $$;

-- Whether a row is the caller's, as `@mine` in the queries has it.
CREATE FUNCTION freehold.is_callers(organisation text, owner text) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT organisation = current_setting('freehold.organisation', true)
     AND (owner = current_setting('freehold.owner', true) OR current_setting('freehold.shared', true) = 'on')
$$;
