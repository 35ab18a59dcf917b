-- Version: 000
-- Date: 2026-11-22
-- Description: The ledger: one row for each applied migration

-- The runner has made this table already where it was missing, and says nothing of it here.
set local client_min_messages = warning;

create table if not exists public.schema_migrations (
    id serial primary key,
    version varchar(255) unique not null,
    name varchar(255) not null,
    applied_at timestamp default now(),
    execution_time_ms integer,
    checksum varchar(64)
);

create index if not exists idx_schema_migrations_version on public.schema_migrations (version);
