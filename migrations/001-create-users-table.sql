-- Version: 001
-- Date: 2026-11-22
-- Description: Users, and the session table of express-session (connect-pg-simple)

create table users (
    id bigint generated always as identity primary key,
    email text not null,
    password_hash text not null,
    display_name text,
    email_verified_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- One account an address, however it is capitalised.
create unique index users_email_key on users (lower(email));

-- As connect-pg-simple's table.sql has it: names and types are what the package expects.
create table session (
    sid varchar not null collate "default" primary key,
    sess json not null,
    expire timestamp(6) not null
);

create index "IDX_session_expire" on session (expire);
