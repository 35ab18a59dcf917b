-- Version: 003
-- Date: 2026-11-22
-- Description: Usage tracking: what a user did, how often, on which day

create table usage_daily (
    user_id bigint not null references users (id) on delete cascade,
    day date not null default current_date,
    feature text not null,
    uses bigint not null default 1 check (uses > 0),
    primary key (user_id, day, feature)
);

create index usage_daily_day_idx on usage_daily (day);

alter table users add column last_seen_at timestamptz;
