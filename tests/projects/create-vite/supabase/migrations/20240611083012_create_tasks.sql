create table public.tasks (
  id bigint generated always as identity primary key,
  title text not null,
  owner uuid not null
);
alter table public.tasks enable row level security;
