"""A migration with an object of every kind that a schema may have, for PostgreSQL 14 to 18."""

RICH = r'''
create extension citext;
create extension pgcrypto;
create schema app;
comment on schema app is 'The application''s own.';
create type app.mood as enum ('sad', 'ok', 'happy');
create type app.pair as (a int, b text);
create type app.span as range (subtype = float8);
create domain app.email as citext check (value ~ '@');
create collation app.plain (provider = libc, locale = 'C');
create sequence app.tickets start 7 increment by 3;
create function app.touch() returns trigger language plpgsql as $body$
begin
    -- The next lines look like a comment of pg_dump, and are a part of this function.
--
-- Name: not an entry; Type: TABLE; Schema: app; Owner: -
--
    new.changed_at := now();
    return new;
end;
$body$;
create function app.twice(x int) returns int language sql immutable begin atomic
    select x * 2;
end;
create procedure app.tidy() language sql as 'select 1';
create aggregate app.total (int) (sfunc = int4pl, stype = int, initcond = '0');
create function app.same(int, text) returns boolean language sql immutable
    as $$select $1::text = $2$$;
create operator app.=== (leftarg = int, rightarg = text, function = app.same);
create cast (app.pair as text) with inout;
create text search configuration app.words (copy = simple);
create table app.users (
    id bigint generated always as identity primary key,
    old_id serial unique,
    mail app.email not null,
    mood app.mood default 'ok',
    twice int generated always as (app.twice(2)) stored,
    token text default encode(gen_random_bytes(8), 'hex'),
    during tstzrange,
    quoted text default E'a\nb''c',
    "Odd ""name""" text collate app.plain,
    changed_at timestamptz,
    constraint mail_length check (length(mail::text) < 200) not valid,
    exclude using gist (during with &&)
);
comment on table app.users is $$Who logs in.
--
-- Name: nor is this; Type: TABLE; Schema: app; Owner: -
--
$$;
comment on column app.users.mood is 'How they feel.';
alter table app.users alter column mail set statistics 500, replica identity full;
create table posts (id int primary key, author bigint references app.users on delete cascade
    deferrable initially deferred, body text, at timestamptz);
create index by_body on posts using gin (to_tsvector('english', body));
create unique index by_author on posts (author, lower(body)) where author is not null;
create statistics app.spread (dependencies) on id, author from posts;
create table log (at timestamptz not null, what text) partition by range (at);
create table log_2026 partition of log
    for values from ('2026-01-01 00:00:00+00') to ('2027-01-01 00:00:00+00');
create table log_rest partition of log default;
create table child () inherits (posts);
create view readers as select u.id, u.mail, p.body from app.users u join posts p on p.author = u.id;
create materialized view counted as select author, count(*) as posts from posts group by author;
create index by_posts on counted (posts);
create rule no_delete as on delete to posts do instead nothing;
create trigger touch before update on app.users for each row execute function app.touch();
create trigger checked after insert on posts referencing new table as added
    for each statement execute function app.touch();
alter table posts enable row level security, force row level security;
create policy own on posts for select to pg_read_all_data, pg_monitor
    using (author = current_setting('app.user')::bigint);
create publication changes for table posts (id, author) where (id > 0);
create foreign data wrapper remote options (debug 'true');
create server elsewhere foreign data wrapper remote options (host 'db.example.com');
create foreign table far (id int, what text) server elsewhere options (name 'far');
create function app.noted() returns event_trigger language plpgsql as 'begin end';
create event trigger noted on ddl_command_end execute function app.noted();
grant select on posts to pg_monitor;
alter default privileges in schema app grant select on tables to pg_monitor;
'''
