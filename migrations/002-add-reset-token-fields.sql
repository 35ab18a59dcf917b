-- Version: 002
-- Date: 2026-11-22
-- Description: Password reset: a hashed token and when it expires

-- The token is stored as a hash, so that a leaked table opens no account.
alter table users
    add column reset_token_hash text,
    add column reset_token_expires_at timestamptz;

create unique index users_reset_token_hash_key on users (reset_token_hash) where reset_token_hash is not null;
