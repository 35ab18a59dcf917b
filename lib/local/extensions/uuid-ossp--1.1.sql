-- A stand-in for uuid-ossp, without its library; see pgcrypto--1.3.sql for what holds for both.

create function uuid_nil() returns uuid
language sql immutable strict parallel safe
return '00000000-0000-0000-0000-000000000000'::uuid;

-- The namespaces of RFC 9562, section 6.6.
create function uuid_ns_dns() returns uuid
language sql immutable strict parallel safe
return '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_ns_url() returns uuid
language sql immutable strict parallel safe
return '6ba7b811-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_ns_oid() returns uuid
language sql immutable strict parallel safe
return '6ba7b812-9dad-11d1-80b4-00c04fd430c8'::uuid;

create function uuid_ns_x500() returns uuid
language sql immutable strict parallel safe
return '6ba7b814-9dad-11d1-80b4-00c04fd430c8'::uuid;

-- A random node with the multicast bit stands for the address of the machine (RFC 9562, section
-- 6.10), and the clock sequence is random, so that two sessions at one time differ.
create function uuid_generate_v1mc() returns uuid
language plpgsql volatile strict parallel safe as $$
declare
    -- Tenths of a microsecond since 1582-10-15.
    ticks constant bigint :=
        (extract(epoch from clock_timestamp()) * 10000000)::bigint + 122192928000000000;
    moment constant text := lpad(to_hex(ticks), 15, '0');
    random bytea := uuid_send(pg_catalog.gen_random_uuid());
begin
    -- Byte 8 has the variant already.
    random := set_byte(random, 10, get_byte(random, 10) | 1);
    return (
        right(moment, 8) || substr(moment, 4, 4) || '1' || left(moment, 3)
        || encode(substr(random, 9), 'hex')
    )::uuid;
end $$;

create function uuid_generate_v1() returns uuid
language sql volatile strict parallel safe
return uuid_generate_v1mc();

create function uuid_generate_v3(namespace uuid, name text) returns uuid
language plpgsql immutable strict parallel safe as $$
declare
    hash bytea := decode(
        md5(uuid_send(namespace) || convert_to(name, getdatabaseencoding())), 'hex'
    );
begin
    hash := set_byte(hash, 6, (get_byte(hash, 6) & 15) | 48);
    hash := set_byte(hash, 8, (get_byte(hash, 8) & 63) | 128);
    return encode(hash, 'hex')::uuid;
end $$;

create function uuid_generate_v4() returns uuid
language sql volatile strict parallel safe
return pg_catalog.gen_random_uuid();

create function uuid_generate_v5(namespace uuid, name text) returns uuid
language plpgsql immutable strict parallel safe as $$
declare
    message constant bytea := uuid_send(namespace) || convert_to(name, getdatabaseencoding());
    hash bytea;
begin
@sha1@
    hash := set_byte(hash, 6, (get_byte(hash, 6) & 15) | 80);
    hash := set_byte(hash, 8, (get_byte(hash, 8) & 63) | 128);
    return encode(substr(hash, 1, 16), 'hex')::uuid;
end $$;
