-- A stand-in for pgcrypto, without its library. Names, arguments and properties are those of the
-- extension, so that a dump of a database restores where the real one is.
--
-- A function names only what is in pg_catalog, or stands in a body that is parsed once (`return …`,
-- `begin atomic`): the extension may move to another schema.

create function digest(bytea, text) returns bytea
language plpgsql immutable strict parallel safe as $$
declare
    message constant bytea := $1;
    hash bytea;
begin
    case lower($2)
        when 'md5' then return decode(md5(message), 'hex');
        when 'sha1' then null;
        when 'sha224' then return sha224(message);
        when 'sha256' then return sha256(message);
        when 'sha384' then return sha384(message);
        when 'sha512' then return sha512(message);
        else
            raise exception 'Cannot use "%": No such hash algorithm', $2 using
                errcode = 'invalid_parameter_value',
                hint = 'The stand-in for pgcrypto has md5, sha1, sha224, sha256, sha384 and '
                    'sha512.';
    end case;
@sha1@
    return hash;
end $$;

create function digest(text, text) returns bytea
language sql immutable strict parallel safe
return digest(convert_to($1, getdatabaseencoding()), $2);

-- RFC 2104: the key, hashed if it is longer than a block and filled up with zeros, is mixed with
-- 0x36 for the inner hash and with 0x5c for the outer one.
create function hmac(bytea, bytea, text) returns bytea
language sql immutable strict parallel safe
begin atomic
    select digest(pads.outer_key || digest(pads.inner_key || $1, $3), $3)
    from (
        select
            string_agg(set_byte('\x00'::bytea, 0, get_byte(filled.key, i) # 54), ''::bytea order by i)
                as inner_key,
            string_agg(set_byte('\x00'::bytea, 0, get_byte(filled.key, i) # 92), ''::bytea order by i)
                as outer_key
        from (values (case when lower($3) in ('sha384', 'sha512') then 128 else 64 end)) as block (size)
        cross join lateral (
            select case when length($2) > block.size then digest($2, $3) else $2 end as key
        ) as short
        cross join lateral (
            select short.key || decode(repeat('00', block.size - length(short.key)), 'hex') as key
        ) as filled
        cross join lateral generate_series(0, block.size - 1) as i
    ) as pads;
end;

create function hmac(text, text, text) returns bytea
language sql immutable strict parallel safe
return hmac(
    convert_to($1, getdatabaseencoding()), convert_to($2, getdatabaseencoding()), $3
);

create function gen_random_bytes(integer) returns bytea
language plpgsql volatile strict parallel safe as $$
declare
    bytes bytea := '';
    random bytea;
begin
    if $1 not between 1 and 1024 then
        raise exception 'Length not in range' using errcode = 'external_routine_invocation_exception';
    end if;
    while length(bytes) < $1 loop
        -- From the strong random source of the server. Bytes 6 and 8 hold the version and the
        -- variant of a UUID, and are left out.
        random := uuid_send(pg_catalog.gen_random_uuid());
        bytes := bytes || substr(random, 1, 6) || substr(random, 8, 1) || substr(random, 10, 7);
    end loop;
    return substr(bytes, 1, $1);
end $$;

create function gen_random_uuid() returns uuid
language sql volatile parallel safe
return pg_catalog.gen_random_uuid();

-- What needs a cipher, or PGP. The functions exist, so that what refers to them can be created. This
-- runs at once, so that nothing of the schema may be called.
do $do$
declare
    signature text;
begin
    foreach signature in array array[
        'crypt(text, text) returns text immutable',
        'gen_salt(text) returns text volatile',
        'gen_salt(text, integer) returns text volatile',
        'encrypt(bytea, bytea, text) returns bytea immutable',
        'decrypt(bytea, bytea, text) returns bytea immutable',
        'encrypt_iv(bytea, bytea, bytea, text) returns bytea immutable',
        'decrypt_iv(bytea, bytea, bytea, text) returns bytea immutable',
        'pgp_sym_encrypt(text, text) returns bytea volatile',
        'pgp_sym_encrypt_bytea(bytea, text) returns bytea volatile',
        'pgp_sym_encrypt(text, text, text) returns bytea volatile',
        'pgp_sym_encrypt_bytea(bytea, text, text) returns bytea volatile',
        'pgp_sym_decrypt(bytea, text) returns text immutable',
        'pgp_sym_decrypt_bytea(bytea, text) returns bytea immutable',
        'pgp_sym_decrypt(bytea, text, text) returns text immutable',
        'pgp_sym_decrypt_bytea(bytea, text, text) returns bytea immutable',
        'pgp_pub_encrypt(text, bytea) returns bytea volatile',
        'pgp_pub_encrypt_bytea(bytea, bytea) returns bytea volatile',
        'pgp_pub_encrypt(text, bytea, text) returns bytea volatile',
        'pgp_pub_encrypt_bytea(bytea, bytea, text) returns bytea volatile',
        'pgp_pub_decrypt(bytea, bytea) returns text immutable',
        'pgp_pub_decrypt_bytea(bytea, bytea) returns bytea immutable',
        'pgp_pub_decrypt(bytea, bytea, text) returns text immutable',
        'pgp_pub_decrypt_bytea(bytea, bytea, text) returns bytea immutable',
        'pgp_pub_decrypt(bytea, bytea, text, text) returns text immutable',
        'pgp_pub_decrypt_bytea(bytea, bytea, text, text) returns bytea immutable',
        'pgp_key_id(bytea) returns text immutable',
        'armor(bytea) returns text immutable',
        'armor(bytea, text[], text[]) returns text immutable',
        'dearmor(text) returns bytea immutable',
        'pgp_armor_headers(text, key out text, value out text) returns setof record immutable'
    ] loop
        execute pg_catalog.format(
            $create$
            create function %1$s strict parallel safe language plpgsql as $body$
            begin
                raise exception using
                    errcode = 'feature_not_supported',
                    message = %2$L,
                    hint = 'Its library is not a part of the embedded PostgreSQL. Set DATABASE_URL '
                        'to a database that has the extension.';
            end $body$
            $create$,
            signature,
            pg_catalog.format(
                '%s() is not in the stand-in for pgcrypto',
                pg_catalog.split_part(signature, '(', 1)
            )
        );
    end loop;
end $do$;
